import { failure } from "./errors.js";

/**
 * A list that is asked for when somebody wants to know: as a promise it is one
 * page, and as an iterable all entries from that page on.
 */
export class Pages {
  #get;
  #query;
  #entries;

  /**
   * @param {(query: Record<string, any>) => Promise<any>} get
   * @param {Record<string, any>} [query]
   * @param {string} [entries] the field of a page that has them
   */
  constructor(get, query = {}, entries = "data") {
    this.#get = get;
    this.#query = query;
    this.#entries = entries;
  }

  /**
   * @param {any} [resolve]
   * @param {any} [reject]
   */
  then(resolve, reject) {
    return this.#get(this.#query).then(resolve, reject);
  }

  /** @returns {AsyncGenerator<any, void, void>} */
  async *pages() {
    /** @type {Record<string, any>} */
    let query = { limit: 100, ...this.#query };
    if (query.limit === undefined) query.limit = 100;
    for (;;) {
      const page = await this.#get(query);
      yield page;
      const next = page.pagination?.next_cursor;
      if (!next) return;
      // It would go on like this for ever.
      if (next === query.cursor) throw failure("NOT_KEYWARD", "a page of the list has itself as the next one");
      query = { ...query, cursor: next, page: undefined };
    }
  }

  async *[Symbol.asyncIterator]() {
    for await (const page of this.pages()) yield* page[this.#entries];
  }

  /** All entries, as an array. */
  async all() {
    const all = [];
    for await (const entry of this) all.push(entry);
    return all;
  }
}
