// Starts Keyward as it is delivered, for tests.

import { execFile, spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

import { Keyward } from "../src/index.js";

const root = fileURLToPath(new URL("../../../", import.meta.url));

/** Returns a file of the repository. */
export const repository = (path) => join(root, path);

/**
 * Starts a server in a new folder, with the configuration of the behaviour scripts.
 * What the tests of Go have built is taken, or else it is built.
 */
export async function start() {
  const folder = await mkdtemp(join(tmpdir(), "keyward-sdk-"));
  let program = process.env.KEYWARD_PROGRAM;
  if (!program) {
    program = join(folder, "keyward");
    await promisify(execFile)("go", ["build", "-o", program, "./cmd/keyward"], { cwd: root });
  }
  let server = await serve(program, folder, "127.0.0.1:0");
  return {
    url: server.url,
    /** Ends it without a warning, and starts it again at the same address. */
    async killAndStart() {
      await server.end("SIGKILL");
      server = await serve(program, folder, server.url.slice("http://".length));
    },
    async stop() {
      await server.end("SIGTERM");
      await rm(folder, { recursive: true, force: true });
    },
  };
}

async function serve(program, folder, address) {
  const server = spawn(program, ["serve", "--config", repository("sdk/behaviour/keyward.yaml"), "--addr", address, "--data", join(folder, "data")], {
    cwd: folder,
    env: { PATH: process.env.PATH, HOME: folder },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let log = "";
  server.stderr.on("data", (piece) => (log += piece));
  const ended = new Promise((resolve) => server.once("exit", resolve));
  const url = await new Promise((resolve, reject) => {
    createInterface(server.stdout).on("line", (line) => {
      if (line.startsWith("listening on ")) resolve(line.slice("listening on ".length));
    });
    ended.then(() => reject(new Error(`the server does not start:\n${log}`)));
  });
  return {
    url,
    async end(signal) {
      server.kill(signal);
      await ended;
    },
  };
}

let people = 0;

/** Signs somebody up and in. */
export async function somebody(url) {
  const unique = `p${process.pid}x${++people}`;
  const email = `${unique}@example.com`;
  const password = "correct horse battery";
  const nobody = new Keyward({ baseUrl: url, apiKey: null });
  await nobody.auth.register({ name: "Jane", email, password });
  const tokens = await nobody.auth.signIn({ email, password });
  const made = await nobody.with({ accessToken: tokens.accessToken }).keys.create({ name: "owner" });
  return { unique, email, password, tokens, key: made.key, keyward: nobody.with({ apiKey: made.key }) };
}
