import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { somebody, start } from "./server.js";

let server;
before(async () => {
  server = await start();
});
after(() => server?.stop());

test("a stream outlives a server that is killed and starts again", async () => {
  const { keyward } = await somebody(server.url);
  const told = [];
  for await (const event of keyward.runs.stream("public/sleep", {}, { retries: 100 })) {
    told.push(event);
    if (told.length === 1) await server.killAndStart();
  }
  assert.deepEqual(told.map((event) => event.event), ["start", "error", "done"]);
  assert.equal(told[1].data.code, "RUN_INTERRUPTED");
  assert.equal(told[2].data.status, "interrupted");
  assert.deepEqual(told.map((event) => event.id), [1, 2, 3]);
});
