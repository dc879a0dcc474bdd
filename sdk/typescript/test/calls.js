// Each operation of openapi.yaml that the SDK offers, by a call of its public
// methods: (keyward, {path, query, body}, options) → what it gives.

const id = (step) => step.path.id;

export const calls = {
  createKey: (k, s, o) => k.keys.create(s.body, o),
  listKeys: (k, s, o) => k.keys.list(s.query, o),
  getKey: (k, s, o) => k.keys.get(id(s), o),
  changeKey: (k, s, o) => k.keys.change(id(s), s.body, o),
  rotateKey: (k, s, o) => k.keys.rotate(id(s), s.body, o),
  revokeKey: (k, s, o) => k.keys.revoke(id(s), o),
  getOwnKey: (k, s, o) => k.keys.self(o),
  revokeOwnKey: (k, s, o) => k.keys.revokeSelf(o),
  verifyKey: (k, s, o) => k.keys.verify(s.body, o),

  getKeyUsage: (k, s, o) => k.usage.ofKey(id(s), s.query, o),
  listKeyUsage: (k, s, o) => k.usage.list(s.query, o),

  setAlert: (k, s, o) => k.alerts.set(id(s), s.body, o),
  getAlert: (k, s, o) => k.alerts.get(id(s), o),
  removeAlert: (k, s, o) => k.alerts.remove(id(s), o),
  listAlerts: (k, s, o) => k.alerts.list(s.query, o),

  createAgent: (k, s, o) => k.agents.create(s.body, o),
  listAgents: (k, s, o) => k.agents.list(s.query, o),
  getAgent: (k, s, o) => k.agents.get(id(s), o),
  changeAgent: (k, s, o) => k.agents.change(id(s), s.body, o),
  deleteAgent: (k, s, o) => k.agents.delete(id(s), o),
  getAgentHealth: (k, s, o) => k.agents.health(id(s), o),
  renewRunnerSecret: (k, s, o) => k.agents.renewRunnerSecret(id(s), o),

  createAgentAuthProfile: (k, s, o) => k.authProfiles.create(s.body, o),
  upsertAgentAuthProfile: (k, s, o) => k.authProfiles.upsert(s.body, o),
  listAuthProfiles: (k, s, o) => k.authProfiles.list(id(s), s.query, o),
  getAuthProfile: (k, s, o) => k.authProfiles.get(id(s), o),
  deleteAuthProfile: (k, s, o) => k.authProfiles.delete(id(s), o),
  deleteSession: (k, s, o) => k.authProfiles.deleteSession(id(s), o),
  rotateAuthToken: (k, s, o) => k.authProfiles.rotateToken(s.body, o),

  invokeAgent: (k, s, o) => k.runs.invoke(id(s), s.body, o),
  startRun: (k, s, o) => k.runs.start(id(s), s.body, o),
  streamAgent: (k, s, o) => k.runs.stream(id(s), s.body, o),
  listRuns: (k, s, o) => k.runs.list(s.query, o),
  getRun: (k, s, o) => k.runs.get(id(s), o),
  cancelRun: (k, s, o) => k.runs.cancel(id(s), o),
  getRunEvents: (k, s, o) => k.runs.events(id(s), o),

  listAudit: (k, s, o) => k.audit.list(s.query, o),

  register: (k, s, o) => k.auth.register(s.body, o),
  signIn: (k, s, o) => k.auth.signIn(s.body, o),
  refresh: (k, s, o) => k.auth.refresh(s.body.refreshToken, o),
  signOut: (k, s, o) => k.auth.signOut(s.body.refreshToken, o),
  me: (k, s, o) => k.auth.me(o),
  changePassword: (k, s, o) => k.auth.changePassword(s.body, o),
  deleteAccount: (k, s, o) => k.auth.deleteAccount(s.body, o),

  createAccount: (k, s, o) => k.accounts.create(s.body, o),
  listAccounts: (k, s, o) => k.accounts.list(s.query, o),
  listOrganizations: (k, s, o) => k.organizations.list(s.query, o),
  changeOrganization: (k, s, o) => k.organizations.change(id(s), s.body, o),

  health: (k, s, o) => k.health(o),
  ready: (k, s, o) => k.ready(o),
};
