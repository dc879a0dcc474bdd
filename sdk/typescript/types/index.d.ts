// The TypeScript SDK of Keyward. What travels is in wire.d.ts, by the names that it
// has on the way: the SDK translates nothing.

import type * as wire from "./wire.js";

export * from "./wire.js";

/** What a client is made with. What is left out comes from the environment, or is as said. */
export interface KeywardOptions {
  /** Where the server is: https://keys.example.com. Left out: KEYWARD_SERVER, or else http://127.0.0.1:8080 */
  baseUrl?: string;

  /** An API key: `ra_…`. Left out: KEYWARD_API_KEY, or else RUNAGENT_API_KEY; null: nobody's */
  apiKey?: string | null;

  /** The access token of somebody who has signed in, instead of an API key. It is good for 15 minutes; signIn goes on from there */
  accessToken?: string | null;

  /** What signing in gave, instead of an API key. When its access token expires the client gets new tokens by itself */
  signIn?: Pick<wire.Tokens, "accessToken" | "refreshToken"> | null;

  /** Is given the new tokens of signIn, to keep them: the old ones are good no more. It is waited for, and its error is that of the call which needed them */
  onTokens?: (tokens: wire.Tokens) => unknown;

  /** Signs every request, which a key with require_signature needs. It was shown with the key */
  signingSecret?: string | null;

  /** Milliseconds that an answer may take, for each try by itself: 30000 if it is left out, and 0 is for ever. Calls that wait for a run have no such time */
  timeout?: number;

  /** How often a call is tried again that got no answer, or one that says to try again: 3 if it is left out. Only what is safe to repeat is */
  retries?: number;

  /** Milliseconds that are waited at most before a call is tried again: 30000 if it is left out. A server that says Retry-After a longer time is not waited for */
  longestWait?: number;

  /** Allows a server at an http:// address that is not on this machine. The key travels where others can read it then: it is for networks that are encrypted by other means */
  allowHttp?: boolean;

  /** Makes the requests, instead of the fetch that is there: for a proxy, or certificates of your own */
  fetch?: typeof fetch;

  /** What the client calls itself */
  userAgent?: string;
}

/** How one call goes. */
export interface CallOptions {
  /** Ends the call; it throws the signal's reason */
  signal?: AbortSignal;

  /** Instead of the client's timeout */
  timeout?: number;

  /** Instead of the client's retries */
  retries?: number;
}

/** How a call goes that starts a run. */
export interface StartOptions extends CallOptions {
  /** The same key in a day gives the same run. Left out: a new one, by which the SDK's own tries are known again */
  idempotencyKey?: string;
}

/** How events are read. */
export interface EventOptions extends CallOptions {
  /** The last event that was seen; what is told comes after it */
  lastEventId?: number;
}

/**
 * A client of a Keyward server, as one caller. Keep it: it may make many calls at a
 * time.
 *
 * No key, token or secret is in what it prints, nor in any error of its calls.
 */
export class Keyward {
  /** It sends nothing yet, so a wrong key is only told by the first call. */
  constructor(options?: KeywardOptions);

  /** A client like this one but for the options. Another caller has no signing secret unless it is given. */
  with(options: KeywardOptions): Keyward;

  /** The address of the server, without a slash at its end. */
  readonly baseUrl: string;

  readonly keys: Keys;
  readonly agents: Agents;
  readonly authProfiles: AuthProfiles;
  readonly runs: Runs;
  readonly usage: UsageCalls;
  readonly alerts: Alerts;
  readonly audit: Audit;
  readonly auth: Auth;
  readonly accounts: Accounts;
  readonly organizations: Organizations;

  /** Is there a Keyward server that lives? */
  health(options?: CallOptions): Promise<wire.Status>;

  /** Can the server serve: has it its database, in the form it needs? */
  ready(options?: CallOptions): Promise<wire.Status>;

  toString(): string;
  toJSON(): { baseUrl: string; caller: string };
}

/** What a call ends in if it does not succeed. */
export class KeywardError extends Error {
  constructor(said: { code: string; message: string; status?: number; requestId?: string; retryAfter?: number; details?: Record<string, unknown> });

  readonly name: string;

  /** What went wrong, for programs */
  readonly code: ErrorCode;

  /** The HTTP status; 0 if there is none */
  readonly status: number;

  /** The server's log has it, too */
  readonly requestId: string | undefined;

  /** Seconds after which to try again */
  readonly retryAfter: number | undefined;

  /** More for programs, such as the field that is wrong and the reason */
  readonly details: Record<string, unknown> | undefined;

  toString(): string;
  toJSON(): object;
}

/** The codes of errors. A server that is newer may have others. */
export type ErrorCode =
  // No answer came. What was asked may have been done.
  | "UNREACHABLE"
  // What answers is not a Keyward server, or one that this SDK does not understand.
  | "NOT_KEYWARD"
  // A refused credential: 401.
  | "INVALID_API_KEY"
  | "EXPIRED_API_KEY"
  | "REVOKED_API_KEY"
  | "DISABLED_API_KEY"
  | "KEY_OF_ANOTHER_ACCOUNT"
  | "INVALID_ACCESS_TOKEN"
  | "EXPIRED_ACCESS_TOKEN"
  | "INVALID_CREDENTIALS"
  | "INVALID_REFRESH_TOKEN"
  | "REFRESH_TOKEN_REUSED"
  | "SIGNATURE_REQUIRED"
  | "INVALID_SIGNATURE"
  | "SIGNATURE_EXPIRED"
  | "SIGNATURE_REPLAYED"
  // A good credential that may not do that: 403.
  | "INSUFFICIENT_SCOPE"
  | "AGENT_NOT_ALLOWED"
  | "IP_NOT_ALLOWED"
  | "KEY_TOO_WEAK"
  | "NOT_ALLOWED"
  | "SIGNUP_CLOSED"
  // A request that is not right: 400, 405, 413, 415, 421.
  | "INVALID_REQUEST"
  | "MISSING_REQUIRED_FIELD"
  | "INVALID_FIELD_TYPE"
  | "UNKNOWN_FIELD"
  | "UNKNOWN_INPUT_ARGUMENT"
  | "DESTINATION_REFUSED"
  | "METHOD_NOT_ALLOWED"
  | "BODY_TOO_LARGE"
  | "UNSUPPORTED_MEDIA_TYPE"
  | "MISDIRECTED_REQUEST"
  // What is not there: 404.
  | "KEY_NOT_FOUND"
  | "AGENT_NOT_FOUND"
  | "AUTH_PROFILE_NOT_FOUND"
  | "RUN_NOT_FOUND"
  | "ALERT_NOT_FOUND"
  | "ORGANIZATION_NOT_FOUND"
  | "ROUTE_NOT_FOUND"
  // What can't be done as things are: 409.
  | "EMAIL_TAKEN"
  | "DUPLICATE_NAME"
  | "DUPLICATE_NICKNAME"
  | "AGENT_EXISTS"
  | "AGENT_CHANGED"
  | "AGENT_NOT_DECLARED"
  | "KEY_REVOKED"
  | "TOO_MANY_VALUES"
  | "TOO_MANY_TOKENS"
  | "QUOTA_EXCEEDED"
  | "LAST_OWNER"
  | "IDEMPOTENCY_KEY_REUSED"
  | "RUN_ENDED"
  // A run that was waited for and did not succeed: details has its run_id and status.
  | "RUN_FAILED"
  | "RUN_TIMED_OUT"
  | "RUN_CANCELLED"
  | "RUN_INTERRUPTED"
  // What may go well later: 429, 500, 503.
  | "RATE_LIMITED"
  | "TOO_MANY_STREAMS"
  | "INTERNAL_ERROR"
  | "UNAVAILABLE"
  | (string & {});

/** One page of a list. */
export interface Page<T> {
  data: T[];
  pagination: wire.Pagination;
}

/**
 * A list, which is asked for when somebody wants to know:
 *
 *     const page = await keyward.keys.list({ limit: 20 });
 *     for await (const key of keyward.keys.list()) …
 *
 * The second walks through all pages, from the one that was asked for on, with limit
 * entries in each request, 100 if it is left out.
 */
export interface List<T, P = Page<T>> extends PromiseLike<P>, AsyncIterable<T> {
  /** All pages. */
  pages(): AsyncIterable<P>;

  /** All entries, as an array. */
  all(): Promise<T[]>;
}

/** What happened in a run. */
export type RunEvent =
  | { id: number; event: "start"; data: RunStarted }
  | { id: number; event: "log"; data: string }
  | { id: number; event: "chunk"; data: unknown }
  | { id: number; event: "error"; data: RunFailure }
  | { id: number; event: "done"; data: wire.Run };

/** The data of the event start. A run that is done again has a second one. */
export interface RunStarted {
  run_id: string;
  agent_id: string;
}

/** The data of the event error, with which a run tells that it did not succeed. The event done follows. */
export interface RunFailure {
  code: "RUN_FAILED" | "RUN_CANCELLED" | "RUN_TIMED_OUT" | "RUN_INTERRUPTED";
  message: string;
  status: string;
}

/**
 * The events of a run. They are asked for when the first one is read, and read once.
 * A connection that breaks off is made again, and goes on after the last event that
 * was seen. Whoever stops to read ends the connection, not the run.
 */
export interface RunEvents extends AsyncIterable<RunEvent> {
  /** The run's id, from the first answer on. */
  readonly runId: string | undefined;

  /** The last event that was read. */
  readonly lastEventId: number | undefined;
}

/** The calls for API keys. */
export interface Keys {
  /** Makes a key. The answer is the only thing that ever has the key itself. */
  create(key: wire.CreateKey, options?: CallOptions): Promise<wire.IssuedKey>;

  /** The organization's keys, newest first. */
  list(query?: wire.ListKeysQuery, options?: CallOptions): List<wire.Key>;

  /** A key's settings and state. */
  get(id: number, options?: CallOptions): Promise<wire.Key>;

  /** Changes what of a key is in the change. Null removes a setting. */
  change(id: number, change: wire.ChangeKey, options?: CallOptions): Promise<wire.ChangedKey>;

  /** Gives a key a new value; the old one works until the grace ends. */
  rotate(id: number, rotation?: wire.RotateKey, options?: CallOptions): Promise<wire.IssuedKey>;

  /** Ends a key and what it has made. When it has ended no request with the key is accepted any more. */
  revoke(id: number, options?: CallOptions): Promise<void>;

  /** The key that the client itself calls with. */
  self(options?: CallOptions): Promise<wire.Key>;

  /** Ends the key that the client itself calls with. */
  revokeSelf(options?: CallOptions): Promise<void>;

  /** Is a key good that a caller of yours has sent? That it is not is no error: the answer says so. */
  verify(question: wire.VerifyKey, options?: CallOptions): Promise<wire.Verification>;
}

/** The calls for how much keys were used. */
export interface UsageCalls {
  /** How much a key was used: in the last 24 hours by hour, if nothing else is asked. */
  ofKey(id: number, query?: wire.GetKeyUsageQuery, options?: CallOptions): Promise<wire.Usage>;

  /** How much each of the organization's keys was used. */
  list(query?: wire.ListKeyUsageQuery, options?: CallOptions): List<wire.KeyUsage, wire.UsageList>;
}

/** The calls for alerts: who is told when a part of a key's limit is used. */
export interface Alerts {
  /** Gives a key its alert, or changes the one it has. */
  set(keyId: number, alert: wire.SetAlert, options?: CallOptions): Promise<wire.AlertSet>;

  /** The alert that a key has. */
  get(keyId: number, options?: CallOptions): Promise<wire.Alert>;

  /** Removes the alert of a key. */
  remove(keyId: number, options?: CallOptions): Promise<void>;

  /** The alerts that fired, newest first. */
  list(query?: wire.ListAlertsQuery, options?: CallOptions): List<wire.FiredAlert>;
}

/** The calls for agents. */
export interface Agents {
  /** Defines an agent. The answer is the only thing that ever has the secret of its runner. */
  create(agent: wire.AgentDefinition, options?: CallOptions): Promise<wire.CreatedAgent>;

  list(query?: wire.ListAgentsQuery, options?: CallOptions): List<wire.Agent>;

  /** An agent; one of the operator's public agents is public/ID. */
  get(id: string, options?: CallOptions): Promise<wire.Agent>;

  /** Changes what of an agent is in the change. */
  change(id: string, change: wire.AgentChange, options?: CallOptions): Promise<wire.Agent>;

  /** Deletes an agent with all its auth profiles. */
  delete(id: string, options?: CallOptions): Promise<void>;

  /** Can an agent's runner be reached? */
  health(id: string, options?: CallOptions): Promise<wire.AgentHealth>;

  /** Gives an agent's runner a new secret. */
  renewRunnerSecret(id: string, options?: CallOptions): Promise<wire.RunnerSecret>;
}

/** The calls for auth profiles: what an agent signs in with at other services. No call returns a stored value. */
export interface AuthProfiles {
  /** Stores an auth profile, and returns the token that opens it: it is shown this once. One of the same name and agent is replaced. It needs an API key; an access token can't. */
  create(profile: CreateAuthProfile, options?: CallOptions): Promise<wire.AuthToken>;

  /** Stores an auth profile, or updates the one that auth_token opens. It needs an API key; an access token can't. */
  upsert(profile: UpsertAuthProfile, options?: CallOptions): Promise<wire.Upserted>;

  /** An agent's auth profiles. */
  list(agentId: string, query?: wire.ListAuthProfilesQuery, options?: CallOptions): List<wire.AuthProfile>;

  /** What may be seen of an auth profile. */
  get(id: string, options?: CallOptions): Promise<wire.AuthProfile>;

  delete(id: string, options?: CallOptions): Promise<void>;

  /** Deletes the session that is kept of an auth profile. */
  deleteSession(id: string, options?: CallOptions): Promise<void>;

  /** Gives an auth profile a new token; the old one works until the grace ends. */
  rotateToken(rotation: wire.RotateToken, options?: CallOptions): Promise<wire.AuthToken>;
}

/** An auth profile to store. The key that goes with it is the client's own. */
export type CreateAuthProfile = Pick<wire.ProfileCreation, "name" | "agent_id"> & { auth_data?: Record<string, unknown> };

/** An auth profile to store, or to update if there is an auth_token: values that are there are set then, null removes one, and the others stay. */
export type UpsertAuthProfile = Pick<wire.ProfileUpsert, "agent_id" | "name" | "should_save_session" | "auth_token"> & { auth_data?: Record<string, unknown> };

/** The calls for runs of agents. */
export interface Runs {
  /**
   * Runs an agent and waits for its result, for as long as it takes. A run that does
   * not succeed is an error, RUN_FAILED for one, whose details have run_id and status.
   * The run goes on if the call is aborted.
   */
  invoke(agentId: string, start?: wire.StartRun, options?: StartOptions): Promise<wire.Invoked>;

  /** Starts a run. It is on the server's disk when this has ended, and goes on from there. */
  start(agentId: string, start?: wire.StartRun, options?: StartOptions): Promise<wire.Run>;

  /** Runs an agent and tells what happens. The run is started when the first event is read. */
  stream(agentId: string, start?: wire.StartRun, options?: StartOptions): RunEvents;

  /** What happens in a run, from its beginning or after an event on. */
  events(id: string, options?: EventOptions): RunEvents;

  /** Waits for the end of a run, however it ends. */
  wait(id: string, options?: CallOptions): Promise<wire.Run>;

  /** The organization's runs, newest first, without their output. */
  list(query?: wire.ListRunsQuery, options?: CallOptions): List<wire.Run>;

  get(id: string, options?: CallOptions): Promise<wire.Run>;

  /** Cancels a run: one that waits ends at once, one that is under way as soon as its agent is stopped. */
  cancel(id: string, options?: CallOptions): Promise<wire.Run>;
}

/** The calls for the record of who did what. */
export interface Audit {
  /** The organization's record, newest first. */
  list(query?: wire.ListAuditQuery, options?: CallOptions): List<wire.AuditEntry>;
}

/** The calls of people: to sign up and in, and for the account that has signed in. */
export interface Auth {
  /** Makes an account. It needs no credentials. */
  register(registration: Registration, options?: CallOptions): Promise<wire.RegisteredAccount>;

  /** Signs in. It needs no credentials; `keyward.with({ signIn: tokens })` is a client of what it returns. */
  signIn(credentials: { email: string; password: string }, options?: CallOptions): Promise<wire.Tokens>;

  /** Gives new tokens for a refresh token, which is spent then. A client with signIn does it by itself. */
  refresh(refreshToken: string, options?: CallOptions): Promise<wire.Tokens>;

  /** Ends the sign-in of a refresh token, with its access tokens. */
  signOut(refreshToken: string, options?: CallOptions): Promise<void>;

  /** The account that has signed in. It needs an access token, as the calls below. */
  me(options?: CallOptions): Promise<wire.Me>;

  /** Changes the password, and ends every other sign-in of the account. */
  changePassword(change: wire.PasswordChange, options?: CallOptions): Promise<void>;

  /** Deletes the account that has signed in, and an organization that it alone owns, with all that is in it. It can't be undone. */
  deleteAccount(proof: wire.PasswordProof, options?: CallOptions): Promise<void>;
}

/** Somebody to sign up. */
export type Registration = wire.Registration & { email: string; password: string };

/** The operator's calls for accounts. */
export interface Accounts {
  /** Makes an account on somebody's behalf. */
  create(account: wire.CreateAccount, options?: CallOptions): Promise<wire.Account>;

  list(query?: wire.ListAccountsQuery, options?: CallOptions): List<wire.Account>;
}

/** The operator's calls for organizations. */
export interface Organizations {
  list(query?: wire.ListOrganizationsQuery, options?: CallOptions): List<wire.Organization>;

  /** Changes what of an organization is in the change. */
  change(id: string, change: wire.OrganizationChange, options?: CallOptions): Promise<wire.Organization>;
}
