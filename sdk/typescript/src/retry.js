import { revokeOwnKey } from "./operations.js";

// What is waited for grows from the first to the longest, by doubling.
const firstWait = 250;
const longestWait = 8000;

// Where a failure happened is nobody's business but ours.
const unsent = new WeakSet();
const hopeless = new WeakSet();

/**
 * Says of a failure that the request did not get as far as the server.
 *
 * @param {KeywardError} error
 */
export const notSent = (error) => (unsent.add(error), error);

/**
 * Says of a failure that it would be the same again.
 *
 * @param {KeywardError} error
 */
export const forGood = (error) => (hopeless.add(error), error);

/**
 * Returns after how many milliseconds a request that ended in error may be sent
 * again, or undefined: it may not.
 *
 * @param {Operation} op
 * @param {boolean} known whether it has an Idempotency-Key
 * @param {KeywardError} error
 * @param {number} n how often it was sent again
 * @param {{retries: number, longestWait: number}} settings
 */
export function again(op, known, error, n, settings) {
  if (n >= settings.retries || !worthwhile(error)) return undefined;
  if (mayBeDone(error) && !repeatable(op, known)) return undefined;
  const wait = chance(n) + told(error);
  return wait <= settings.longestWait ? wait : undefined;
}

/**
 * All of the wait is by chance, so that those who were sent away together do not
 * come back together.
 *
 * @param {number} n how often something was tried again
 */
export const chance = (n) => Math.random() * Math.min(longestWait, firstWait * 2 ** Math.min(n, 10));

/** @param {KeywardError} error */
function told(error) {
  // The next second makes another signature.
  if (error.code === "SIGNATURE_REPLAYED") return 1000;
  return (error.retryAfter ?? 0) * 1000;
}

/**
 * Reports whether what ended in error may go well next time.
 *
 * @param {KeywardError} error
 */
export function worthwhile(error) {
  switch (error.code) {
    case "UNREACHABLE":
      return !hopeless.has(error);
    case "NOT_KEYWARD":
      // What stands between answers for a server that is away.
      return error.status === 502 || error.status === 503 || error.status === 504;
  }
  return notDone(error);
}

/**
 * Reports whether the server says that it did nothing, and may do it later.
 *
 * @param {KeywardError} error
 */
function notDone(error) {
  if (error.code === "NOT_KEYWARD" || error.code === "UNREACHABLE") return false;
  if (error.status === 429) return true;
  if (error.status === 503) return (error.retryAfter ?? 0) > 0;
  // Two requests that are alike in all to the second have one signature. A body is
  // never like another.
  return error.code === "SIGNATURE_REPLAYED";
}

/**
 * Reports whether the server may have done what was asked, although it ended in
 * error.
 *
 * @param {KeywardError} error
 */
export const mayBeDone = (error) => !notDone(error) && !unsent.has(error);

/**
 * Reports whether doing it twice is the same as doing it once. Of what answers
 * with a secret the second answer would not have it, so a POST, PUT or PATCH is
 * not, unless the server knows it again.
 *
 * @param {Operation} op
 * @param {boolean} known
 */
const repeatable = (op, known) => op.method === "GET" || op.method === "DELETE" || known;

const absent = new Set(["KEY_NOT_FOUND", "AGENT_NOT_FOUND", "AUTH_PROFILE_NOT_FOUND", "ALERT_NOT_FOUND"]);

/**
 * Reports whether error says of a deletion, whose first answer was lost, that there
 * is nothing any more to delete.
 *
 * @param {Operation} op
 * @param {KeywardError} error
 */
export function gone(op, error) {
  if (op.method !== "DELETE") return false;
  return absent.has(error.code) || (op === revokeOwnKey && error.code === "REVOKED_API_KEY");
}

/**
 * Waits, or throws the reason of signal as soon as it is aborted.
 *
 * @param {number} ms
 * @param {AbortSignal | undefined} signal
 * @returns {Promise<void>}
 */
export function pause(ms, signal) {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason);
    const stop = () => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve();
    }, ms);
    signal?.addEventListener("abort", stop, { once: true });
  });
}

/**
 * @typedef {import("./operations.js").Operation} Operation
 * @typedef {import("./errors.js").KeywardError} KeywardError
 */
