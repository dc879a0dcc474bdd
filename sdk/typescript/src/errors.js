/**
 * What a call ends in if it does not succeed. No key, token or secret is in it.
 *
 * Its code is what the server says, or UNREACHABLE if no answer came, or
 * NOT_KEYWARD if what answers is not a Keyward server.
 */
export class KeywardError extends Error {
  /**
   * @param {{code: string, message: string, status?: number, requestId?: string, retryAfter?: number, details?: Record<string, unknown>}} said
   */
  constructor({ code, message, status = 0, requestId, retryAfter, details }) {
    super(message);
    this.code = code;
    this.status = status;
    this.requestId = requestId;
    this.retryAfter = retryAfter;
    this.details = details;
  }

  toString() {
    return `${this.name}: ${this.code}: ${this.message}` + (this.requestId ? ` (request ${this.requestId})` : "");
  }

  /** What a log of JSON has of it. */
  toJSON() {
    const { name, code, message, status, requestId, retryAfter, details } = this;
    return { name, code, message, status, requestId, retryAfter, details };
  }
}
// Not a field: the trace that an error prints begins with its name as it is when
// the error is made.
Object.defineProperty(KeywardError.prototype, "name", { value: "KeywardError", configurable: true, writable: true });

/**
 * A failure of which the server has not said anything.
 *
 * @param {"UNREACHABLE" | "NOT_KEYWARD"} code
 * @param {string} message
 * @param {number} [status] that something else answered with
 */
export const failure = (code, message, status) => new KeywardError({ code, message, status });

/**
 * An argument that the server would refuse, or would take for another call.
 *
 * @param {string} field
 * @param {string} reason
 */
export const invalid = (field, reason) =>
  new KeywardError({ code: "INVALID_REQUEST", message: `${field}: ${reason}`, status: 400, details: { field, reason } });
