package client

import "errors"

// What a call ends in, beside an [*Error], if the server does not refuse it.
var (
	// ErrUnreachable says that no answer came: the server is down or slow, or the
	// network is. The call may have been done.
	ErrUnreachable = errors.New("keyward: the server does not answer")

	// ErrNotKeyward says that something answered which is not a Keyward server, or
	// one that this client does not understand.
	ErrNotKeyward = errors.New("keyward: what answers is not a Keyward server")
)

// failure is a call that got no answer of Keyward's.
type failure struct {
	kind   error
	text   string
	cause  error
	status int  // that something else answered with
	unsent bool // it did not get as far as the server
	broken bool // of a stream, which can be followed on from where it was
}

func (f *failure) Error() string { return f.text }

func (f *failure) Unwrap() []error {
	if f.cause == nil {
		return []error{f.kind}
	}
	return []error{f.kind, f.cause}
}
