// The behaviour scripts, which the SDKs for Go and Python follow, too.

import assert from "node:assert/strict";
import { readFile, readdir } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { inspect } from "node:util";

import { Keyward, KeywardError } from "../src/index.js";
import { calls } from "./calls.js";
import { repository, somebody, start } from "./server.js";

const folder = repository("sdk/behaviour");
const names = (await readdir(folder)).filter((name) => /^\d.*\.json$/.test(name)).sort();

let server;
before(async () => {
  server = await start();
});
after(() => server?.stop());

test("there are behaviour scripts", () => assert.ok(names.length > 0));

for (const name of names) {
  const script = JSON.parse(await readFile(join(folder, name), "utf8"));
  test(`${name}: ${script.name}`, async () => {
    const jane = await somebody(server.url);
    const variables = {
      email: jane.email,
      password: jane.password,
      access_token: jane.tokens.accessToken,
      refresh_token: jane.tokens.refreshToken,
      owner_key: jane.key,
      unique: jane.unique,
      server: server.url,
    };
    for (const [number, step] of script.steps.entries()) {
      for (let time = 0; time < (step.times ?? 1); time++) {
        try {
          await follow(filled(step, variables), variables);
        } catch (error) {
          throw new Error(`step ${number + 1}, ${step.call}: ${inspect(error)}`);
        }
      }
    }
  });
}

async function follow(step, variables) {
  const who = step.as ?? variables.owner_key;
  const client = new Keyward({
    baseUrl: variables.server,
    apiKey: who === "" ? null : who,
    ...(step.signing_secret && { signingSecret: step.signing_secret }),
  });
  const options = {};
  if (step.retries !== undefined) options.retries = step.retries;
  if (step.idempotency_key !== undefined) options.idempotencyKey = step.idempotency_key;
  if (step.after !== undefined) options.lastEventId = step.after;

  let result;
  let failed;
  try {
    const call = calls[step.call];
    assert.ok(call, "the SDK has no such call");
    const given = call(client, step, options);
    if (step.list) result = await given.all();
    else if (step.call === "streamAgent" || step.call === "getRunEvents") result = await taken(given, step.take);
    else result = (await given) ?? null;
  } catch (error) {
    if (!(error instanceof KeywardError)) throw error;
    failed = error;
  }

  if (failed) {
    const secrets = [who, step.signing_secret, step.body?.password, step.body?.currentPassword, step.body?.newPassword, variables.password];
    const printed = [failed, client].flatMap((it) => [String(it), inspect(it, { depth: null, showHidden: true }), JSON.stringify(it)]).join("\n") + failed.stack;
    for (const secret of secrets) assert.ok(!secret || !printed.includes(secret), "a secret is printed");
    if (!step.error) throw failed;
    const { code, status, message, requestId: request_id, retryAfter: retry_after, details } = failed;
    result = { code, status, message, request_id, retry_after, details };
    compare(result, step.error, "error");
  } else {
    assert.ok(!step.error, `it does not fail, but gives ${inspect(result)}`);
    if ("expect" in step) compare(result, step.expect, "result");
  }
  for (const [name, path] of Object.entries(step.save ?? {})) {
    const value = path.split(".").reduce((at, part) => at?.[part], result);
    assert.notEqual(value, undefined, `there is no ${path}`);
    variables[name] = value;
  }
}

async function taken(events, take = Infinity) {
  const all = [];
  for await (const event of events) {
    all.push(event);
    if (all.length >= take) break;
  }
  return all;
}

/** Puts variables where their names stand. */
function filled(value, variables) {
  if (typeof value === "string") {
    const whole = /^\{\{(\w+)\}\}$/.exec(value);
    if (whole) return known(whole[1], variables);
    return value.replace(/\{\{(\w+)\}\}/g, (_, name) => String(known(name, variables)));
  }
  if (Array.isArray(value)) return value.map((each) => filled(each, variables));
  if (typeof value === "object" && value !== null) {
    return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, name === "save" ? each : filled(each, variables)]));
  }
  return value;
}

function known(name, variables) {
  assert.ok(name in variables, `there is no variable ${name}`);
  return variables[name];
}

const kind = (value) => (value === null ? "null" : Array.isArray(value) ? "array" : typeof value);

function compare(got, want, at) {
  got ??= null;
  const names = kind(want) === "object" ? Object.keys(want) : [];
  if (names.length === 1 && names[0].startsWith("$")) return judge(got, names[0], want[names[0]], at);
  switch (kind(want)) {
    case "object":
      assert.equal(kind(got), "object", `${at} is ${inspect(got)}`);
      for (const name of names) compare(got[name], want[name], `${at}.${name}`);
      return;
    case "array":
      assert.equal(kind(got), "array", `${at} is ${inspect(got)}`);
      assert.equal(got.length, want.length, `the length of ${at}, which is ${inspect(got)}`);
      want.forEach((each, i) => compare(got[i], each, `${at}.${i}`));
      return;
  }
  assert.equal(got, want, at);
}

function judge(got, rule, want, at) {
  switch (rule) {
    case "$matches":
      assert.equal(kind(got), "string", `${at} is ${inspect(got)}`);
      return assert.match(got, new RegExp(want), at);
    case "$is":
      return assert.equal(kind(got), want, at);
    case "$length":
      return assert.equal(got?.length, want, `the length of ${at}`);
    case "$least":
      return assert.ok(typeof got === "number" && got >= want, `${at} is ${inspect(got)}`);
    case "$has": {
      const like = (each) => {
        try {
          compare(each, want, at);
          return true;
        } catch {
          return false;
        }
      };
      return assert.ok(kind(got) === "array" && got.some(like), `${at} has none like ${inspect(want)}: ${inspect(got, { depth: 4 })}`);
    }
  }
  assert.fail(`there is no rule ${rule}`);
}
