import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { createServer } from "node:net";
import { test } from "node:test";
import { inspect } from "node:util";

import { Keyward, KeywardError } from "../src/index.js";
import { chance } from "../src/retry.js";
import { cut, html, json, other, refusal } from "./other.js";

const key = "ra_live_" + "a".repeat(34) + "wxyz";
const hint = "ra_live_…wxyz";
const client = (url, options) => new Keyward({ baseUrl: url, apiKey: key, ...options });
const found = json(200, { id: 7, name: "found" });
const made = json(201, { id: 7, key: "ra_live_new" });
const empty = json(200, { data: [], pagination: { limit: 20, next_cursor: null } });

/** Fails with the code, and returns the failure. */
async function fails(promise, code, status) {
  try {
    await promise;
  } catch (error) {
    assert.ok(error instanceof KeywardError, inspect(error));
    assert.equal(error.code, code, inspect(error));
    if (status !== undefined) assert.equal(error.status, status);
    return error;
  }
  assert.fail(`it does not fail with ${code}`);
}

/** Sets variables of the environment until the test ends. */
function variables(t, set) {
  for (const name of ["KEYWARD_SERVER", "KEYWARD_API_KEY", "RUNAGENT_API_KEY"]) {
    const old = process.env[name];
    t.after(() => (old === undefined ? delete process.env[name] : (process.env[name] = old)));
    if (set[name] === undefined) delete process.env[name];
    else process.env[name] = set[name];
  }
}

test("what is left out comes from the environment", async (t) => {
  variables(t, {});
  assert.equal(String(new Keyward()), "a Keyward client of http://127.0.0.1:8080, for nobody");
  variables(t, { KEYWARD_SERVER: "https://keys.example.com/", RUNAGENT_API_KEY: key });
  assert.equal(String(new Keyward()), `a Keyward client of https://keys.example.com, for ${hint}`);
  variables(t, { KEYWARD_API_KEY: key, RUNAGENT_API_KEY: "another" });
  assert.equal(new Keyward().toJSON().caller, hint);
  assert.equal(new Keyward({ apiKey: null }).toJSON().caller, "nobody");
  assert.equal(new Keyward().with({ apiKey: null }).toJSON().caller, "nobody");
  assert.equal(new Keyward({ accessToken: "a.b.c" }).toJSON().caller, "an access token");
  variables(t, { KEYWARD_API_KEY: "two lines\n of it" });
  assert.throws(() => new Keyward(), /KEYWARD_API_KEY has characters/);
});

test("wrong options are refused, and not repeated", () => {
  for (const [options, want] of [
    [{ apiKey: "" }, /apiKey is empty/],
    [{ apiKey: " \n" }, /apiKey is empty/],
    [{ apiKey: key + "\nX: y" }, /characters/],
    [{ apiKey: key + "ü" }, /characters/],
    [{ apiKey: 5 }, /apiKey must be a string/],
    [{ apiKey: key, accessToken: "a" }, /two callers/],
    [{ api_key: key }, /no option "api_key"/],
    [{ baseUrl: key }, /baseUrl must look like/],
    [{ baseUrl: "ftp://example.com" }, /baseUrl must look like/],
    [{ baseUrl: `https://${key}@example.com` }, /user name/],
    [{ baseUrl: `https://example.com/?key=${key}` }, /must look like/],
    [{ baseUrl: "" }, /must look like/],
    [{ timeout: "5" }, /timeout must be a number/],
    [{ retries: -1 }, /retries must be a number/],
    [{ longestWait: NaN }, /longestWait must be a number/],
    [{ fetch: "fetch" }, /fetch must be a function/],
    [{ signingSecret: "" }, /signingSecret is empty/],
    [{ signIn: { accessToken: "a" } }, /no refreshToken/],
    [{ onTokens() {} }, /onTokens is for signIn/],
  ]) {
    assert.throws(
      () => new Keyward(options),
      (error) => error instanceof TypeError && want.test(error.message) && !inspect(error).includes(key),
      inspect(options),
    );
  }
  assert.equal(new Keyward({ apiKey: ` ${key}\n` }).toJSON().caller, hint);
});

test("an address without encryption is for this machine alone", () => {
  for (const host of ["example.com", "10.0.0.1", "127.example.com", "localhost.example.com", "[::2]", "0.0.0.0"]) {
    assert.throws(() => new Keyward({ baseUrl: `http://${host}` }), /without encryption/, host);
    new Keyward({ baseUrl: `http://${host}`, allowHttp: true });
    new Keyward({ baseUrl: `https://${host}` });
  }
  for (const host of ["localhost", "LOCALHOST:80", "a.localhost", "127.0.0.1", "127.9.9.9:8080", "2130706433", "[::1]", "[::ffff:127.0.0.1]"]) {
    new Keyward({ baseUrl: `http://${host}` });
  }
});

test("neither a client nor what hangs on it prints its secrets", () => {
  const tokens = { accessToken: "header.payload.mac", refreshToken: "the-refresh-token" };
  const clients = [client("https://a.example", { signingSecret: "rs_the_secret" }), new Keyward({ signIn: tokens })];
  const printed = [...clients, ...clients.map((it) => it.keys), ...clients.map((it) => it.runs.stream("a"))]
    .flatMap((it) => [String(it), inspect(it, { depth: null, showHidden: true }), JSON.stringify(it), JSON.stringify({ ...it })])
    .join("\n");
  for (const secret of [key, "rs_the_secret", ...Object.values(tokens)]) assert.ok(!printed.includes(secret));
  assert.equal(inspect(clients[0]), `[a Keyward client of https://a.example, for ${hint}]`);
});

test("another caller has no signing secret of the one before", async (t) => {
  const server = await other(t, found);
  const one = client(server.url, { signingSecret: "rs_one" });
  await one.keys.get(7);
  await one.with({ apiKey: key }).keys.get(7);
  await one.with({ retries: 1 }).keys.get(7);
  await one.with({ signingSecret: null }).keys.get(7);
  assert.deepEqual(server.requests.map((r) => r.headers["x-signature"] !== undefined), [true, false, true, false]);
});

test("requests are sent as they are written down", async (t) => {
  const server = await other(t, [empty, found, made]);
  const keyward = client(server.url + "/behind/", { userAgent: "my program/1" });
  await keyward.keys.list({ external_id: "a b&c=ü", limit: undefined });
  await keyward.agents.get("public/a%2e?#");
  await keyward.keys.create({ name: "ü", scopes: undefined });
  const [list, get, create] = server.requests;
  assert.equal(list.path, "/behind/v1/keys?external_id=a+b%26c%3D%C3%BC");
  assert.equal(get.path, "/behind/v1/agents/public%2Fa%252e%3F%23");
  assert.equal(create.body, '{"name":"ü"}');
  assert.equal(create.headers["content-type"], "application/json");
  assert.equal(create.headers.authorization, `Bearer ${key}`);
  assert.equal(create.headers["user-agent"], "my program/1");
  assert.equal(create.headers["idempotency-key"], undefined);
  for (const id of ["", ".", "..", undefined, null, {}]) await fails((async () => keyward.agents.get(id))(), "INVALID_REQUEST", 400);
  await fails(keyward.runs.start("a", {}, { idempotencyKey: "line\nfeed" }), "INVALID_REQUEST", 400);
  assert.equal(server.requests.length, 3);
});

test("a signature is of method, path with query, time and body", async (t) => {
  const server = await other(t, [empty, made]);
  const keyward = client(server.url, { signingSecret: "rs_secret" });
  await keyward.keys.list({ limit: 5, external_id: "é +" });
  for (let i = 0; i < 20; i++) await keyward.keys.create({ name: "ü" });
  for (const { method, path, headers, body } of server.requests) {
    const stamp = headers["x-timestamp"];
    assert.ok(Math.abs(Number(stamp) - Date.now() / 1000) < 60);
    assert.equal(headers["x-signature"], createHmac("sha256", "rs_secret").update(`${method}\n${path}\n${stamp}\n${body}`).digest("hex"));
    if (body) assert.deepEqual(JSON.parse(body), { name: "ü" });
  }
  // Or the second within a second would be refused.
  assert.equal(new Set(server.requests.map((r) => r.headers["x-signature"])).size, 21);
});

test("what the server says that it did not do is sent again, whatever it is", async (t) => {
  const busy = refusal(503, "UNAVAILABLE", { "Retry-After": "1" });
  const limited = refusal(429, "RATE_LIMITED", {}, { retry_after: 1 });
  const server = await other(t, [busy, limited, made]);
  await client(server.url).keys.create({ name: "a" });
  const [one, two, three] = server.requests.map((r) => r.at);
  assert.ok(two - one >= 990 && three - two >= 990, "nobody comes before he was told to");
});

test("what is unsafe to repeat is not sent again", async (t) => {
  for (const [answer, code] of [
    [cut, "UNREACHABLE"],
    [html(502), "NOT_KEYWARD"],
    [refusal(503, "UNAVAILABLE"), "UNAVAILABLE"],
    [refusal(500, "INTERNAL_ERROR"), "INTERNAL_ERROR"],
    [refusal(504, "RUN_TIMED_OUT"), "RUN_TIMED_OUT"],
  ]) {
    const server = await other(t, answer);
    await fails(client(server.url).keys.create({ name: "a" }), code);
    assert.equal(server.requests.length, 1, code);
  }
});

test("what is safe to repeat is", async (t) => {
  for (const answer of [cut, html(502), html(503), html(504)]) {
    const server = await other(t, [answer, answer, found]);
    assert.equal((await client(server.url).keys.get(7)).name, "found");
    assert.equal(server.requests.length, 3);
  }
  const server = await other(t, cut);
  await fails(client(server.url, { retries: 1 }).keys.get(7), "UNREACHABLE", 0);
  await fails(client(server.url).keys.get(7, { retries: 0 }), "UNREACHABLE", 0);
  assert.equal(server.requests.length, 3);
});

test("a run is started again under the same Idempotency-Key", async (t) => {
  const server = await other(t, [cut, html(502), json(202, { id: "r" })]);
  const keyward = client(server.url);
  await keyward.runs.start("a");
  await keyward.runs.start("a", {}, { idempotencyKey: "mine" });
  const [one, two, three, four] = server.requests.map((r) => r.headers["idempotency-key"]);
  assert.match(one, /^[0-9a-f]{32}$/);
  assert.deepEqual([two, three, four], [one, one, "mine"]);
});

test("a run that did not end in time is not asked for again", async (t) => {
  const server = await other(t, refusal(504, "RUN_TIMED_OUT", {}, { details: { run_id: "r", status: "timed_out" } }));
  const error = await fails(client(server.url).runs.invoke("a"), "RUN_TIMED_OUT", 504);
  assert.deepEqual(error.details, { run_id: "r", status: "timed_out" });
  assert.equal(server.requests.length, 1);
});

test("what is deleted at the second try was deleted at the first", async (t) => {
  const server = await other(t, [cut, refusal(404, "KEY_NOT_FOUND")]);
  assert.equal(await client(server.url).keys.revoke(7), undefined);
  await fails(client(server.url).keys.revoke(7), "KEY_NOT_FOUND", 404);
  const own = await other(t, [cut, refusal(401, "REVOKED_API_KEY")]);
  assert.equal(await client(own.url).keys.revokeSelf(), undefined);
});

test("waits are by chance, and grow", () => {
  for (const [n, most] of [[0, 250], [1, 500], [4, 4000], [5, 8000], [50, 8000]]) {
    const waits = Array.from({ length: 1000 }, () => chance(n));
    assert.ok(waits.every((wait) => wait >= 0 && wait <= most), `after ${n} tries`);
    assert.ok(Math.min(...waits) < most * 0.1 && Math.max(...waits) > most * 0.9, `after ${n} tries`);
  }
});

test("nobody is waited for longer than is said", async (t) => {
  const server = await other(t, refusal(429, "RATE_LIMITED", { "Retry-After": "3600" }));
  const began = Date.now();
  const error = await fails(client(server.url).keys.get(7), "RATE_LIMITED", 429);
  assert.equal(error.retryAfter, 3600);
  assert.ok(Date.now() - began < 5000);
  await fails(client(server.url, { longestWait: 0 }).keys.get(7), "RATE_LIMITED", 429);
  assert.equal(server.requests.length, 2);
});

test("a server that is not there is told, and was not reached", async (t) => {
  const gone = createServer().listen(0, "127.0.0.1");
  await new Promise((resolve) => gone.once("listening", resolve));
  const { port } = gone.address();
  await new Promise((resolve) => gone.close(resolve));
  const error = await fails(client(`http://127.0.0.1:${port}`, { retries: 1 }).keys.create({ name: "a" }), "UNREACHABLE", 0);
  assert.match(error.message, /ECONNREFUSED/);
  // That it was not reached is why it comes again, although it is no GET.
  const begins = client(`http://127.0.0.1:${port}`).keys.create({ name: "a" });
  const { createServer: createHTTP } = await import("node:http");
  const server = createHTTP((request, response) => made(request, response)).listen(port, "127.0.0.1");
  t.after(() => server.close());
  assert.equal((await begins).key, "ra_live_new");
});

test("a redirect takes the key nowhere", async (t) => {
  const elsewhere = await other(t, found);
  for (const status of [301, 302, 303, 307, 308]) {
    const server = await other(t, (_, response) => response.writeHead(status, { Location: `${elsewhere.url}/secret-path?x` }).end());
    const error = await fails(client(server.url).keys.get(7), "NOT_KEYWARD", status);
    assert.ok(error.message.includes(elsewhere.url) && !error.message.includes("secret-path"), error.message);
    assert.equal(server.requests.length, 1);
  }
  assert.equal(elsewhere.requests.length, 0);
});

test("what is not Keyward is told from it", async (t) => {
  for (const answer of [html(200), html(404), json(200, []), json(200, null), json(200, { ok: true }), json(404, { error: "no" }), json(204, undefined)]) {
    const server = await other(t, answer);
    await fails(client(server.url).keys.get(7), "NOT_KEYWARD");
    assert.equal(server.requests.length, 1);
  }
  const server = await other(t, (_, response) => response.writeHead(200, { "Content-Type": "application/json" }).end('{"id": 7,'));
  await fails(client(server.url).keys.get(7), "NOT_KEYWARD");
  await fails((async () => client(server.url).keys.list())(), "NOT_KEYWARD");
});

test("an answer without an end is not read to the end", async (t) => {
  let sent = 0;
  const server = await other(t, (_, response) => {
    response.writeHead(200, { "Content-Type": "application/json" });
    const more = () => {
      while (!response.destroyed && response.write(" ".repeat(1 << 20))) sent++;
      sent++;
    };
    response.on("drain", more);
    more();
  });
  const error = await fails(client(server.url).keys.get(7), "NOT_KEYWARD");
  assert.match(error.message, /more than 32 MiB/);
  assert.ok(sent < 100);
});

test("an error has what the server says, and no secret that it says back", async (t) => {
  const server = await other(t, (request, response) =>
    refusal(403, "INSUFFICIENT_SCOPE", {}, { message: `You sent ${request.headers.authorization}.`, details: { sent: request.headers.authorization } })(request, response),
  );
  const error = await fails(client(server.url).keys.get(7), "INSUFFICIENT_SCOPE", 403);
  assert.equal(error.message, "You sent Bearer [redacted].");
  assert.equal(error.requestId, "r");
  assert.equal(String(error), "KeywardError: INSUFFICIENT_SCOPE: You sent Bearer [redacted]. (request r)");
  assert.ok(!(inspect(error, { showHidden: true }) + JSON.stringify(error)).includes(key));
  assert.deepEqual(JSON.parse(JSON.stringify(error)), {
    name: "KeywardError",
    code: "INSUFFICIENT_SCOPE",
    message: "You sent Bearer [redacted].",
    status: 403,
    requestId: "r",
    details: { sent: "Bearer [redacted]" },
  });
});

test("the error of another fetch is not passed on", async () => {
  const telling = async (url, init) => {
    throw Object.assign(new Error(`could not send ${init.headers.Authorization}`), { config: init, cause: undefined });
  };
  const error = await fails(client("https://a.example", { fetch: telling, retries: 0 }).keys.get(7), "UNREACHABLE", 0);
  assert.ok(!inspect(error, { depth: null, showHidden: true }).includes(key));
});

test("a call ends when its signal does, for that reason", async (t) => {
  const reason = new Error("enough");
  const silent = await other(t, () => {});
  const body = await other(t, (_, response) => response.writeHead(200, { "Content-Type": "application/json" }).write('{"id"'));
  const waits = await other(t, refusal(503, "UNAVAILABLE", { "Retry-After": "20" }));
  for (const { url, requests } of [silent, body, waits]) {
    const controller = new AbortController();
    const call = client(url, url === waits.url ? {} : { retries: 0 }).keys.get(7, { signal: controller.signal });
    while (requests.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    const began = Date.now();
    setTimeout(() => controller.abort(reason), 20);
    await assert.rejects(call, (error) => error === reason);
    assert.ok(Date.now() - began < 5000, "it does not end at once");
    await assert.rejects(client(url).keys.get(7, { signal: controller.signal }), (error) => error === reason);
    assert.equal(requests.length, 1);
  }
});

test("an answer that takes too long is none", async (t) => {
  const silent = await other(t, () => {});
  const slow = await other(t, (_, response) => response.writeHead(200, { "Content-Type": "application/json" }).write('{"id"'));
  for (const { url, requests } of [silent, slow]) {
    const error = await fails(client(url, { timeout: 50, retries: 1 }).keys.get(7), "UNREACHABLE", 0);
    assert.match(error.message, /nothing came from http:\S+ for 0.05 s/);
    assert.equal(requests.length, 2);
    await fails(client(url).keys.get(7, { timeout: 50, retries: 0 }), "UNREACHABLE", 0);
  }
  const late = await other(t, (request, response) => setTimeout(() => json(200, { result: 1, metadata: {} })(request, response), 200));
  assert.equal((await client(late.url, { timeout: 50 }).runs.invoke("a")).result, 1);
});

test("a run that takes longer than fetch waits is asked for again, as the same run", async () => {
  const keys = [];
  const impatient = async (_, { headers }) => {
    keys.push(headers["Idempotency-Key"]);
    if (keys.length < 10) throw new TypeError("fetch failed", { cause: Object.assign(new Error("Headers Timeout Error"), { code: "UND_ERR_HEADERS_TIMEOUT" }) });
    return new Response('{"result":1,"metadata":{}}', { headers: { "Content-Type": "application/json" } });
  };
  const keyward = client("https://a.example", { fetch: impatient, retries: 0 });
  assert.equal((await keyward.runs.invoke("a")).result, 1);
  assert.equal(new Set(keys).size, 1);
  keys.length = 0;
  await fails(keyward.keys.get(7), "UNREACHABLE");
});

test("a sign-in goes on when its access token has expired", async (t) => {
  let good = "access-1";
  let renewed = 0;
  const server = await other(t, (request, response) => {
    if (request.path === "/auth/token/refresh") {
      assert.equal(request.headers.authorization, undefined);
      assert.deepEqual(JSON.parse(request.body), { refreshToken: `refresh-${++renewed}` });
      good = `access-${renewed + 1}`;
      return setTimeout(() => json(200, { accessToken: good, refreshToken: `refresh-${renewed + 1}`, tokenType: "Bearer", expiresIn: 900 })(request, response), 50);
    }
    if (request.headers.authorization !== `Bearer ${good}`) {
      // One is refused when the others have new tokens already.
      return setTimeout(() => refusal(401, "EXPIRED_ACCESS_TOKEN")(request, response), request.path === "/v1/keys/8" ? 200 : 0);
    }
    return found(request, response);
  });
  const kept = [];
  const keyward = new Keyward({
    baseUrl: server.url,
    retries: 0,
    signIn: { accessToken: "access-0", refreshToken: "refresh-1", tokenType: "Bearer", expiresIn: 900 },
    onTokens: async (tokens) => kept.push(tokens.refreshToken),
  });
  const copy = keyward.with({ timeout: 10_000 });
  await Promise.all([keyward.keys.create({ name: "a" }).catch((error) => assert.equal(error.code, "NOT_KEYWARD")), ...[7, 7, 8].map((id) => keyward.keys.get(id)), copy.keys.get(7)]);
  assert.deepEqual(kept, ["refresh-2"]);
  good = "nobody's";
  await keyward.keys.get(7);
  assert.deepEqual(kept, ["refresh-2", "refresh-3"]);

  const never = await other(t, (request, response) =>
    request.path === "/auth/token/refresh" ? json(200, { accessToken: "a", refreshToken: "r" })(request, response) : refusal(401, "EXPIRED_ACCESS_TOKEN")(request, response),
  );
  await fails(new Keyward({ baseUrl: never.url, signIn: { accessToken: "x", refreshToken: "y" } }).keys.get(7), "EXPIRED_ACCESS_TOKEN", 401);
  assert.equal(never.requests.length, 3);

  const refuses = new Keyward({ baseUrl: server.url, signIn: { accessToken: "x", refreshToken: "refresh-3" }, onTokens: () => Promise.reject(new Error("the disk is full")) });
  await assert.rejects(refuses.keys.get(7), /the disk is full/);
});

test("a list is asked for when somebody wants to know, and has an end", async (t) => {
  const page = (data, next_cursor) => json(200, { data, pagination: { limit: 2, next_cursor } });
  const server = await other(t, [page([1, 2], "a"), page([3, 4], "b"), page([5], null), page([6], "x"), page([7], "x")]);
  const list = client(server.url).keys.list({ limit: 2 });
  assert.equal(server.requests.length, 0);
  const seen = [];
  for await (const entry of list) {
    seen.push(entry);
    if (entry === 5) assert.equal(server.requests.length, 3);
  }
  assert.deepEqual(seen, [1, 2, 3, 4, 5]);
  assert.deepEqual(server.requests.map((r) => r.path), ["/v1/keys?limit=2", "/v1/keys?limit=2&cursor=a", "/v1/keys?limit=2&cursor=b"]);
  await fails(client(server.url).keys.list().all(), "NOT_KEYWARD");
  assert.equal(server.requests[3].path, "/v1/keys?limit=100");

  const both = await other(t, [json(200, { data: [2], pagination: { limit: 1, next_cursor: "a", page: 2, pages: 3, total: 3 } }), page([3], null)]);
  assert.deepEqual(await client(both.url).keys.list({ page: 2, limit: 1 }).all(), [2, 3]);
  assert.equal(both.requests[1].path, "/v1/keys?limit=1&cursor=a");
});
