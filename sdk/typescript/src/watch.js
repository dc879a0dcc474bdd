import { failure } from "./errors.js";

/**
 * Watches over one request: its signal is aborted when the caller's is, or when it
 * takes too long.
 */
export class Watch {
  #controller = new AbortController();
  #caller;
  #who;
  #stop;
  #patience = 0;
  #late = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;

  /**
   * @param {string} who is asked
   * @param {AbortSignal | undefined} caller
   */
  constructor(who, caller) {
    this.#who = who;
    this.#caller = caller;
    this.#stop = () => this.#controller.abort(caller?.reason);
    caller?.addEventListener("abort", this.#stop, { once: true });
    if (caller?.aborted) this.#stop();
  }

  get signal() {
    return this.#controller.signal;
  }

  /**
   * Gives so many milliseconds from now on; 0 is for ever.
   *
   * @param {number} patience
   */
  give(patience) {
    clearTimeout(this.#timer);
    this.#patience = patience;
    if (patience > 0) {
      this.#timer = setTimeout(() => {
        this.#late = true;
        this.#controller.abort();
      }, patience);
    }
  }

  /**
   * Returns what a request ended in that fetch ended with error.
   *
   * @param {unknown} error
   */
  why(error) {
    if (this.#caller?.aborted) return this.#caller.reason;
    return this.#late ? failure("UNREACHABLE", `nothing came from ${this.#who} for ${this.#patience / 1000} s`) : error;
  }

  end() {
    clearTimeout(this.#timer);
    this.#caller?.removeEventListener("abort", this.#stop);
  }

  /** Ends the request, too, if it has not ended. */
  abort() {
    this.end();
    this.#controller.abort();
  }
}
