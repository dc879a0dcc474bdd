import { RunEvents } from "./events.js";
import * as op from "./operations.js";

// The calls by what they are about. What each takes and gives is in
// types/index.d.ts.

/** @type {(t: Transport) => import("../types/index.js").Keys} */
export const keys = (t) => ({
  create: (key, options) => t.call(op.createKey, { body: key }, options),
  list: (query, options) => t.list(op.listKeys, { query }, options),
  get: (id, options) => t.call(op.getKey, { path: [id] }, options),
  change: (id, change, options) => t.call(op.changeKey, { path: [id], body: change }, options),
  rotate: (id, rotation = {}, options) => t.call(op.rotateKey, { path: [id], body: rotation }, options),
  revoke: (id, options) => t.call(op.revokeKey, { path: [id] }, options),
  self: (options) => t.call(op.getOwnKey, {}, options),
  revokeSelf: (options) => t.call(op.revokeOwnKey, {}, options),
  verify: (question, options) => t.call(op.verifyKey, { body: question }, options),
});

/** @type {(t: Transport) => import("../types/index.js").UsageCalls} */
export const usage = (t) => ({
  ofKey: (id, query, options) => t.call(op.getKeyUsage, { path: [id], query }, options),
  list: (query, options) => t.list(op.listKeyUsage, { query }, options, "keys"),
});

/** @type {(t: Transport) => import("../types/index.js").Alerts} */
export const alerts = (t) => ({
  set: (keyId, alert, options) => t.call(op.setAlert, { path: [keyId], body: alert }, options),
  get: (keyId, options) => t.call(op.getAlert, { path: [keyId] }, options),
  remove: (keyId, options) => t.call(op.removeAlert, { path: [keyId] }, options),
  list: (query, options) => t.list(op.listAlerts, { query }, options),
});

/** @type {(t: Transport) => import("../types/index.js").Agents} */
export const agents = (t) => ({
  create: (agent, options) => t.call(op.createAgent, { body: agent }, options),
  list: (query, options) => t.list(op.listAgents, { query }, options),
  get: (id, options) => t.call(op.getAgent, { path: [id] }, options),
  change: (id, change, options) => t.call(op.changeAgent, { path: [id], body: change }, options),
  delete: (id, options) => t.call(op.deleteAgent, { path: [id] }, options),
  health: (id, options) => t.call(op.getAgentHealth, { path: [id] }, options),
  renewRunnerSecret: (id, options) => t.call(op.renewRunnerSecret, { path: [id] }, options),
});

/** @type {(t: Transport) => import("../types/index.js").AuthProfiles} */
export const authProfiles = (t) => ({
  create: (profile, options) => t.call(op.createAgentAuthProfile, { body: { auth_data: {}, ...profile } }, options),
  upsert: (profile, options) => t.call(op.upsertAgentAuthProfile, { body: { auth_data: {}, ...profile } }, options),
  list: (agentId, query, options) => t.list(op.listAuthProfiles, { path: [agentId], query }, options),
  get: (id, options) => t.call(op.getAuthProfile, { path: [id] }, options),
  delete: (id, options) => t.call(op.deleteAuthProfile, { path: [id] }, options),
  deleteSession: (id, options) => t.call(op.deleteSession, { path: [id] }, options),
  rotateToken: (rotation, options) => t.call(op.rotateAuthToken, { body: rotation }, options),
});

/** @type {(t: Transport) => import("../types/index.js").Runs} */
export const runs = (t) => ({
  invoke: (agentId, start = {}, options) => t.call(op.invokeAgent, { path: [agentId], body: start }, options),
  start: (agentId, start = {}, options) => t.call(op.startRun, { path: [agentId], body: start }, options),
  stream: (agentId, start = {}, options) => new RunEvents(t, op.streamAgent, { path: [agentId], body: start }, options),
  events: (id, options) => new RunEvents(t, op.getRunEvents, { path: [id] }, options),
  async wait(id, options) {
    for await (const event of new RunEvents(t, op.getRunEvents, { path: [id] }, options)) {
      if (event.event === "done") return event.data;
    }
    return t.call(op.getRun, { path: [id] }, options);
  },
  list: (query, options) => t.list(op.listRuns, { query }, options),
  get: (id, options) => t.call(op.getRun, { path: [id] }, options),
  cancel: (id, options) => t.call(op.cancelRun, { path: [id] }, options),
});

/** @type {(t: Transport) => import("../types/index.js").Audit} */
export const audit = (t) => ({
  list: (query, options) => t.list(op.listAudit, { query }, options),
});

/** @type {(t: Transport) => import("../types/index.js").Auth} */
export const auth = (t) => ({
  register: (registration, options) => t.call(op.register, { body: registration }, options),
  signIn: (credentials, options) => t.call(op.signIn, { body: credentials }, options),
  refresh: (refreshToken, options) => t.call(op.refresh, { body: { refreshToken } }, options),
  signOut: (refreshToken, options) => t.call(op.signOut, { body: { refreshToken } }, options),
  me: (options) => t.call(op.me, {}, options),
  changePassword: (change, options) => t.call(op.changePassword, { body: change }, options),
  deleteAccount: (proof, options) => t.call(op.deleteAccount, { body: proof }, options),
});

/** @type {(t: Transport) => import("../types/index.js").Accounts} */
export const accounts = (t) => ({
  create: (account, options) => t.call(op.createAccount, { body: account }, options),
  list: (query, options) => t.list(op.listAccounts, { query }, options),
});

/** @type {(t: Transport) => import("../types/index.js").Organizations} */
export const organizations = (t) => ({
  list: (query, options) => t.list(op.listOrganizations, { query }, options),
  change: (id, change, options) => t.call(op.changeOrganization, { path: [id], body: change }, options),
});

/** @typedef {import("./transport.js").Transport} Transport */
