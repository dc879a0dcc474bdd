import { KeywardError, failure, invalid } from "./errors.js";
import { refresh } from "./operations.js";
import { Pages } from "./pages.js";
import { again, forGood, gone, mayBeDone, notSent, pause } from "./retry.js";
import { milliseconds, number } from "./settings.js";
import { distinct, sign, unique } from "./sign.js";
import { Watch } from "./watch.js";

/**
 * The size of the largest answer that is read: an output of a run has 4 MiB at
 * most, and up to six times as much when JSON escapes it.
 */
export const maxAnswer = 32 << 20;

/** Sends requests and reads answers, for all calls of a client. */
export class Transport {
  #s;

  /** @param {Settings} settings */
  constructor(settings) {
    this.#s = settings;
  }

  /**
   * Sends a request of op until it is answered, and returns the answer.
   *
   * @param {Operation} op
   * @param {Call} [call]
   * @param {Options} [options]
   * @returns {Promise<any>}
   */
  async call(op, call = {}, options = {}) {
    const patience = milliseconds("timeout", options.timeout ?? (op.waits ? 0 : this.#s.timeout));
    return this.tries(op, call, options, async (request) => {
      const watch = new Watch(this.#s.baseUrl, options.signal);
      watch.give(patience);
      try {
        const response = await this.ask(request, watch.signal);
        return this.#decode(op, response, await this.#read(response));
      } catch (error) {
        throw watch.why(error);
      } finally {
        watch.end();
      }
    });
  }

  /**
   * A list, which is asked for when somebody wants to know.
   *
   * @param {Operation} op
   * @param {Call} call
   * @param {Options} [options]
   * @param {string} [entries] the field of a page that has them
   */
  list(op, call, options, entries) {
    return new Pages((query) => this.call(op, { ...call, query }, options), call.query, entries);
  }

  /**
   * Has attempt send a request of op until that goes well, or there is no use or no
   * right to try again.
   *
   * @template T
   * @param {Operation} op
   * @param {Call} call
   * @param {Options} options
   * @param {(request: Sent) => Promise<T>} attempt
   * @returns {Promise<T>}
   */
  async tries(op, call, options, attempt) {
    const { signal } = options;
    const url = this.#address(op, call);
    const body = call.body === undefined ? undefined : JSON.stringify(call.body);
    const key = op.known ? checkedKey(options.idempotencyKey ?? (await unique())) : undefined;
    const settings = { ...this.#s, retries: number("retries", options.retries ?? this.#s.retries) };
    let lost = false;
    let renewed = false;
    for (let n = 0; ; n++) {
      if (signal?.aborted) throw signal.reason;
      const request = await this.#request(op, url, body, key, call.headers);
      try {
        return await attempt(request);
      } catch (error) {
        if (!(error instanceof KeywardError)) throw error;
        if (lost && gone(op, error)) return /** @type {any} */ (undefined);
        if (!renewed && (await this.#renew(op, error, request, signal))) {
          // It was refused, so it may be sent again.
          renewed = true;
          n--;
          continue;
        }
        if (op.waits && outwaited.has(error)) {
          n--;
          continue;
        }
        lost ||= mayBeDone(error);
        const wait = again(op, key !== undefined, error, n, settings);
        if (wait === undefined) throw error;
        await pause(wait, signal);
      }
    }
  }

  /**
   * Reports whether error was that of an access token which has expired, and there
   * is another one now.
   *
   * @param {Operation} op
   * @param {KeywardError} error
   * @param {Sent} request
   * @param {AbortSignal} [signal]
   */
  async #renew(op, error, request, signal) {
    const { signIn } = this.#s;
    if (!signIn || op.public || error.code !== "EXPIRED_ACCESS_TOKEN" || !request.credential) return false;
    // Not with this call's signal: others wait for the same tokens.
    const renewing = signIn.renew(request.credential, (refreshToken) => this.call(refresh, { body: { refreshToken } }));
    await orAborted(renewing, signal);
    return true;
  }

  get baseUrl() {
    return this.#s.baseUrl;
  }

  get retries() {
    return this.#s.retries;
  }

  get timeout() {
    return this.#s.timeout;
  }

  /**
   * @param {Operation} op
   * @param {Call} call
   */
  #address(op, call) {
    const values = [...(call.path ?? [])];
    const path = op.path.replace(/\{(\w+)\}/g, (_, name) => {
      const value = values.shift();
      if (typeof value !== "string" && typeof value !== "number") throw invalid(name, "must be a text or a number");
      // An id that is empty would make it another call, and one of dots as well.
      if (value === "" || value === "." || value === "..") throw invalid(name, "must not be empty");
      return encodeURIComponent(value);
    });
    const query = new URLSearchParams();
    for (const [name, value] of Object.entries(call.query ?? {})) {
      if (value === undefined || value === null) continue;
      query.append(name, value instanceof Date ? value.toISOString() : String(value));
    }
    const text = query.toString();
    return this.#s.baseUrl + path + (text && `?${text}`);
  }

  /**
   * @param {Operation} op
   * @param {string} url
   * @param {string | undefined} body
   * @param {string | undefined} key
   * @param {Record<string, string>} [more]
   * @returns {Promise<Sent>}
   */
  async #request(op, url, body, key, more) {
    const { signingSecret, userAgent } = this.#s;
    /** @type {Record<string, string>} */
    const headers = { Accept: "application/json", "User-Agent": userAgent, ...more };
    if (key !== undefined) headers["Idempotency-Key"] = key;
    if (body !== undefined) headers["Content-Type"] = "application/json";
    const credential = op.public ? undefined : (this.#s.signIn?.token ?? this.#s.key);
    if (credential !== undefined) headers.Authorization = `Bearer ${credential}`;
    if (signingSecret !== undefined && !op.public) {
      if (body !== undefined) body = await distinct(body);
      const at = new URL(url);
      Object.assign(headers, await sign(signingSecret, op.method, at.pathname + at.search, body ?? ""));
    }
    return { op, url, method: op.method, headers, body, credential };
  }

  /**
   * Sends a request once, and returns the answer if it is one of success. Its body
   * is not read yet.
   *
   * @param {Sent} request
   * @param {AbortSignal} signal
   */
  async ask(request, signal) {
    let response;
    try {
      response = await this.#s.fetch(request.url, {
        method: request.method,
        headers: request.headers,
        body: request.body,
        signal,
        redirect: "manual",
        credentials: "omit",
        cache: "no-store",
        referrerPolicy: "no-referrer",
      });
    } catch (error) {
      throw this.unanswered(error);
    }
    if (response.ok) return response;
    if ((response.status >= 300 && response.status < 400) || response.type === "opaqueredirect") {
      await drop(response);
      throw failure(
        "NOT_KEYWARD",
        `${this.#s.baseUrl} answers with a redirect to ${this.#origin(response)}, which is not followed; if that is the server, use its address`,
        response.status,
      );
    }
    throw this.#refusal(response, await this.#read(response));
  }

  /** @param {Response} response */
  #origin(response) {
    try {
      const at = new URL(response.headers.get("Location") ?? "", this.#s.baseUrl);
      return `${at.protocol}//${at.host}`;
    } catch {
      return "another address";
    }
  }

  /**
   * @param {Response} response
   * @param {string} text
   */
  #refusal(response, text) {
    const said = parse(this.hide(text))?.error;
    if (typeof said?.code !== "string" || said.code === "" || typeof said.message !== "string") return this.#foreign(response);
    const wait = Math.max(Number.isFinite(said.retry_after) ? said.retry_after : 0, retryAfter(response.headers));
    return new KeywardError({
      code: said.code,
      message: said.message,
      status: response.status,
      requestId: (typeof said.request_id === "string" && said.request_id) || response.headers.get("X-Request-Id") || undefined,
      retryAfter: wait || undefined,
      details: isObject(said.details) ? said.details : undefined,
    });
  }

  /**
   * Reads the body of an answer.
   *
   * @param {Response} response
   */
  async #read(response) {
    if (response.status !== 204 && !response.headers.get("Content-Type")?.toLowerCase().startsWith("application/json")) {
      await drop(response);
      throw this.#foreign(response);
    }
    let text = "";
    let size = 0;
    const decoder = new TextDecoder();
    for await (const piece of this.pieces(response)) {
      if ((size += piece.length) > maxAnswer) throw failure("NOT_KEYWARD", `${this.#s.baseUrl} answers with more than ${maxAnswer >> 20} MiB`);
      text += decoder.decode(piece, { stream: true });
    }
    return text + decoder.decode();
  }

  /**
   * The bytes of a body as they come. Whoever does not read to the end lets go of
   * the connection.
   *
   * @param {Response} response
   * @returns {AsyncGenerator<Uint8Array, void, void>}
   */
  async *pieces(response) {
    const reader = response.body?.getReader();
    if (!reader) return;
    try {
      for (;;) {
        const { done, value } = await reader.read().catch((error) => {
          throw this.unanswered(error);
        });
        if (done) return;
        yield value;
      }
    } finally {
      await reader.cancel().catch(() => {});
    }
  }

  /**
   * An answer that has not the field of what it should be is none, even if it is
   * JSON: some other service answers at this address.
   *
   * @param {Operation} op
   * @param {Response} response
   * @param {string} text
   */
  #decode(op, response, text) {
    if (!op.has) return undefined;
    const answer = response.status === 204 ? undefined : parse(text);
    if (!isObject(answer)) throw failure("NOT_KEYWARD", `${this.#s.baseUrl} did not answer as Keyward does: it is no JSON object`, response.status);
    const has = answer[op.has];
    if (has === undefined || (op.has === "data" && !(Array.isArray(has) && isObject(answer.pagination)))) {
      throw failure("NOT_KEYWARD", `${this.#s.baseUrl} did not answer as Keyward does: "${op.has}" is missing`, response.status);
    }
    return answer;
  }

  /**
   * Takes the credentials out of what is answered, by something that shows what it
   * was sent, before it becomes part of an error.
   *
   * @param {string} text
   */
  hide(text) {
    const { key, signingSecret, signIn } = this.#s;
    for (const secret of [key, signingSecret, ...(signIn?.secrets ?? [])]) {
      // One that is as short as a word is none, and would break what is no secret.
      if (secret && secret.length >= 8) text = text.split(secret).join("[redacted]");
    }
    return text;
  }

  /**
   * The failure of a request that got no whole answer. The error of fetch is no
   * part of it: nobody knows what another fetch puts into its errors.
   *
   * @param {any} error
   */
  unanswered(error) {
    if (error instanceof KeywardError) return error;
    let inner = error;
    while (inner?.cause && typeof inner.cause === "object") inner = inner.cause;
    if (Array.isArray(inner?.errors) && inner.errors.length > 0) inner = inner.errors.at(-1);
    const code = typeof inner?.code === "string" ? inner.code : "";
    const why = this.hide(String(inner?.message || code || "the connection failed")).slice(0, 200);
    const e = failure("UNREACHABLE", `no answer from ${this.#s.baseUrl}: ${why}`);
    if (code === "UND_ERR_HEADERS_TIMEOUT") outwaited.add(e);
    if (untrusted.test(code)) forGood(e);
    if (untrusted.test(code) || unsentCodes.has(code)) notSent(e);
    return e;
  }

  /**
   * The failure of an answer that Keyward does not give.
   *
   * @param {Response} response
   */
  #foreign(response) {
    const type = /^[\w.+/-]{1,40}/.exec(response.headers.get("Content-Type") ?? "")?.[0] ?? "no type";
    return failure(
      "NOT_KEYWARD",
      `${this.#s.baseUrl} answers with status ${response.status} and ${type}, not as Keyward does; is the address right, and is anything between?`,
      response.status,
    );
  }
}

/** Node's fetch waits for an answer no longer than five minutes; a run may take longer. */
const outwaited = new WeakSet();

const unsentCodes = new Set(["ECONNREFUSED", "ENOTFOUND", "EAI_AGAIN", "EHOSTUNREACH", "ENETUNREACH", "UND_ERR_CONNECT_TIMEOUT"]);
const untrusted = /CERT|^UNABLE_TO_|^ERR_TLS|^ERR_SSL/;

/** @param {any} key */
function checkedKey(key) {
  if (typeof key !== "string" || !/^[ -~]{1,255}$/.test(key)) throw invalid("idempotencyKey", "must be 1 to 255 characters of printable ASCII");
  return key;
}

/**
 * Waits for promise, or throws the reason of signal as soon as it is aborted.
 *
 * @template T
 * @param {Promise<T>} promise
 * @param {AbortSignal | undefined} signal
 * @returns {Promise<T>}
 */
function orAborted(promise, signal) {
  if (!signal) return promise;
  return new Promise((resolve, reject) => {
    const stop = () => reject(signal.reason);
    if (signal.aborted) stop();
    signal.addEventListener("abort", stop, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", stop));
  });
}

/** @param {Response} response */
async function drop(response) {
  await response.body?.cancel().catch(() => {});
}

/**
 * @param {string} text
 * @returns {any} undefined if it is no JSON
 */
export function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** @param {unknown} value */
const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);

/**
 * The seconds of a Retry-After, and 0 without one.
 *
 * @param {Headers} headers
 */
function retryAfter(headers) {
  const text = headers.get("Retry-After")?.trim() ?? "";
  if (/^\d+$/.test(text)) return Number(text);
  const at = Date.parse(text);
  return Number.isNaN(at) ? 0 : Math.max(0, Math.ceil((at - Date.now()) / 1000));
}

/**
 * What a call sends.
 *
 * @typedef {object} Call
 * @property {(string | number)[]} [path] what stands in the places {…} of the operation's path, in order
 * @property {Record<string, any>} [query]
 * @property {any} [body]
 * @property {Record<string, string>} [headers]
 *
 * @typedef {object} Sent
 * @property {Operation} op
 * @property {string} url
 * @property {string} method
 * @property {Record<string, string>} headers
 * @property {string | undefined} body
 * @property {string | undefined} credential
 *
 * @typedef {import("../types/index.js").StartOptions} Options
 * @typedef {import("./operations.js").Operation} Operation
 * @typedef {import("./settings.js").Settings} Settings
 */
