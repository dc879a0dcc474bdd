package client

import "net/http"

// operation is one call of the API, by its operationId in openapi.yaml.
type operation struct {
	id, method, path string

	public bool // sent without credentials
	waits  bool // lasts as long as a run
}

// operations are all that a Client calls.
var operations []*operation

func op(id, method, path string, is ...func(*operation)) *operation {
	o := &operation{id: id, method: method, path: path}
	for _, set := range is {
		set(o)
	}
	operations = append(operations, o)
	return o
}

func public(o *operation) { o.public = true }
func waits(o *operation)  { o.waits = true }

var (
	createKey    = op("createKey", http.MethodPost, "/v1/keys")
	listKeys     = op("listKeys", http.MethodGet, "/v1/keys")
	getKey       = op("getKey", http.MethodGet, "/v1/keys/{id}")
	changeKey    = op("changeKey", http.MethodPatch, "/v1/keys/{id}")
	rotateKey    = op("rotateKey", http.MethodPost, "/v1/keys/{id}/rotate")
	revokeKey    = op("revokeKey", http.MethodDelete, "/v1/keys/{id}")
	getOwnKey    = op("getOwnKey", http.MethodGet, "/v1/keys/self")
	revokeOwnKey = op("revokeOwnKey", http.MethodDelete, "/v1/keys/self")
	verifyKey    = op("verifyKey", http.MethodPost, "/v1/keys/verify")

	getKeyUsage  = op("getKeyUsage", http.MethodGet, "/v1/keys/{id}/usage")
	listKeyUsage = op("listKeyUsage", http.MethodGet, "/v1/keys/usage")

	setAlert    = op("setAlert", http.MethodPut, "/v1/keys/{id}/alert")
	getAlert    = op("getAlert", http.MethodGet, "/v1/keys/{id}/alert")
	removeAlert = op("removeAlert", http.MethodDelete, "/v1/keys/{id}/alert")
	listAlerts  = op("listAlerts", http.MethodGet, "/v1/alerts")

	createAgent       = op("createAgent", http.MethodPost, "/v1/agents")
	listAgents        = op("listAgents", http.MethodGet, "/v1/agents")
	getAgent          = op("getAgent", http.MethodGet, "/v1/agents/{id}")
	changeAgent       = op("changeAgent", http.MethodPatch, "/v1/agents/{id}")
	deleteAgent       = op("deleteAgent", http.MethodDelete, "/v1/agents/{id}")
	getAgentHealth    = op("getAgentHealth", http.MethodGet, "/v1/agents/{id}/health")
	renewRunnerSecret = op("renewRunnerSecret", http.MethodPost, "/v1/agents/{id}/runner-secret")

	createAgentAuthProfile = op("createAgentAuthProfile", http.MethodPost, "/api/create_agent_auth_profile")
	upsertAgentAuthProfile = op("upsertAgentAuthProfile", http.MethodPost, "/api/upsert_agent_auth_profile")
	listAuthProfiles       = op("listAuthProfiles", http.MethodGet, "/v1/agents/{id}/auth-profiles")
	getAuthProfile         = op("getAuthProfile", http.MethodGet, "/v1/auth-profiles/{id}")
	deleteAuthProfile      = op("deleteAuthProfile", http.MethodDelete, "/v1/auth-profiles/{id}")
	deleteSession          = op("deleteSession", http.MethodDelete, "/v1/auth-profiles/{id}/session")
	rotateAuthToken        = op("rotateAuthToken", http.MethodPost, "/v1/auth-profiles/token/rotate")

	invokeAgent  = op("invokeAgent", http.MethodPost, "/v1/agents/{id}/invoke", waits)
	startRun     = op("startRun", http.MethodPost, "/v1/agents/{id}/runs")
	streamAgent  = op("streamAgent", http.MethodPost, "/v1/agents/{id}/stream")
	listRuns     = op("listRuns", http.MethodGet, "/v1/runs")
	getRun       = op("getRun", http.MethodGet, "/v1/runs/{id}")
	cancelRun    = op("cancelRun", http.MethodPost, "/v1/runs/{id}/cancel")
	getRunEvents = op("getRunEvents", http.MethodGet, "/v1/runs/{id}/events")

	listAudit = op("listAudit", http.MethodGet, "/v1/audit")

	register       = op("register", http.MethodPost, "/auth/register", public)
	signInOp       = op("signIn", http.MethodPost, "/auth/token", public)
	refresh        = op("refresh", http.MethodPost, "/auth/token/refresh", public)
	signOut        = op("signOut", http.MethodPost, "/auth/logout", public)
	me             = op("me", http.MethodGet, "/auth/me")
	changePassword = op("changePassword", http.MethodPost, "/auth/password")
	deleteAccount  = op("deleteAccount", http.MethodDelete, "/auth/me")

	createAccount      = op("createAccount", http.MethodPost, "/v1/accounts")
	listAccounts       = op("listAccounts", http.MethodGet, "/v1/accounts")
	listOrganizations  = op("listOrganizations", http.MethodGet, "/v1/organizations")
	changeOrganization = op("changeOrganization", http.MethodPatch, "/v1/organizations/{id}")

	runAgentDeviceInitiate = op("runAgentDeviceInitiate", http.MethodPost, "/api/v1/auth/device/initiate", public)
	runAgentDevicePoll     = op("runAgentDevicePoll", http.MethodGet, "/api/v1/auth/device/poll", public)

	health = op("health", http.MethodGet, "/healthz", public)
	ready  = op("ready", http.MethodGet, "/readyz", public)
)

const idempotencyHeader = "Idempotency-Key"
