import { SignIn } from "./signin.js";

const defaultServer = "http://127.0.0.1:8080";

const defaults = { retries: 3, longestWait: 30_000, timeout: 30_000, userAgent: "keyward-typescript", allowHttp: false };

/** The longest time that timers have: a longer one would end at once. */
const longestTimer = 2 ** 31 - 1;

/**
 * Returns settings like base but for options. The mistakes that it throws hold
 * nothing of what was given: it may be a key in the wrong place.
 *
 * @param {Settings | undefined} base
 * @param {Record<string, any>} options
 * @returns {Settings}
 */
export function settle(base, options) {
  if (typeof options !== "object" || options === null) throw new TypeError("keyward: the options must be an object");
  for (const name of Object.keys(options)) {
    if (!settings.has(name)) throw new TypeError(`keyward: there is no option ${JSON.stringify(name.slice(0, 40))}`);
  }
  const given = (/** @type {string} */ name) => options[name] !== undefined;

  const s = { ...(base ?? /** @type {Settings} */ ({ ...defaults, fetch: globalThis.fetch?.bind(globalThis) })) };
  if (given("allowHttp")) s.allowHttp = is("boolean", "allowHttp", options.allowHttp);
  if (given("userAgent")) s.userAgent = visible("userAgent", options.userAgent, / /g);
  if (given("retries")) s.retries = number("retries", options.retries);
  if (given("longestWait")) s.longestWait = number("longestWait", options.longestWait);
  if (given("timeout")) s.timeout = milliseconds("timeout", options.timeout);
  if (given("fetch")) s.fetch = is("function", "fetch", options.fetch);
  if (!s.fetch) throw new TypeError("keyward: there is no fetch here; give one as an option");

  if (given("baseUrl")) s.baseUrl = address("baseUrl", options.baseUrl);
  else s.baseUrl ??= address("KEYWARD_SERVER", variable("KEYWARD_SERVER") || defaultServer);
  const at = new URL(s.baseUrl);
  if (at.protocol === "http:" && !s.allowHttp && !loopback(at.hostname)) {
    throw new TypeError(
      `keyward: ${s.baseUrl} is not on this machine and is called without encryption, so whoever is between could read the key: use https, or allow it with allowHttp`,
    );
  }

  settleCaller(s, options, given);
  return s;
}

const settings = new Set([
  "baseUrl", "apiKey", "accessToken", "signIn", "onTokens", "signingSecret", "timeout", "retries", "longestWait", "allowHttp", "fetch", "userAgent",
]);

/**
 * Settles who asks.
 *
 * @param {Settings} s
 * @param {Record<string, any>} options
 * @param {(name: string) => boolean} given
 */
function settleCaller(s, options, given) {
  const ways = ["apiKey", "accessToken", "signIn"].filter((name) => given(name));
  if (ways.length > 1) throw new TypeError(`keyward: ${ways.join(" and ")} are two callers; give one`);
  if (given("onTokens") && !given("signIn")) throw new TypeError("keyward: onTokens is for signIn");
  if (ways.length > 0) {
    // The secret of one key is none of another.
    s.key = s.signIn = s.signingSecret = undefined;
    s.nobody = false;
  }
  if (options.apiKey === null || options.accessToken === null || options.signIn === null) s.nobody = true;
  else if (given("apiKey")) s.key = visible("apiKey", options.apiKey);
  else if (given("accessToken")) s.key = visible("accessToken", options.accessToken);
  else if (given("signIn")) s.signIn = new SignIn(options.signIn, options.onTokens);
  for (const name of ["KEYWARD_API_KEY", "RUNAGENT_API_KEY"]) {
    const key = s.nobody || s.key || s.signIn ? undefined : variable(name);
    if (key) s.key = visible(name, key);
  }
  if (given("signingSecret")) s.signingSecret = options.signingSecret === null ? undefined : visible("signingSecret", options.signingSecret);
}

/**
 * A variable of the environment, where there is one that may be read.
 *
 * @param {string} name
 * @returns {string | undefined}
 */
function variable(name) {
  try {
    return /** @type {any} */ (globalThis).process?.env?.[name] || undefined;
  } catch {
    return undefined;
  }
}

/**
 * @param {string} kind
 * @param {string} name
 * @param {any} value
 */
function is(kind, name, value) {
  if (typeof value !== kind) throw new TypeError(`keyward: ${name} must be a ${kind}`);
  return value;
}

/**
 * @param {string} name
 * @param {any} value
 */
export function number(name, value) {
  if (typeof value !== "number" || !(value >= 0)) throw new TypeError(`keyward: ${name} must be a number of at least 0`);
  return value;
}

/**
 * Milliseconds; 0 is for ever.
 *
 * @param {string} name
 * @param {any} value
 */
export function milliseconds(name, value) {
  return number(name, value) > longestTimer ? 0 : value;
}

/**
 * A text of visible ASCII, without the white space around it. Any other would be
 * told in full by the error that fetch throws at it.
 *
 * @param {string} name
 * @param {any} value
 * @param {RegExp} [but] what else may be in it
 */
function visible(name, value, but) {
  const text = is("string", name, value).trim();
  if (text === "") throw new TypeError(`keyward: ${name} is empty`);
  if (!/^[!-~]+$/.test(but ? text.replace(but, "") : text)) throw new TypeError(`keyward: ${name} has characters in it that none has`);
  return text;
}

/**
 * @param {string} name
 * @param {any} value
 */
function address(name, value) {
  let at;
  try {
    at = new URL(String(value).trim());
  } catch {
    // Its error has the text in it.
  }
  if (at && (at.username || at.password)) throw new TypeError(`keyward: ${name} must not have a user name or password in it`);
  if (!at || (at.protocol !== "https:" && at.protocol !== "http:") || at.search || at.hash) {
    throw new TypeError(`keyward: ${name} must look like https://keys.example.com`);
  }
  return at.href.replace(/\/+$/, "");
}

/** @param {string} host as a URL has it: addresses are in their one form */
function loopback(host) {
  return host === "localhost" || host.endsWith(".localhost") || host === "[::1]" || /^127(\.\d+){3}$/.test(host) || /^\[::ffff:7f[0-9a-f]{2}:[0-9a-f]+\]$/.test(host);
}

/**
 * So much of a credential as a key shows of itself. Of what has not the form of a
 * key it is nothing.
 *
 * @param {Settings} s
 */
export function caller(s) {
  if (s.signIn) return "somebody who has signed in";
  if (s.key === undefined) return "nobody";
  const key = /^([A-Za-z0-9]+_(?:live|temp)_)[0-9A-Za-z]{34}([0-9A-Za-z]{4})$/.exec(s.key);
  return key ? `${key[1]}…${key[2]}` : "an access token";
}

/**
 * @typedef {object} Settings
 * @property {string} baseUrl without a slash at its end
 * @property {typeof fetch} fetch
 * @property {boolean} allowHttp
 * @property {number} timeout
 * @property {number} retries
 * @property {number} longestWait
 * @property {string} userAgent
 * @property {boolean} [nobody] without credentials, whatever the environment has
 * @property {string} [key] an API key or an access token
 * @property {SignIn} [signIn]
 * @property {string} [signingSecret]
 */
