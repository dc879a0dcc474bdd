/**
 * The tokens of somebody who has signed in. All clients that come from one signIn
 * share it.
 */
export class SignIn {
  #tokens;
  #keep;
  /** @type {Promise<void> | undefined} */
  #renewing;

  /**
   * @param {any} tokens
   * @param {((tokens: any) => unknown) | undefined} keep
   */
  constructor(tokens, keep) {
    for (const name of ["accessToken", "refreshToken"]) {
      if (typeof tokens?.[name] !== "string" || !/^[!-~]+$/.test(tokens[name])) throw new TypeError(`keyward: signIn has no ${name}`);
    }
    if (keep !== undefined && typeof keep !== "function") throw new TypeError("keyward: onTokens must be a function");
    this.#tokens = tokens;
    this.#keep = keep;
  }

  get token() {
    return this.#tokens.accessToken;
  }

  get secrets() {
    return [this.#tokens.accessToken, this.#tokens.refreshToken];
  }

  /**
   * Gets new tokens if stale is the access token still. The refresh token is spent
   * at once, so one call does it and the others wait for it.
   *
   * @param {string} stale
   * @param {(refreshToken: string) => Promise<any>} refresh
   */
  async renew(stale, refresh) {
    if (this.#tokens.accessToken !== stale) return;
    this.#renewing ??= (async () => {
      this.#tokens = await refresh(this.#tokens.refreshToken);
      await this.#keep?.(this.#tokens);
    })().finally(() => {
      this.#renewing = undefined;
    });
    await this.#renewing;
  }
}
