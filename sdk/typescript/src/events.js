import { KeywardError, failure, invalid } from "./errors.js";
import { chance, pause } from "./retry.js";
import { milliseconds } from "./settings.js";
import { unique } from "./sign.js";
import { maxAnswer, parse } from "./transport.js";
import { Watch } from "./watch.js";

/**
 * How long a stream may be silent. The server says something every 15 seconds, if
 * only that it is still there.
 */
export const pace = { silence: 45_000 };

// The longest that a server may ask to wait before somebody comes again.
const longestReturn = 30_000;

/**
 * What happens in a run, as it comes. A connection that breaks off is made again,
 * and goes on after the last event that was seen.
 */
export class RunEvents {
  #transport;
  #op;
  #call;
  #options;
  #begun = false;

  /**
   * @param {import("./transport.js").Transport} transport
   * @param {import("./operations.js").Operation} op
   * @param {import("./transport.js").Call} call
   * @param {import("../types/index.js").EventOptions & import("../types/index.js").StartOptions} [options]
   */
  constructor(transport, op, call, options = {}) {
    this.#transport = transport;
    this.#op = op;
    this.#call = call;
    this.#options = options;
    /** @type {string | undefined} */
    this.runId = undefined;
    /** @type {number | undefined} */
    this.lastEventId = options.lastEventId;
    if (this.lastEventId !== undefined && !(Number.isSafeInteger(this.lastEventId) && this.lastEventId >= 0)) {
      throw invalid("lastEventId", "must be the id of an event");
    }
  }

  /** @returns {AsyncGenerator<any, void, void>} */
  async *[Symbol.asyncIterator]() {
    if (this.#begun) throw new TypeError("keyward: the events were read already; ask for them again");
    this.#begun = true;
    const options = { ...this.#options };
    // The same for all connections: the request is known again by it, and begins
    // no second run.
    if (this.#op.known) options.idempotencyKey ??= await unique();
    const retries = options.retries ?? this.#transport.retries;
    /** @type {boolean} */
    let renewed = false;
    for (let n = 0; ; n++) {
      const connection = new Connection(this.#transport, this.#op, this.#call, options);
      try {
        await connection.open(this.lastEventId);
        this.runId ??= connection.runId;
        for await (const event of connection.messages()) {
          if (event.id <= (this.lastEventId ?? 0)) continue;
          n = 0;
          renewed = false;
          this.lastEventId = event.id;
          if (event.event === "start") this.runId = event.data.run_id;
          yield event;
          if (event.event === "done") return;
        }
        if (connection.nothing) return;
      } catch (error) {
        if (!(error instanceof KeywardError) || !connection.broken) throw error;
        // It is refused at once when it comes again, and then gets new tokens.
        /** @type {boolean} */
        const expired = error.code === "EXPIRED_ACCESS_TOKEN" && !renewed;
        if (!expired && !goesOn.has(error.code)) throw error;
        renewed ||= expired;
        if (n >= retries) throw error;
      } finally {
        connection.close();
      }
      await pause(Math.min(connection.retry, longestReturn) + chance(n), options.signal);
    }
  }
}

/** What a stream may end with while the run goes on. */
const goesOn = new Set(["UNREACHABLE", "UNAVAILABLE"]);

/** One connection that tells of a run. */
class Connection {
  #transport;
  #op;
  #call;
  #options;
  /** @type {Watch | undefined} */
  #watch;
  /** @type {Response | undefined} */
  #response;

  /** Whether it was there, and is no more. */
  broken = false;
  /** Whether there is nothing to tell. */
  nothing = false;
  /** Milliseconds after which the server wants to see somebody again. */
  retry = 0;
  /** @type {string | undefined} */
  runId;

  /**
   * @param {import("./transport.js").Transport} transport
   * @param {import("./operations.js").Operation} op
   * @param {import("./transport.js").Call} call
   * @param {import("../types/index.js").EventOptions & import("../types/index.js").StartOptions} options
   */
  constructor(transport, op, call, options) {
    this.#transport = transport;
    this.#op = op;
    this.#call = call;
    this.#options = options;
  }

  /** @param {number | undefined} seen */
  async open(seen) {
    const { signal, timeout = this.#transport.timeout } = this.#options;
    /** @type {Record<string, string>} */
    const headers = { Accept: "text/event-stream" };
    if (seen !== undefined) headers["Last-Event-ID"] = String(seen);
    const response = await this.#transport.tries(this.#op, { ...this.#call, headers }, this.#options, async (request) => {
      const watch = new Watch(this.#transport.baseUrl, signal);
      watch.give(milliseconds("timeout", timeout));
      try {
        const response = await this.#transport.ask(request, watch.signal);
        this.#watch = watch;
        return response;
      } catch (error) {
        watch.end();
        throw watch.why(error);
      }
    });
    this.#response = response;
    this.runId = response.headers.get("X-Run-Id") ?? undefined;
    this.nothing = response.status === 204;
    if (!this.nothing && !response.headers.get("Content-Type")?.toLowerCase().startsWith("text/event-stream")) {
      throw failure("NOT_KEYWARD", `${this.#transport.baseUrl} did not answer as Keyward does: it is no stream of events`, response.status);
    }
  }

  /** @returns {AsyncGenerator<{id: number, event: string, data: any}, void, void>} */
  async *messages() {
    if (this.nothing || !this.#response || !this.#watch) return;
    const reader = new EventReader();
    this.broken = true;
    this.#watch.give(pace.silence);
    try {
      for await (const piece of this.#transport.pieces(this.#response)) {
        this.#watch.give(0); // whoever reads slowly is not the server's fault
        for (const message of reader.read(piece)) yield this.#event(message);
        this.#watch.give(pace.silence);
      }
    } catch (error) {
      throw this.#watch.why(error);
    } finally {
      this.retry = reader.retry ?? 0;
    }
    // It ended without the last event.
    throw failure("UNREACHABLE", `${this.#transport.baseUrl} broke off its answer`);
  }

  /** @param {Message} message */
  #event({ id, event, data }) {
    const value = parse(data);
    if (id === "" && event === "error") {
      const said = parse(this.#transport.hide(data));
      throw new KeywardError({
        code: String(said?.code ?? "NOT_KEYWARD"),
        message: String(said?.message ?? "The stream ended with an error."),
        requestId: typeof said?.request_id === "string" ? said.request_id : undefined,
      });
    }
    if (!/^\d{1,15}$/.test(id) || value === undefined) {
      this.broken = false;
      throw failure("NOT_KEYWARD", `${this.#transport.baseUrl} did not answer as Keyward does: an event has no id or no JSON`);
    }
    return { id: Number(id), event, data: value };
  }

  close() {
    this.#watch?.abort();
  }
}

/**
 * Reads server-sent events out of the bytes of a stream, however they are cut.
 *
 * @typedef {{id: string, event: string, data: string}} Message
 */
export class EventReader {
  #decoder = new TextDecoder(); // leaves the mark of a byte order out
  /** @type {string[]} */
  #pieces = []; // of the line that has no end yet
  #size = 0; // of what is held
  #endedInCR = false;
  #event = "";
  #id = "";
  /** @type {string[]} */
  #data = [];

  /**
   * Milliseconds after which the server wants to see somebody again.
   *
   * @type {number | undefined}
   */
  retry;

  /**
   * @param {Uint8Array} bytes
   * @returns {Generator<Message, void, void>}
   */
  *read(bytes) {
    let text = this.#decoder.decode(bytes, { stream: true });
    if (text === "") return;
    // The two characters of one end of a line may come in two pieces.
    if (this.#endedInCR && text[0] === "\n") text = text.slice(1);
    this.#endedInCR = text === "" ? false : text.endsWith("\r");
    let from = 0;
    for (const end of text.matchAll(/\r\n|\n|\r/g)) {
      const rest = text.slice(from, end.index);
      this.#hold(rest.length);
      this.#pieces.push(rest);
      from = /** @type {number} */ (end.index) + end[0].length;
      const line = this.#pieces.join("");
      this.#pieces = [];
      const message = this.#line(line);
      if (message) yield message;
    }
    const rest = text.slice(from);
    this.#hold(rest.length);
    this.#pieces.push(rest);
  }

  /** @param {number} more */
  #hold(more) {
    if ((this.#size += more) > maxAnswer) throw failure("NOT_KEYWARD", `an event has more than ${maxAnswer >> 20} MiB`);
  }

  /**
   * @param {string} line
   * @returns {Message | undefined}
   */
  #line(line) {
    if (line === "") {
      const message = { id: this.#id, event: this.#event || "message", data: this.#data.join("\n") };
      const has = this.#data.length > 0;
      // By the standard an id holds for the events after it, too. Here one without
      // an id is none of the run's.
      this.#id = this.#event = "";
      this.#data = [];
      this.#size = 0;
      return has ? message : undefined;
    }
    const colon = line.indexOf(":");
    if (colon === 0) {
      this.#size -= line.length; // it only says that somebody is there
      return undefined;
    }
    const name = colon < 0 ? line : line.slice(0, colon);
    let value = colon < 0 ? "" : line.slice(colon + 1);
    if (value.startsWith(" ")) value = value.slice(1);
    switch (name) {
      case "event":
        this.#event = value;
        break;
      case "data":
        this.#data.push(value);
        break;
      case "id":
        if (!value.includes("\0")) this.#id = value;
        break;
      case "retry":
        if (/^\d{1,9}$/.test(value)) this.retry = Number(value);
    }
    return undefined;
  }
}
