import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, before, test } from "node:test";

import { Keyward } from "../src/index.js";
import { operations } from "../src/operations.js";
import { calls } from "./calls.js";
import { start } from "./server.js";

const leftOut = JSON.parse(await readFile(new URL("left-out.json", import.meta.url), "utf8"));

let server;
let codes;
const documented = new Map();
before(async () => {
  server = await start();
  const { paths, components } = await (await fetch(`${server.url}/openapi.json`)).json();
  codes = new Set(Object.values(components.responses).flatMap((response) => response["x-error-codes"] ?? []));
  for (const [path, methods] of Object.entries(paths)) {
    for (const [method, operation] of Object.entries(methods)) {
      if (operation.operationId) documented.set(operation.operationId, { ...operation, path, method: method.toUpperCase() });
    }
  }
});
after(() => server?.stop());

test("each operation of the server is offered, or left out for a reason", () => {
  for (const id of documented.keys()) {
    assert.notEqual(operations.has(id), id in leftOut, operations.has(id) ? `${id} is offered and left out` : `${id} is neither offered nor left out`);
  }
  for (const id of [...operations.keys(), ...Object.keys(leftOut)]) assert.ok(documented.has(id), `the server has no ${id}`);
});

test("each operation is what the server says of it", () => {
  for (const { id, method, path, public: anybody = false, known = false, has } of operations.values()) {
    const of = documented.get(id);
    const success = Object.entries(of.responses).find(([status]) => status.startsWith("2"))[1];
    assert.deepEqual([method, path], [of.method, of.path], id);
    assert.equal(anybody, !of.security?.some((by) => Object.keys(by).some((name) => name !== "basic")), `whether ${id} takes credentials`);
    assert.equal(known, (of.parameters ?? []).some((p) => p.name === "Idempotency-Key"), `whether ${id} takes an Idempotency-Key`);
    assert.equal(has !== undefined, success.content?.["application/json"] !== undefined, `whether ${id} answers something`);
  }
});

test("each operation has a method that calls it", async () => {
  assert.deepEqual(Object.keys(calls).sort(), [...operations.keys()].sort());
  for (const [id, call] of Object.entries(calls)) {
    const asked = [];
    const keyward = new Keyward({
      baseUrl: "https://keys.example.com",
      apiKey: "a",
      retries: 0,
      fetch: async (url, { method }) => {
        asked.push([method, new URL(url).pathname]);
        return new Response("{}", { status: 418 });
      },
    });
    const given = call(keyward, { path: { id: "7" }, body: {} }, {});
    await assert.rejects(async () => {
      if (Symbol.asyncIterator in given) for await (const _ of given);
      await given;
    });
    const { method, path } = operations.get(id);
    assert.deepEqual(asked, [[method, path.replace("{id}", "7")]], id);
  }
});

test("each code of the server has its place in the types, and each in the types is one of the server's", async () => {
  const types = await readFile(new URL("../types/index.d.ts", import.meta.url), "utf8");
  const [, union] = /export type ErrorCode =\n(.*?)\(string & \{\}\)/s.exec(types);
  const named = [...union.matchAll(/"([A-Z_]+)"/g)].map((m) => m[1]);
  assert.equal(new Set(named).size, named.length);
  assert.ok(codes.size > 30);
  assert.deepEqual([...codes].filter((code) => !named.includes(code)), [], "codes without a place");
  // The SDK's own, and those of requests that are no call at all.
  const others = ["UNREACHABLE", "NOT_KEYWARD", "METHOD_NOT_ALLOWED", "MISDIRECTED_REQUEST", "ROUTE_NOT_FOUND"];
  assert.deepEqual(named.filter((code) => !codes.has(code)), others, "codes that the server does not have");
});
