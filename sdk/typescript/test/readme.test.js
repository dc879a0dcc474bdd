import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { cp, mkdir, mkdtemp, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

import { somebody, start } from "./server.js";

const here = fileURLToPath(new URL("..", import.meta.url));

let server;
let folder;
before(async () => {
  server = await start();
  // As npm would install it, with nothing but what the package has.
  folder = await mkdtemp(join(tmpdir(), "keyward-readme-"));
  const { files } = JSON.parse(await readFile(join(here, "package.json"), "utf8"));
  for (const name of [...files, "package.json"]) {
    const to = join(folder, "node_modules", "keyward", name);
    await mkdir(dirname(to), { recursive: true });
    await cp(join(here, name), to, { recursive: true });
  }
});
after(async () => {
  await server?.stop();
  if (folder) await rm(folder, { recursive: true });
});

test("the README's program runs as it stands there, with the package as it is installed", async (t) => {
  const agent = createServer((_, response) => {
    response.setHeader("Content-Type", "application/x-ndjson");
    response.end('{"chunk":"looking"}\n{"output":["an invoice"]}\n');
  });
  await new Promise((resolve) => agent.listen(0, "127.0.0.1", resolve));
  t.after(() => agent.close());
  const jane = await somebody(server.url);

  const readme = await readFile(join(here, "README.md"), "utf8");
  const blocks = [...readme.matchAll(/^```js\n(.*?)^```$/gms)].map((m) => m[1]);
  assert.ok(blocks.length >= 10);
  const program = blocks.join("\n").replace("https://agents.example.com/invoices", `http://127.0.0.1:${agent.address().port}`);
  await writeFile(join(folder, "program.mjs"), program);
  const { stdout, stderr } = await promisify(execFile)(process.execPath, [join(folder, "program.mjs")], {
    env: { PATH: process.env.PATH, KEYWARD_SERVER: server.url, KEYWARD_API_KEY: jane.key },
    timeout: 60_000,
  });
  for (const text of [
    /^owner ra_live_…\w{4} /m,
    /^shown this once: 46 characters$/m,
    /^REVOKED_API_KEY$/m,
    /^\[ 'an invoice' \] \d/m,
    /^looking$/m,
    /^succeeded \[ 'an invoice' \]$/m,
    /^succeeded$/m,
    /^3 null$/m,
    /^\[ 'Invoices'/m,
    /^UNKNOWN_INPUT_ARGUMENT 400 /m,
    /^signed$/m,
    /^owner$/m,
  ]) {
    assert.match(stdout, text);
  }
  assert.equal(stderr, "");
  assert.ok(!stdout.includes(jane.key));
});

test("what the package says that it has is there", async () => {
  const { exports, types } = JSON.parse(await readFile(join(folder, "node_modules", "keyward", "package.json"), "utf8"));
  for (const path of [types, exports["."].types, exports["."].default]) await readFile(join(folder, "node_modules", "keyward", path));
  // Nothing of node, or it would be no module for browsers.
  for (const name of await readdir(join(here, "src"))) {
    const text = await readFile(join(here, "src", name), "utf8");
    assert.ok(!/from "(?!\.\/)|\brequire\(|\bBuffer\b/.test(text), name);
  }
});
