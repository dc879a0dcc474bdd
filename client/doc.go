// Package client is the Go SDK of Keyward, and the one place where the JSON of
// its /v1 is spelled: the server answers with these types, and a Go program reads
// them.
//
// [New] makes a [Client], whose fields are the nouns of the API: c.Keys,
// c.Agents, c.AuthProfiles, c.Runs and so on. Lists are walked through with the
// method All, which gets the pages as they are needed. [Protect] is for a service
// that checks the keys of its own callers. Package keywardtest starts a server in
// a test.
//
// # Failures
//
// What the server refuses is an [*Error], which is its [Code] to errors.Is:
// errors.Is(err, client.ErrRevokedAPIKey). If no answer came the error is
// [ErrUnreachable], and [ErrNotKeyward] if something else answered. No key, token,
// secret or password is in any of them, nor in what fmt and log/slog print of the
// types here.
//
// # Trying again
//
// A call is tried again, 3 times unless [WithRetries] says otherwise, if it
// certainly was not done: the server said so (429, or 503 with Retry-After), or
// it could not be reached at all. If the answer was lost on its way, only what is
// the same when it is done twice is tried again: what reads, what deletes, and
// what starts a run, which has an Idempotency-Key. So a lost answer never makes a
// second key. The waits are random up to a bound that doubles, never shorter than
// Retry-After says, and end with the context.
package client
