package client

import "fmt"

// Error is what the server answers when it refuses or fails.
type Error struct {
	Code       string         `json:"code" doc:"What went wrong, for programs" example:"INVALID_API_KEY"`
	Message    string         `json:"message" doc:"What went wrong and what to do about it, for people" example:"The provided API key is invalid"`
	Status     int            `json:"status" doc:"The HTTP status of this answer" example:"401"`
	RequestID  string         `json:"request_id" doc:"The X-Request-Id of this answer; the server's log has it too"`
	RetryAfter int            `json:"retry_after,omitzero" doc:"Seconds after which to try again"`
	Details    map[string]any `json:"details,omitzero" doc:"More for programs, such as the field that is wrong and the reason"`
}

// Error returns the code, the message and the request id.
func (e *Error) Error() string {
	if e.RequestID == "" {
		return e.Code + ": " + e.Message
	}
	return fmt.Sprintf("%s: %s (request %s)", e.Code, e.Message, e.RequestID)
}

// Is reports whether target is the [Code] of e, for errors.Is.
func (e *Error) Is(target error) bool {
	code, ok := target.(Code)
	return ok && string(code) == e.Code
}
