import assert from "node:assert/strict";
import { test } from "node:test";
import { inspect } from "node:util";

import { EventReader, pace } from "../src/events.js";
import { Keyward, KeywardError } from "../src/index.js";
import { cut, events, html, json, other, refusal } from "./other.js";

const key = "ra_live_" + "a".repeat(34) + "wxyz";
const client = (url, options) => new Keyward({ baseUrl: url, apiKey: key, ...options });

const start = 'retry: 10\n\nid: 1\nevent: start\ndata: {"run_id":"run","agent_id":"a"}\n\n';
const chunk = 'id: 2\nevent: chunk\ndata: "one"\n\n';
const done = 'id: 3\nevent: done\ndata: {"id":"run","status":"succeeded"}\n\n';
const broken = (response) => response.destroy();
const open = () => {};

async function read(stream) {
  const all = [];
  for await (const event of stream) all.push(event);
  return all;
}

const seen = [
  { id: 1, event: "start", data: { run_id: "run", agent_id: "a" } },
  { id: 2, event: "chunk", data: "one" },
  { id: 3, event: "done", data: { id: "run", status: "succeeded" } },
];

async function fails(promise, code) {
  await assert.rejects(promise, (error) => {
    assert.ok(error instanceof KeywardError, inspect(error));
    assert.equal(error.code, code, inspect(error));
    return true;
  });
}

test("events are the same however they are cut, and whatever ends their lines", () => {
  const text = '\ufeff: there\nretry: 1500\nid: 1\nevent: log\ndata: "ü – 𝄞"\n\ndata\ndata:a\ndata:  b\n\nevent: lost\n\nid: 2\nid: 3\0\nx: y\nid\ndata: {}\n\ndata: no end';
  const want = [
    { id: "1", event: "log", data: '"ü – 𝄞"' },
    { id: "", event: "message", data: "\na\n b" },
    { id: "", event: "message", data: "{}" },
  ];
  for (const end of ["\n", "\r", "\r\n"]) {
    const bytes = new TextEncoder().encode(text.replaceAll("\n", end));
    for (let size = 1; size <= bytes.length; size++) {
      const reader = new EventReader();
      const got = [];
      for (let at = 0; at < bytes.length; at += size) got.push(...reader.read(bytes.subarray(at, at + size)));
      assert.deepEqual(got, want, `${size} bytes at a time, lines end with ${JSON.stringify(end)}`);
      assert.equal(reader.retry, 1500);
    }
  }
});

test("an event without an end is not held", () => {
  for (const piece of ["data: " + "x".repeat(1 << 20), "data: " + "x".repeat(1 << 20) + "\n", "id: " + "x".repeat(1 << 20) + "\n"]) {
    const reader = new EventReader();
    const bytes = new TextEncoder().encode(piece);
    assert.throws(() => {
      for (let i = 0; i < 100; i++) [...reader.read(bytes)];
    }, /more than 32 MiB/);
  }
  const reader = new EventReader();
  const bytes = new TextEncoder().encode(": " + "x".repeat(1 << 20) + "\n");
  for (let i = 0; i < 100; i++) [...reader.read(bytes)]; // only that somebody is there
});

test("a run that is started and watched goes on where its connection broke off, as the same run", async (t) => {
  const server = await other(t, [cut, events(start, broken), html(502), events(start + chunk), events(done, open)]);
  const stream = client(server.url).runs.stream("a", { parameters: { x: 1 } });
  assert.equal(server.requests.length, 0);
  assert.deepEqual(await read(stream), seen);
  assert.deepEqual([stream.runId, stream.lastEventId], ["run", 3]);
  assert.deepEqual(server.requests.map((r) => r.headers["last-event-id"]), [undefined, undefined, "1", "1", "2"]);
  assert.equal(new Set(server.requests.map((r) => r.headers["idempotency-key"])).size, 1);
  assert.ok(server.requests.every((r) => r.method === "POST" && r.path === "/v1/agents/a/stream" && r.body === '{"parameters":{"x":1}}' && r.headers.accept === "text/event-stream"));
  await assert.rejects(read(stream), /were read already/);
});

test("a stream that ends with an error of the server goes on if the run may", async (t) => {
  const error = (code) => `event: error\ndata: {"code":"${code}","message":"for ${key}","request_id":"r"}\n\n`;
  const server = await other(t, [events(start + error("UNAVAILABLE")), refusal(503, "UNAVAILABLE", { "Retry-After": "1" }), events(chunk + done)]);
  assert.deepEqual(await read(client(server.url).runs.events("run")), seen);
  const ended = await other(t, events(start + error("REVOKED_API_KEY")));
  await assert.rejects(read(client(ended.url).runs.events("run")), (e) => {
    assert.deepEqual([e.code, e.message, e.requestId], ["REVOKED_API_KEY", "for [redacted]", "r"]);
    return true;
  });
  assert.equal(ended.requests.length, 1);
});

test("a stream outlives the access token that it was asked for with", async (t) => {
  const expired = refusal(401, "EXPIRED_ACCESS_TOKEN");
  const tokens = json(200, { accessToken: "access-2", refreshToken: "refresh-2", tokenType: "Bearer", expiresIn: 900 });
  const server = await other(t, [events(start + 'event: error\ndata: {"code":"EXPIRED_ACCESS_TOKEN","message":"m","request_id":"r"}\n\n'), expired, tokens, events(chunk + done)]);
  const keyward = new Keyward({ baseUrl: server.url, signIn: { accessToken: "access-1", refreshToken: "refresh-1" } });
  assert.deepEqual(await read(keyward.runs.events("run")), seen);
  assert.deepEqual(server.requests.map((r) => r.headers.authorization), ["Bearer access-1", "Bearer access-1", undefined, "Bearer access-2"]);

  const ends = await other(t, [events(start + 'event: error\ndata: {"code":"EXPIRED_ACCESS_TOKEN","message":"m","request_id":"r"}\n\n'), expired]);
  await fails(read(client(ends.url).runs.events("run")), "EXPIRED_ACCESS_TOKEN");
});

test("a run that failed is told, and is no error of the call", async (t) => {
  const failed = 'id: 2\nevent: error\ndata: {"code":"RUN_FAILED","message":"closed","status":"failed"}\n\nid: 3\nevent: done\ndata: {"id":"run","status":"failed"}\n\n';
  const server = await other(t, events(start + failed));
  assert.deepEqual((await read(client(server.url).runs.events("run"))).map((e) => e.event), ["start", "error", "done"]);
  assert.equal((await client(server.url).runs.wait("run")).status, "failed");
});

test("a stream may break as often as it goes on in between", async (t) => {
  const server = await other(t, [events(start, broken), events("retry: 600\n\n" + chunk, broken), events("retry: 1\n\n" + 'id: 3\nevent: log\ndata: "x"\n\n', broken), events(done.replace("3", "4"))]);
  assert.deepEqual((await read(client(server.url, { retries: 1 }).runs.events("run"))).map((e) => e.id), [1, 2, 3, 4]);
  assert.ok(server.requests[2].at - server.requests[1].at >= 590, "nobody comes before the server wants");
});

test("of a stream that never goes on there is an end", async (t) => {
  const server = await other(t, [events(start, broken), events("retry: 1\n\n", broken)]);
  await fails(read(client(server.url, { retries: 2 }).runs.events("run")), "UNREACHABLE");
  assert.equal(server.requests.length, 1 + 2);
  const gone = await other(t, [events(start, broken), refusal(404, "RUN_NOT_FOUND")]);
  await fails(read(client(gone.url).runs.events("run")), "RUN_NOT_FOUND");
  const foreign = await other(t, [json(200, {})]);
  await fails(read(client(foreign.url).runs.events("run")), "NOT_KEYWARD");
  for (const nonsense of ["id: 1\nevent: chunk\ndata: {\n\n", "id: x\nevent: chunk\ndata: {}\n\n", "event: chunk\ndata: {}\n\n"]) {
    const strange = await other(t, events(nonsense, open));
    await fails(read(client(strange.url).runs.events("run")), "NOT_KEYWARD");
    assert.equal(strange.requests.length, 1);
  }
});

test("a stream that says nothing is asked for again", async (t) => {
  pace.silence = 50;
  t.after(() => (pace.silence = 45_000));
  const began = Date.now();
  const server = await other(t, [events("", open), events(start, open), events(chunk + done, open)]);
  assert.deepEqual(await read(client(server.url).runs.events("run")), seen);
  assert.ok(Date.now() - began < 10_000);
  const slow = await other(t, (request, response) => {
    events(start, open)(request, response);
    setTimeout(() => response.write(chunk), 20);
    setTimeout(() => response.end(done), 40);
  });
  const all = [];
  for await (const event of client(slow.url).runs.events("run")) {
    all.push(event);
    await new Promise((resolve) => setTimeout(resolve, 80)); // who reads slowly loses nothing
  }
  assert.deepEqual(all, seen);
  assert.equal(slow.requests.length, 1);
});

test("after the last event there is nothing to tell", async (t) => {
  const server = await other(t, (request, response) => (request.path.endsWith("events") ? response.writeHead(204).end() : json(200, { id: "run", status: "succeeded" })(request, response)));
  assert.deepEqual(await read(client(server.url).runs.events("run", { lastEventId: 3 })), []);
  assert.equal(server.requests[0].headers["last-event-id"], "3");
  assert.throws(() => client(server.url).runs.events("run", { lastEventId: "3\n" }), /lastEventId/);
});

test("whoever stops to read, or is told to, lets go of the connection", async (t) => {
  let closed;
  const left = new Promise((resolve) => (closed = resolve));
  const server = await other(t, (request, response) => {
    response.on("close", closed);
    events(start + chunk, open)(request, response);
  });
  for await (const event of client(server.url).runs.stream("a")) if (event.event === "chunk") break;
  await left;
  assert.equal(server.requests.length, 1);

  const reason = new Error("enough");
  const controller = new AbortController();
  await assert.rejects(
    async () => {
      for await (const event of client(server.url).runs.stream("a", {}, { signal: controller.signal })) {
        if (event.event === "chunk") setTimeout(() => controller.abort(reason), 20);
      }
    },
    (error) => error === reason,
  );
  await assert.rejects(read(client(server.url).runs.events("a", { signal: controller.signal })), (error) => error === reason);
  assert.equal(server.requests.length, 2);
});

test("the time for an answer is not that of the events", async (t) => {
  const server = await other(t, (request, response) => {
    events(start, () => setTimeout(() => response.end(chunk + done), 150))(request, response);
  });
  assert.deepEqual(await read(client(server.url, { timeout: 100 }).runs.events("run")), seen);
  const silent = await other(t, () => {});
  await fails(read(client(silent.url, { timeout: 50, retries: 1 }).runs.events("run")), "UNREACHABLE");
  assert.equal(silent.requests.length, 2);
});
