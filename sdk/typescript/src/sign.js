const encoder = new TextEncoder();

/**
 * WebCrypto, which node 18 has under another name.
 *
 * @returns {Promise<Crypto>}
 */
async function webCrypto() {
  if (globalThis.crypto?.subtle) return globalThis.crypto;
  const name = "node:crypto"; // a name that bundlers for browsers do not look for
  return (await import(name)).webcrypto;
}

/**
 * Returns the headers that sign a request: docs/keys.md has the form.
 *
 * @param {string} secret
 * @param {string} method
 * @param {string} target the path and the query as they are sent
 * @param {string} body
 * @param {number} [now] milliseconds
 * @returns {Promise<Record<string, string>>}
 */
export async function sign(secret, method, target, body, now = Date.now()) {
  const { subtle } = await webCrypto();
  const timestamp = String(Math.floor(now / 1000));
  const key = await subtle.importKey("raw", encoder.encode(secret), { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
  const mac = await subtle.sign("HMAC", key, encoder.encode(`${method}\n${target}\n${timestamp}\n${body}`));
  return { "X-Timestamp": timestamp, "X-Signature": hex(new Uint8Array(mac)) };
}

/** @param {Uint8Array} bytes */
const hex = (bytes) => Array.from(bytes, (b) => b.toString(16).padStart(2, "0")).join("");

/** @param {number} length */
async function random(length) {
  return (await webCrypto()).getRandomValues(new Uint8Array(length));
}

/** Returns a text that nobody else has. */
export const unique = async () => hex(await random(16));

/**
 * Returns body, which is JSON, with white space after it that no other body has. A
 * signature is taken once, and is made of the second in which it is made, so without
 * it the same call twice in a second would be refused.
 *
 * @param {string} body
 */
export async function distinct(body) {
  for (const b of await random(16)) {
    for (let shift = 0; shift < 8; shift += 2) body += " \t\n\r"[(b >> shift) & 3];
  }
  return body;
}
