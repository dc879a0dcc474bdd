package runagent

import (
	"github.com/keyward/keyward/client"
)

// Envelope is around every answer of the surface.
type Envelope[T any] struct {
	Success   bool        `json:"success"`
	Data      T           `json:"data"`
	Message   string      `json:"message"`
	Error     any         `json:"error" doc:"null, unless a run has failed"`
	Timestamp client.Time `json:"timestamp"`
	RequestID string      `json:"request_id"`
}

// Failure is the shape of a failure.
type Failure struct {
	Success   bool        `json:"success"`
	Data      any         `json:"data" doc:"null"`
	Message   string      `json:"message" doc:"What went wrong and what to do about it, for people"`
	Error     Problem     `json:"error"`
	Timestamp client.Time `json:"timestamp"`
	RequestID string      `json:"request_id"`
}

// Problem is what went wrong, for programs.
type Problem struct {
	Code    string  `json:"code" example:"INVALID_API_KEY"`
	Message string  `json:"message"`
	Status  int     `json:"status" doc:"The HTTP status of this answer"`
	Details any     `json:"details" doc:"More for programs, or null"`
	Field   *string `json:"field" doc:"The field of the request that is wrong, or null"`
}

// envelope puts data, and what it is in words, into an envelope.
func envelope[T any](s *surface, requestID string, data T, message string) Envelope[T] {
	return Envelope[T]{Success: true, Data: data, Message: message, Timestamp: client.NewTime(s.Now()), RequestID: requestID}
}

// failure is how e is written on this surface.
func (s *surface) failure(e client.Error) any {
	f := Failure{
		Message: e.Message, Error: Problem{Code: e.Code, Message: e.Message, Status: e.Status},
		Timestamp: client.NewTime(s.Now()), RequestID: e.RequestID,
	}
	if len(e.Details) > 0 {
		f.Error.Details = e.Details
		if field, ok := e.Details["field"].(string); ok {
			f.Error.Field = &field
		}
	}
	return f
}
