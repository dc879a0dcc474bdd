/**
 * One call of the API, by its operationId in openapi.yaml.
 *
 * @typedef {object} Operation
 * @property {string} id
 * @property {string} method
 * @property {string} path
 * @property {string} [has] a field that every answer has; without it the call answers nothing
 * @property {boolean} [public] sent without credentials
 * @property {boolean} [known] takes an Idempotency-Key, by which it is known again
 * @property {boolean} [waits] lasts as long as a run
 */

/**
 * All calls that a client makes.
 *
 * @type {Map<string, Operation>}
 */
export const operations = new Map();

/**
 * @param {string} id
 * @param {string} method
 * @param {string} path
 * @param {Partial<Operation>} [is]
 */
function op(id, method, path, is) {
  const operation = { id, method, path, ...is };
  operations.set(id, operation);
  return operation;
}

const list = { has: "data" };
const one = { has: "id" };
const anybody = { public: true };

export const createKey = op("createKey", "POST", "/v1/keys", { has: "key" });
export const listKeys = op("listKeys", "GET", "/v1/keys", list);
export const getKey = op("getKey", "GET", "/v1/keys/{id}", one);
export const changeKey = op("changeKey", "PATCH", "/v1/keys/{id}", one);
export const rotateKey = op("rotateKey", "POST", "/v1/keys/{id}/rotate", { has: "key" });
export const revokeKey = op("revokeKey", "DELETE", "/v1/keys/{id}");
export const getOwnKey = op("getOwnKey", "GET", "/v1/keys/self", one);
export const revokeOwnKey = op("revokeOwnKey", "DELETE", "/v1/keys/self");
export const verifyKey = op("verifyKey", "POST", "/v1/keys/verify", { has: "valid" });

export const getKeyUsage = op("getKeyUsage", "GET", "/v1/keys/{id}/usage", { has: "keys" });
export const listKeyUsage = op("listKeyUsage", "GET", "/v1/keys/usage", { has: "keys" });

export const setAlert = op("setAlert", "PUT", "/v1/keys/{id}/alert", { has: "key_id" });
export const getAlert = op("getAlert", "GET", "/v1/keys/{id}/alert", { has: "key_id" });
export const removeAlert = op("removeAlert", "DELETE", "/v1/keys/{id}/alert");
export const listAlerts = op("listAlerts", "GET", "/v1/alerts", list);

export const createAgent = op("createAgent", "POST", "/v1/agents", one);
export const listAgents = op("listAgents", "GET", "/v1/agents", list);
export const getAgent = op("getAgent", "GET", "/v1/agents/{id}", one);
export const changeAgent = op("changeAgent", "PATCH", "/v1/agents/{id}", one);
export const deleteAgent = op("deleteAgent", "DELETE", "/v1/agents/{id}");
export const getAgentHealth = op("getAgentHealth", "GET", "/v1/agents/{id}/health", { has: "status" });
export const renewRunnerSecret = op("renewRunnerSecret", "POST", "/v1/agents/{id}/runner-secret", { has: "runner_secret" });

export const createAgentAuthProfile = op("createAgentAuthProfile", "POST", "/api/create_agent_auth_profile", { has: "auth_token" });
export const upsertAgentAuthProfile = op("upsertAgentAuthProfile", "POST", "/api/upsert_agent_auth_profile", { has: "auth_token" });
export const listAuthProfiles = op("listAuthProfiles", "GET", "/v1/agents/{id}/auth-profiles", list);
export const getAuthProfile = op("getAuthProfile", "GET", "/v1/auth-profiles/{id}", one);
export const deleteAuthProfile = op("deleteAuthProfile", "DELETE", "/v1/auth-profiles/{id}");
export const deleteSession = op("deleteSession", "DELETE", "/v1/auth-profiles/{id}/session");
export const rotateAuthToken = op("rotateAuthToken", "POST", "/v1/auth-profiles/token/rotate", { has: "auth_token" });

export const invokeAgent = op("invokeAgent", "POST", "/v1/agents/{id}/invoke", { has: "metadata", known: true, waits: true });
export const startRun = op("startRun", "POST", "/v1/agents/{id}/runs", { ...one, known: true });
export const streamAgent = op("streamAgent", "POST", "/v1/agents/{id}/stream", { known: true });
export const listRuns = op("listRuns", "GET", "/v1/runs", list);
export const getRun = op("getRun", "GET", "/v1/runs/{id}", one);
export const cancelRun = op("cancelRun", "POST", "/v1/runs/{id}/cancel", one);
export const getRunEvents = op("getRunEvents", "GET", "/v1/runs/{id}/events");

export const listAudit = op("listAudit", "GET", "/v1/audit", list);

export const register = op("register", "POST", "/auth/register", { ...one, ...anybody });
export const signIn = op("signIn", "POST", "/auth/token", { has: "accessToken", ...anybody });
export const refresh = op("refresh", "POST", "/auth/token/refresh", { has: "accessToken", ...anybody });
export const signOut = op("signOut", "POST", "/auth/logout", anybody);
export const me = op("me", "GET", "/auth/me", one);
export const changePassword = op("changePassword", "POST", "/auth/password");
export const deleteAccount = op("deleteAccount", "DELETE", "/auth/me");

export const createAccount = op("createAccount", "POST", "/v1/accounts", one);
export const listAccounts = op("listAccounts", "GET", "/v1/accounts", list);
export const listOrganizations = op("listOrganizations", "GET", "/v1/organizations", list);
export const changeOrganization = op("changeOrganization", "PATCH", "/v1/organizations/{id}", one);

export const health = op("health", "GET", "/healthz", { has: "status", ...anybody });
export const ready = op("ready", "GET", "/readyz", { has: "status", ...anybody });
