package client

// Code is what went wrong, for programs. An [*Error] is its Code to errors.Is:
//
//	if errors.Is(err, client.ErrRateLimited) {
//
// A code that has no name here is compared as client.Code("NEW_CODE").
type Code string

// Error returns the code.
func (c Code) Error() string { return string(c) }

// The codes of a refused credential: 401.
const (
	ErrInvalidAPIKey       Code = "INVALID_API_KEY"
	ErrExpiredAPIKey       Code = "EXPIRED_API_KEY"
	ErrRevokedAPIKey       Code = "REVOKED_API_KEY"
	ErrDisabledAPIKey      Code = "DISABLED_API_KEY"
	ErrKeyOfAnotherAccount Code = "KEY_OF_ANOTHER_ACCOUNT"
	ErrInvalidAccessToken  Code = "INVALID_ACCESS_TOKEN"
	ErrExpiredAccessToken  Code = "EXPIRED_ACCESS_TOKEN"
	ErrInvalidCredentials  Code = "INVALID_CREDENTIALS"
	ErrInvalidRefreshToken Code = "INVALID_REFRESH_TOKEN"
	ErrRefreshTokenReused  Code = "REFRESH_TOKEN_REUSED"
	ErrSignatureRequired   Code = "SIGNATURE_REQUIRED"
	ErrInvalidSignature    Code = "INVALID_SIGNATURE"
	ErrSignatureExpired    Code = "SIGNATURE_EXPIRED"
	ErrSignatureReplayed   Code = "SIGNATURE_REPLAYED"
)

// The codes of a good credential that may not do that: 403.
const (
	ErrInsufficientScope Code = "INSUFFICIENT_SCOPE"
	ErrAgentNotAllowed   Code = "AGENT_NOT_ALLOWED"
	ErrIPNotAllowed      Code = "IP_NOT_ALLOWED"
	ErrKeyTooWeak        Code = "KEY_TOO_WEAK"
	ErrNotAllowed        Code = "NOT_ALLOWED"
	ErrSignupClosed      Code = "SIGNUP_CLOSED"
)

// The codes of a request that is not right: 400, 405, 413, 415, 421.
const (
	ErrInvalidRequest       Code = "INVALID_REQUEST"
	ErrMissingRequiredField Code = "MISSING_REQUIRED_FIELD"
	ErrInvalidFieldType     Code = "INVALID_FIELD_TYPE"
	ErrUnknownField         Code = "UNKNOWN_FIELD" // perhaps one that this server is too old for
	ErrUnknownInputArgument Code = "UNKNOWN_INPUT_ARGUMENT"
	ErrDestinationRefused   Code = "DESTINATION_REFUSED"
	ErrMethodNotAllowed     Code = "METHOD_NOT_ALLOWED"
	ErrBodyTooLarge         Code = "BODY_TOO_LARGE"
	ErrUnsupportedMediaType Code = "UNSUPPORTED_MEDIA_TYPE"
	ErrMisdirectedRequest   Code = "MISDIRECTED_REQUEST"
)

// The codes of what is not there: 404.
const (
	ErrKeyNotFound          Code = "KEY_NOT_FOUND"
	ErrAgentNotFound        Code = "AGENT_NOT_FOUND"
	ErrAuthProfileNotFound  Code = "AUTH_PROFILE_NOT_FOUND"
	ErrRunNotFound          Code = "RUN_NOT_FOUND"
	ErrAlertNotFound        Code = "ALERT_NOT_FOUND"
	ErrOrganizationNotFound Code = "ORGANIZATION_NOT_FOUND"
	ErrRouteNotFound        Code = "ROUTE_NOT_FOUND" // a call that this server does not have; perhaps it is older
)

// The codes of what can't be done as things are: 409.
const (
	ErrEmailTaken           Code = "EMAIL_TAKEN"
	ErrDuplicateName        Code = "DUPLICATE_NAME"
	ErrDuplicateNickname    Code = "DUPLICATE_NICKNAME"
	ErrAgentExists          Code = "AGENT_EXISTS"
	ErrAgentChanged         Code = "AGENT_CHANGED"
	ErrAgentNotDeclared     Code = "AGENT_NOT_DECLARED"
	ErrKeyRevoked           Code = "KEY_REVOKED"
	ErrTooManyValues        Code = "TOO_MANY_VALUES"
	ErrTooManyTokens        Code = "TOO_MANY_TOKENS"
	ErrQuotaExceeded        Code = "QUOTA_EXCEEDED"
	ErrLastOwner            Code = "LAST_OWNER"
	ErrIdempotencyKeyReused Code = "IDEMPOTENCY_KEY_REUSED"
	ErrRunEnded             Code = "RUN_ENDED"
)

// The codes of a run that was waited for and did not succeed. Details has its
// run_id and status.
const (
	ErrRunFailed      Code = "RUN_FAILED"
	ErrRunTimedOut    Code = "RUN_TIMED_OUT"
	ErrRunCancelled   Code = "RUN_CANCELLED"
	ErrRunInterrupted Code = "RUN_INTERRUPTED"
)

// The codes of what may go well later: 429, 500, 503.
const (
	ErrRateLimited    Code = "RATE_LIMITED"
	ErrTooManyStreams Code = "TOO_MANY_STREAMS"
	ErrInternal       Code = "INTERNAL_ERROR"
	ErrUnavailable    Code = "UNAVAILABLE"
)
