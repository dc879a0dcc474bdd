import * as calls from "./calls.js";
import * as op from "./operations.js";
import { caller, settle } from "./settings.js";
import { Transport } from "./transport.js";

export { KeywardError } from "./errors.js";

/** The client of a Keyward server. */
export class Keyward {
  #settings;
  #transport;

  /**
   * @param {import("../types/index.js").KeywardOptions} [options]
   * @param {Keyward} [like] one from which all comes that is not in options
   */
  constructor(options = {}, like) {
    this.#settings = settle(like && like.#settings, options);
    this.#transport = new Transport(this.#settings);
    const t = this.#transport;
    this.keys = calls.keys(t);
    this.agents = calls.agents(t);
    this.authProfiles = calls.authProfiles(t);
    this.runs = calls.runs(t);
    this.usage = calls.usage(t);
    this.alerts = calls.alerts(t);
    this.audit = calls.audit(t);
    this.auth = calls.auth(t);
    this.accounts = calls.accounts(t);
    this.organizations = calls.organizations(t);
  }

  /** @param {import("../types/index.js").KeywardOptions} options */
  with(options) {
    return new Keyward(options, this);
  }

  get baseUrl() {
    return this.#settings.baseUrl;
  }

  /** @param {import("../types/index.js").CallOptions} [options] */
  health(options) {
    return this.#transport.call(op.health, {}, options);
  }

  /** @param {import("../types/index.js").CallOptions} [options] */
  ready(options) {
    return this.#transport.call(op.ready, {}, options);
  }

  // All that a client prints, in whatever way, is where it calls and for whom.

  toString() {
    return `a Keyward client of ${this.baseUrl}, for ${caller(this.#settings)}`;
  }

  toJSON() {
    return { baseUrl: this.baseUrl, caller: caller(this.#settings) };
  }

  [Symbol.for("nodejs.util.inspect.custom")]() {
    return `[${this}]`;
  }
}
