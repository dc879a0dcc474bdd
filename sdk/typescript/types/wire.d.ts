// What travels, as openapi.yaml has it: go test ./sdk/typescript -update writes this file.

export interface Account {
  created_at: string;
  email: string;
  id: string;
  name: string;
  updated_at: string;
}

export interface Agent {
  created_at: string;
  description: string;
  /** With public/ before it if it is the operator's public agent and not the caller's own */
  id: string;
  idempotent: boolean;
  input_arguments: InputArgument[];
  /** 0: no bound of its own */
  max_concurrent: number;
  name: string;
  runner: Runner;
  timeout_seconds: number;
  updated_at: string;
  visibility: "private" | "public";
}

export interface AgentChange {
  description?: string | null;
  idempotent?: boolean | null;
  /** Replaces all of them */
  input_arguments?: InputArgument[];
  /** 0: no bound of its own */
  max_concurrent?: number | null;
  name?: string | null;
  runner?: Runner;
  timeout_seconds?: number | null;
  visibility?: "private" | "public" | null;
}

export interface AgentDefinition {
  description?: string;
  /** 1 to 64 of A-Z a-z 0-9 . _ -, unique in the organization. Left out: a UUID */
  id?: string;
  /** Whether a run that was cut short by the end of its server may be done again from its beginning. Without it such a run is interrupted, since the agent may have acted already */
  idempotent?: boolean;
  input_arguments?: InputArgument[];
  /** How many runs there may be at once; further ones wait. Left out or 0: no bound of its own */
  max_concurrent?: number;
  name: string;
  runner: Runner;
  /** How long a run may take. Left out: 300 */
  timeout_seconds?: number;
  /** public: every organization may run it, as public/ID; only the operator's organization may set it. Left out: private */
  visibility?: "private" | "public";
}

export interface AgentHealth {
  checked_at: string;
  latency_ms: number;
  /** Why the runner can't be reached */
  reason?: string;
  status: "ok" | "unreachable";
}

export interface Alert {
  created_at: string;
  email?: string;
  key_id: number;
  /** Percent of the limit */
  threshold: number;
  /** It has neither a webhook nor an e-mail, and goes to the organization's owners */
  to_owners: boolean;
  updated_at: string;
  webhook_url?: string;
}

export interface AlertDelivery {
  attempts: number;
  channel: "webhook" | "email";
  delivered_at?: string;
  /** The webhook-id of a webhook, and in the Message-ID of an e-mail; the same at each attempt */
  id: string;
  /** Why the last attempt failed */
  last_error?: string;
  /** Left out: there is none */
  next_attempt_at?: string;
  status: "pending" | "delivered" | "failed";
  /** The host of the webhook, or the e-mail */
  target: string;
}

export interface AlertSet {
  created_at: string;
  email?: string;
  key_id: number;
  /** Percent of the limit */
  threshold: number;
  /** It has neither a webhook nor an e-mail, and goes to the organization's owners */
  to_owners: boolean;
  updated_at: string;
  /** What the webhook is signed with, as Standard Webhooks has it. It is there if the webhook is new or another one, and can't be had again */
  webhook_secret?: string;
  webhook_url?: string;
}

export interface AuditEntry {
  account_id?: string;
  action: string;
  /** Where the request came from */
  address?: string;
  at: string;
  id: string;
  key_id?: number;
  notes?: Record<string, string>;
  request_id?: string;
  /** Its place in the server's chain; left out for up to a second, until it has one */
  seq?: number;
  subject: AuditSubject;
}

export interface AuditSubject {
  id: string;
  kind: "account" | "organization" | "key" | "agent" | "auth_profile" | "run" | "server" | "sign_in" | "device_login";
  name?: string;
}

export interface AuthProfile {
  agent_id: string;
  created_at: string;
  /** Where its values may go */
  destination: string;
  /** The names of its values */
  fields: string[];
  /** Whether a session is kept */
  has_session: boolean;
  id: string;
  last_used_at?: string;
  name: string;
  should_save_session: boolean;
  updated_at: string;
}

export interface AuthToken {
  /** Opens the profile. It is shown this once and can't be had again */
  auth_token: string;
}

export interface ChangeKey {
  /** Adds to allowed_ips. A key without any can be used from these alone */
  add_ips?: string[];
  /** Replaces all of them; a key without scopes gets those of a key for certain agents. null: all agents */
  agent_ids?: string[] | null;
  /** Replaces all of them; not together with add_ips or remove_ips. null: from anywhere */
  allowed_ips?: string[] | null;
  /** false: requests with the key are refused with DISABLED_API_KEY until it is true again */
  enabled?: boolean | null;
  /** Seconds from now. null: never, which a temporary key can't */
  expires_in?: number | null;
  /** null: none */
  external_id?: string | null;
  /** What is left out in it stays. null: no limits of the key's own */
  limits?: ChangeKeyLimits | null;
  /** Replaces all of it. null: none */
  metadata?: Record<string, unknown> | null;
  name?: string | null;
  /** Takes away from allowed_ips, but not the last one */
  remove_ips?: string[];
  /** If it was false and becomes true, a new secret to sign with is in the answer, this once */
  require_signature?: boolean | null;
  /** Replaces all of them. null: as if the key had been made without */
  scopes?: string[] | null;
}

export interface ChangeKeyLimits {
  burst?: number | null;
  requests_per_hour?: number | null;
  requests_per_month?: number | null;
}

export interface ChangedKey {
  /** The only agents that it is for. Left out: all */
  agent_ids?: string[];
  /** Where it may be used from. Left out: anywhere */
  allowed_ips?: string[];
  created_at: string;
  enabled: boolean;
  /** Left out: never */
  expires_at?: string;
  external_id?: string;
  /** How the key begins, and its last four characters */
  hint: string;
  /** Below 2^53 */
  id: number;
  /** Left out: not used yet */
  last_used_at?: string;
  last_used_ip?: string;
  /** Its own limits, which lower what the organization's tier gives. Left out: none */
  limits?: KeyLimits;
  made_by: MadeBy;
  metadata?: Record<string, unknown>;
  name: string;
  require_signature: boolean;
  /** Left out: not revoked */
  revoked_at?: string;
  /** All that it has, each by its full name */
  scopes: string[];
  /** What requests with the key are signed with, if they must be from now on. It is shown this once and can't be had again */
  signing_secret?: string;
  status: "active" | "disabled" | "expired" | "revoked";
  /** The tier of its organization */
  tier: "free" | "pro" | "enterprise";
  type: "personal" | "service" | "temporary";
  updated_at: string;
}

export interface CreateAccount {
  email: string;
  name: string;
  password: string;
}

export interface CreateKey {
  /** The only agents that the key is for; one of the operator's public agents as public/ID. Left out: all */
  agent_ids?: string[];
  /** The only addresses that the key may be used from: IPv4 and IPv6 addresses, and networks like 192.0.2.0/24. Left out: any */
  allowed_ips?: string[];
  /** Left out: true */
  enabled?: boolean | null;
  /** Seconds until the key expires. A temporary key has 3600 if it is left out and at most 2592000 (30 days); any other never expires if it is left out */
  expires_in?: number;
  /** What you call whoever holds the key; a check of the key returns it, and keys can be listed by it */
  external_id?: string;
  /** How often the key may be used. They can only lower what the organization's tier gives */
  limits?: KeyLimits;
  /** Whatever you want to have with the key, at most 4096 bytes; a check of the key returns it */
  metadata?: Record<string, unknown>;
  /** What people call the key; unique among the organization's keys that are not revoked */
  name: string;
  /** Whether each request with the key must be signed. The secret for that is in the answer, this once */
  require_signature?: boolean;
  /** agents:read agents:write agents:run profiles:read profiles:write keys:read keys:write keys:verify usage:read audit:read; or read (every :read), write (every :write), run (agents:run), * (all): a short form means what the type may have of it. Left out: all; for a key that is for certain agents agents:read, agents:run, profiles:read and profiles:write */
  scopes?: string[];
  /** personal: lives as long as its account, and may do all that it may unless it names scopes. service: belongs to the organization and lives on without the account; it names its scopes, and can have neither keys:read nor keys:write. temporary: a personal key that expires. Left out: personal, or service if the key names scopes or agents */
  type?: "personal" | "service" | "temporary";
}

export interface CreatedAgent {
  created_at: string;
  description: string;
  /** With public/ before it if it is the operator's public agent and not the caller's own */
  id: string;
  idempotent: boolean;
  input_arguments: InputArgument[];
  /** 0: no bound of its own */
  max_concurrent: number;
  name: string;
  runner: Runner;
  /** What requests to the runner are signed with (Standard Webhooks). It is shown this once */
  runner_secret: string;
  timeout_seconds: number;
  updated_at: string;
  visibility: "private" | "public";
}

export interface FiredAlert {
  /** One for each recipient */
  deliveries: AlertDelivery[];
  fired_at: string;
  id: string;
  key_id: number;
  /** As the key was called then */
  key_name: string;
  limit: number;
  percent_used: number;
  /** When the window ends */
  resets_at: string;
  /** Which limit it was about */
  span: "hour" | "month";
  threshold: number;
  /** Requests in the window until then */
  used: number;
  window_started_at: string;
}

export interface GetKeyUsageQuery {
  /** At this time or later; left out: 24 hours before the end */
  from?: string | Date;
  /** Before this time; left out: now */
  to?: string | Date;
  /** The length of a point; left out: hour */
  interval?: "minute" | "hour" | "day";
}

export interface InputArgument {
  /** What the agent gets when nothing is given */
  default?: unknown;
  description?: string;
  name: string;
  required?: boolean;
  /** Never shown; totp always is. A sensitive argument has no default */
  sensitive?: boolean;
  /** totp: the secret is stored, and the agent gets the current 6-digit code (RFC 6238) */
  type: "string" | "number" | "boolean" | "json" | "totp";
}

export interface Invoked {
  metadata: RunMetadata;
  /** Any JSON. Values that the agent was given are cut out */
  result: unknown;
}

export interface IssuedKey {
  /** The only agents that it is for. Left out: all */
  agent_ids?: string[];
  /** Where it may be used from. Left out: anywhere */
  allowed_ips?: string[];
  created_at: string;
  enabled: boolean;
  /** Left out: never */
  expires_at?: string;
  external_id?: string;
  /** How the key begins, and its last four characters */
  hint: string;
  /** Below 2^53 */
  id: number;
  /** The API key itself. It is shown this once and can't be had again */
  key: string;
  /** Left out: not used yet */
  last_used_at?: string;
  last_used_ip?: string;
  /** Its own limits, which lower what the organization's tier gives. Left out: none */
  limits?: KeyLimits;
  made_by: MadeBy;
  metadata?: Record<string, unknown>;
  name: string;
  require_signature: boolean;
  /** Left out: not revoked */
  revoked_at?: string;
  /** All that it has, each by its full name */
  scopes: string[];
  /** What requests with the key are signed with, if they must be. It is shown this once and can't be had again */
  signing_secret?: string;
  status: "active" | "disabled" | "expired" | "revoked";
  /** The tier of its organization */
  tier: "free" | "pro" | "enterprise";
  type: "personal" | "service" | "temporary";
  updated_at: string;
}

export interface Key {
  /** The only agents that it is for. Left out: all */
  agent_ids?: string[];
  /** Where it may be used from. Left out: anywhere */
  allowed_ips?: string[];
  created_at: string;
  enabled: boolean;
  /** Left out: never */
  expires_at?: string;
  external_id?: string;
  /** How the key begins, and its last four characters */
  hint: string;
  /** Below 2^53 */
  id: number;
  /** Left out: not used yet */
  last_used_at?: string;
  last_used_ip?: string;
  /** Its own limits, which lower what the organization's tier gives. Left out: none */
  limits?: KeyLimits;
  made_by: MadeBy;
  metadata?: Record<string, unknown>;
  name: string;
  require_signature: boolean;
  /** Left out: not revoked */
  revoked_at?: string;
  /** All that it has, each by its full name */
  scopes: string[];
  status: "active" | "disabled" | "expired" | "revoked";
  /** The tier of its organization */
  tier: "free" | "pro" | "enterprise";
  type: "personal" | "service" | "temporary";
  updated_at: string;
}

export interface KeyLimits {
  /** In any one second */
  burst?: number;
  /** In a window of an hour that opens with its first request */
  requests_per_hour?: number;
  /** In a calendar month, UTC */
  requests_per_month?: number;
}

export interface KeyUsage {
  allowed: number;
  /** Refused, but for a limit: by a scope, an agent, an address, a signature, or the key's status */
  denied: number;
  id: number;
  /** When a request was last allowed, in the period or not; left out: never */
  last_used_at?: string;
  /** Requests in an hour, or in a month where there is no limit an hour */
  limit?: number;
  name: string;
  /** How much of the limit is used now */
  percent_used?: number;
  /** Refused by a limit */
  rate_limited: number;
  /** What is left of the limit now */
  remaining?: number;
  /** All requests of the period */
  requests: number;
  /** When all of the limit is there again; left out: it is there now */
  reset?: string;
  /** Every minute, hour or day of the period, in order, those without requests too */
  series: UsagePoint[];
}

export interface ListAccountsQuery {
  /** The most entries to answer with */
  limit?: number;
  /** The next_cursor of the page before */
  cursor?: string;
}

export interface ListAgentsQuery {
  /** The most entries to answer with */
  limit?: number;
  /** The next_cursor of the page before */
  cursor?: string;
  /** The number of the page, from 1; not together with cursor */
  page?: number;
}

export interface ListAlertsQuery {
  /** The most entries to answer with */
  limit?: number;
  /** The next_cursor of the page before */
  cursor?: string;
  key_id?: number;
}

export interface ListAuditQuery {
  /** The most entries to answer with */
  limit?: number;
  /** The next_cursor of the page before */
  cursor?: string;
  action?: string;
  subject_kind?: "account" | "organization" | "key" | "agent" | "auth_profile" | "run" | "server" | "sign_in" | "device_login";
  subject_id?: string;
  account_id?: string;
  key_id?: number;
  /** At this time or later */
  from?: string | Date;
  /** Before this time */
  to?: string | Date;
}

export interface ListAuthProfilesQuery {
  /** The most entries to answer with */
  limit?: number;
  /** The next_cursor of the page before */
  cursor?: string;
}

export interface ListKeyUsageQuery {
  /** The most entries to answer with */
  limit?: number;
  /** The next_cursor of the page before */
  cursor?: string;
  /** At this time or later; left out: 24 hours before the end */
  from?: string | Date;
  /** Before this time; left out: now */
  to?: string | Date;
  /** The length of a point; left out: hour */
  interval?: "minute" | "hour" | "day";
}

export interface ListKeysQuery {
  /** The most entries to answer with */
  limit?: number;
  /** The next_cursor of the page before */
  cursor?: string;
  /** The number of the page, from 1; not together with cursor */
  page?: number;
  /** Left out: all that are not revoked */
  status?: "active" | "disabled" | "expired" | "revoked";
  type?: "personal" | "service" | "temporary";
  external_id?: string;
}

export interface ListOrganizationsQuery {
  /** The most entries to answer with */
  limit?: number;
  /** The next_cursor of the page before */
  cursor?: string;
}

export interface ListRunsQuery {
  /** The most entries to answer with */
  limit?: number;
  /** The next_cursor of the page before */
  cursor?: string;
  status?: "queued" | "running" | "succeeded" | "failed" | "cancelled" | "timed_out" | "interrupted";
  agent_id?: string;
}

export interface MadeBy {
  account_id: string;
  key_id?: number;
}

export interface Me {
  createdAt: string;
  email: string;
  /** A UUID */
  id: string;
  name: string;
  organizations: Membership[];
  updatedAt: string;
}

export interface Membership {
  id: string;
  /** What each of its API keys has, if the key has no lower ones */
  limits: MembershipLimits;
  name: string;
  role: "owner";
  tier: "free" | "pro" | "enterprise";
}

export interface MembershipLimits {
  /** Requests in any one second */
  burst?: number;
  requestsPerHour?: number;
  requestsPerMonth?: number;
}

export interface Organization {
  created_at: string;
  /** What each of its keys has, if the key has no lower ones. One that is left out is unlimited */
  effective_limits: OrganizationLimits;
  id: string;
  /** Those that differ from the tier's; -1 is unlimited */
  limits: OrganizationLimits;
  name: string;
  /** Whether it owns the server */
  operator: boolean;
  /** Those that differ from the server's settings */
  quotas: Quotas;
  tier: "free" | "pro" | "enterprise";
  updated_at: string;
}

export interface OrganizationChange {
  /** A limit that is left out goes back to the tier's; -1 is unlimited */
  limits?: OrganizationLimits;
  /** A quota that is left out goes back to the server's setting */
  quotas?: Quotas;
  tier?: "free" | "pro" | "enterprise" | null;
}

export interface OrganizationLimits {
  /** In any one second */
  burst?: number | null;
  /** In a window that opens with its first request */
  requests_per_hour?: number | null;
  /** In a calendar month, UTC */
  requests_per_month?: number | null;
}

export interface Pagination {
  /** The most entries that this page may have */
  limit: number;
  /** Send it as cursor to get the next page; null on the last page */
  next_cursor: string | null;
  /** The number of this page, from 1 */
  page?: number;
  /** How many pages the whole list has */
  pages?: number;
  /** How many entries the whole list has */
  total?: number;
}

export interface PasswordChange {
  currentPassword: string;
  /** 8 to 256 characters */
  newPassword: string;
}

export interface PasswordProof {
  password: string;
}

export interface ProfileCreation {
  agent_id: string;
  /** The API key. Required, unless a header holds it */
  api_key?: string;
  /** Values for the agent's input arguments */
  auth_data: Record<string, unknown>;
  /** What people call the profile */
  name: string;
}

export interface ProfileUpsert {
  agent_id: string;
  /** The API key. Required, unless a header holds it */
  api_key?: string;
  /** Values for the agent's input arguments. In an update null removes the name */
  auth_data: Record<string, unknown>;
  /** Of the profile to update */
  auth_token?: string | null;
  /** Required without auth_token; with one, it renames */
  name?: string | null;
  /** Whether what the agent leaves is kept for its next run. Left out: false */
  should_save_session?: boolean;
}

export interface Quotas {
  agents?: number | null;
  auth_profiles?: number | null;
  keys?: number | null;
  /** Started without waiting for them, and not ended */
  queued_runs?: number | null;
}

export interface RateLimit {
  limit: number;
  remaining: number;
  /** When the window ends, in Unix seconds */
  reset: number;
}

export interface RefreshToken {
  refreshToken: string;
}

export interface RegisteredAccount {
  createdAt: string;
  email: string;
  /** A UUID */
  id: string;
  name: string;
  updatedAt: string;
}

export interface Registration {
  email?: string;
  name: string;
  /** 8 to 256 characters */
  password?: string;
  /** As X-Setup-Code */
  setupCode?: string;
}

export interface RotateKey {
  /** Seconds for which the values that the key has go on working; an earlier grace is not made longer. Left out or 0: they are refused as soon as this answers */
  grace_period?: number;
}

export interface RotateToken {
  agent_id: string;
  /** A token that opens the profile now */
  auth_token: string;
  /** Seconds for which the old token goes on working */
  grace_period?: number;
}

export interface Run {
  agent_id: string;
  /** The name of the auth profile that the run was given */
  auth_profile?: string;
  created_at: string;
  ended_at?: string;
  error_message?: string;
  id: string;
  /** What the agent put out. Values that it was given are cut out */
  output?: unknown;
  started_at?: string;
  status: "queued" | "running" | "succeeded" | "failed" | "cancelled" | "timed_out" | "interrupted";
}

export interface RunMetadata {
  /** In seconds */
  execution_time: number;
  request_id: string;
  run_id: string;
}

export interface Runner {
  /** Of a command runner, which only the operator's config file can define */
  command?: string[];
  /** Of a command runner: what each of its processes may use */
  limits?: RunnerLimits;
  type: "http" | "command";
  /** Of an http runner: where a run is posted to */
  url?: string;
}

export interface RunnerLimits {
  /** Left out: timeout_seconds */
  cpu_seconds?: number;
  /** That a file it writes may be long. Left out: 1024 */
  file_mb?: number;
  /** Of data. Left out: 4096 */
  memory_mb?: number;
}

export interface RunnerSecret {
  /** What requests to the runner are signed with from now on. It is shown this once */
  runner_secret: string;
}

export interface SetAlert {
  /** Whom to send the alert */
  email?: string;
  /** Percent of the limit */
  threshold: number;
  /** Where to post the alert. Left out together with email: the organization's owners get an e-mail */
  webhook_url?: string;
}

export interface SignInCredentials {
  email?: string;
  password?: string;
}

export interface SignedRequest {
  /** The raw body in base64 */
  body?: string;
  method: string;
  /** The path and the query as they were sent */
  path: string;
  /** X-Timestamp */
  timestamp: string;
  /** X-Signature */
  value: string;
}

export interface StartRun {
  /** Of the auth profile to run with */
  auth_token?: string | null;
  /** Values for input arguments that the auth profile does not give */
  parameters?: Record<string, unknown>;
  /** The same as parameters.query */
  query?: unknown;
}

export interface Status {
  status: string;
}

export interface Tokens {
  accessToken: string;
  /** Seconds for which the access token is good */
  expiresIn: number;
  refreshToken: string;
  tokenType: "Bearer";
}

export interface Upserted {
  auth_token: string;
  name: string;
  should_save_session: boolean;
  type: "create" | "replace" | "update";
}

export interface Usage {
  keys: KeyUsage[];
  period: UsagePeriod;
}

export interface UsageList {
  keys: KeyUsage[];
  pagination: Pagination;
  period: UsagePeriod;
}

export interface UsagePeriod {
  /** The beginning of the first point */
  from: string;
  interval: "minute" | "hour" | "day";
  /** The end of the last point. What lies in the future is 0 */
  to: string;
}

export interface UsagePoint {
  allowed: number;
  denied: number;
  rate_limited: number;
  /** When it begins */
  time: string;
}

export interface Verification {
  /** Left out for a service key */
  account_id?: string;
  /** The only agents that the key is for. Left out: all */
  agent_ids?: string[];
  /** VALID, or the code of the error that the request would get */
  code: string;
  /** More of that for programs, such as the scope that is missing */
  details?: Record<string, unknown>;
  /** Left out: never */
  expires_at?: string;
  external_id?: string;
  /** Left out if the key is not known */
  key_id?: number;
  /** Why the key is not good for the request */
  message?: string;
  metadata?: unknown;
  name?: string;
  organization_id?: string;
  /** Left out for a key without an hourly limit */
  ratelimit?: RateLimit;
  /** Seconds after which the request would be let in */
  retry_after?: number;
  scopes?: string[];
  type?: "personal" | "service" | "temporary";
  valid: boolean;
}

export interface VerifyKey {
  /** The agent that the request is about. A key for some agents alone is refused without it */
  agent_id?: string;
  /** What the request counts against the key's limits. Left out: 1. 0: the key is looked at and nothing is counted */
  cost?: number | null;
  /** Where the request comes from. A key with allowed_ips is refused without it */
  ip?: string;
  /** The key as its holder sent it */
  key: string;
  /** Whose key it must be. Left out: your own organization's. The operator's keys may ask for any */
  organization?: string;
  /** The key must have all of these */
  scopes?: string[];
  /** The request, if it is signed. A key that requires signatures is refused without it */
  signature?: SignedRequest;
}
