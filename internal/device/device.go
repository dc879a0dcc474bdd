// Package device owns device logins: a program on some machine gets a key of an
// account by showing its user a code, which he types into a page where he is
// signed in.
//
//	pending ──approve──▶ approved ──the first good poll──▶ completed ──nobody has the key──▶ abandoned
//	   └─────deny──────▶ denied
//
// A login that is not completed is over after ten minutes, whatever its state.
//
// Its laws:
//
//   - The program proves itself by two secrets: the device code, which we make, and
//     the session secret, which it makes. Only one digest of both is kept, so that
//     one without the other is as good as none. Of the user code, which is short, a
//     digest is kept that is keyed by the root key.
//   - Every row carries a tag: nobody who can write to the database approves
//     anything.
//   - There is no key until the program picks it up, and that happens once: the key
//     and the move to completed are one transaction. It is a key of who approved,
//     and only if he still belongs to the organization then.
//   - Its first use says that the key has arrived. One that was not used, and is
//     asked for again or is a day old, has got lost with its answer, and is ended.
//   - Whoever types codes that there are not is stopped after a few, and what
//     waits is bounded for an address and in all.
//
// Making and ending keys is package apikey's, the pages are the dashboard's.
package device

import (
	"crypto/rand"
	"encoding/base64"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/fault"
	"github.com/keyward/keyward/internal/seal"
)

// How long things take and last.
const (
	CodeLife     = 10 * time.Minute    // of the codes
	Interval     = 5 * time.Second     // between two polls
	KeyLife      = 30 * 24 * time.Hour // of the key
	FreshSignIn  = 10 * time.Minute    // who has signed in longer ago signs in again before he answers
	pickUpGrace  = 10 * time.Second    // in which a poll may just have met the one that got the key
	unusedForNow = 24 * time.Hour      // that a key which was picked up may wait for its first use
)

// The ways in which somebody is refused here.
var (
	ErrWrongCode    = fault.New(fault.NotFound, "DEVICE_CODE_NOT_FOUND", "No program waits with this code. Compare it with what your program shows: a code is good once, and for ten minutes.")
	ErrTooManyTries = fault.New(fault.RateLimited, "RATE_LIMITED", "Too many codes that there are not were typed. Wait a little, and try again.")
	ErrSlowDown     = fault.New(fault.RateLimited, "RATE_LIMITED", "This was polled too often. Slow down: the interval says how long to wait in between.")
	ErrTooMany      = fault.New(fault.RateLimited, "RATE_LIMITED", "Too many device logins that nobody has answered come from this address. Wait until some have expired.")
	ErrFull         = fault.ErrUnavailable.Say("Too many programs wait for somebody to approve them. Try again in a few minutes, or use an API key.")
	ErrSignInAgain  = fault.New(fault.Unauthenticated, "SIGN_IN_AGAIN", "Sign in again: it is more than ten minutes ago.")

	// ErrNoMember says that an account does not belong to an organization any more.
	ErrNoMember = fault.New(fault.Forbidden, "NOT_A_MEMBER", "The account that approved this does not belong to the organization any more.")
)

// State is how far a login is.
type State string

// The states.
const (
	Pending   State = "pending"
	Approved  State = "approved"
	Denied    State = "denied"
	Completed State = "completed"
	Abandoned State = "abandoned"
)

// moves are the only ways from one state to another.
var moves = map[State][]State{
	Pending:   {Approved, Denied},
	Approved:  {Completed},
	Completed: {Abandoned},
}

// Login is what is known of a program that waits. Its codes are not in it.
type Login struct {
	ID        string
	State     State
	Address   string // that it asked from; "": not known
	Program   string // what it calls itself; "": nothing
	Scopes    access.Scopes
	CreatedAt time.Time
	ExpiresAt time.Time // of its codes; later, of what is remembered of it

	AccountID      string // who answered; "": nobody yet
	OrganizationID string
	KeyID          int64     // that was picked up; 0: none
	PickedUpAt     time.Time // zero: not yet

	deviceCode, userCode []byte // digests
	network              string
	version              uint32
	tag                  []byte
}

// move sets the state, if that is a move.
func (l *Login) move(to State) bool {
	if !slices.Contains(moves[l.State], to) {
		return false
	}
	l.State = to
	return true
}

func (l *Login) over(now time.Time) bool { return !now.Before(l.ExpiresAt) }

// fields is what the tag of l's row vouches for.
func (l *Login) fields() [][]byte {
	return [][]byte{
		seal.Text("login"), seal.Text(l.ID), l.deviceCode, l.userCode, seal.Text(string(l.State)), seal.Text(l.network), seal.Text(l.Address),
		seal.Text(l.Program), seal.Text(l.Scopes.Text()), seal.Text(l.AccountID), seal.Text(l.OrganizationID), seal.Int(l.KeyID),
		seal.Int(db.Micros(l.CreatedAt)), seal.Int(db.Micros(l.ExpiresAt)), seal.Int(db.Micros(l.PickedUpAt)),
	}
}

// KeyName is what its key is called.
func (l Login) KeyName() string {
	return "device login " + l.CreatedAt.UTC().Format("2006-01-02") + " " + l.ID[len(l.ID)-8:]
}

// letters are those of user codes. Without vowels they spell nothing, and none
// looks like another or like a digit.
const (
	letters    = "BCDFGHJKMNPQRSTVWXZ"
	codeLength = 8 // 34 bits
)

// newUserCode makes a code, all equally likely.
func newUserCode() string {
	code := make([]byte, 0, codeLength)
	var random [32]byte
	for len(code) < codeLength {
		rand.Read(random[:])
		for _, b := range random {
			// Only values below 247 = 13·19 are taken, or some letters would come
			// more often than others.
			if b < 247 && len(code) < codeLength {
				code = append(code, letters[b%byte(len(letters))])
			}
		}
	}
	return string(code)
}

// parseUserCode reads a code as people type it: in any letter case, with spaces
// and hyphens anywhere. It is "" if no code can be meant.
func parseUserCode(typed string) string {
	code := make([]byte, 0, codeLength)
	for _, c := range strings.ToUpper(typed) {
		switch {
		case unicode.IsSpace(c) || unicode.Is(unicode.Pd, c):
		case c > unicode.MaxASCII || strings.IndexByte(letters, byte(c)) < 0 || len(code) == codeLength:
			return ""
		default:
			code = append(code, byte(c))
		}
	}
	if len(code) < codeLength {
		return ""
	}
	return string(code)
}

// ShownCode is a code as it is shown: in two halves, which are easier to compare.
// What is no code is "".
func ShownCode(typed string) string {
	code := parseUserCode(typed)
	if code == "" {
		return ""
	}
	return code[:codeLength/2] + "-" + code[codeLength/2:]
}

// newDeviceCode makes a code of 256 bits.
func newDeviceCode() seal.Secret {
	raw := make([]byte, 32)
	rand.Read(raw)
	defer clear(raw)
	return seal.NewSecret(base64.RawURLEncoding.EncodeToString(raw))
}

// deviceDigest is what is kept of a device code and a session secret. The code
// has 256 bits, so it needs neither a key nor a slow hash, however weak a secret
// the program has chosen.
func deviceDigest(code, session seal.Secret) []byte {
	return seal.Digest("device-code", code.Bytes(), session.Bytes())
}

const maxProgram = 100 // characters

// cleanProgram returns what a program calls itself as it can be shown: on one
// line, in printable characters, of which none turns others around, and short.
func cleanProgram(name string) string {
	name = strings.Map(func(c rune) rune {
		switch {
		case unicode.IsSpace(c):
			return ' '
		case c == unicode.ReplacementChar || !unicode.IsPrint(c):
			return -1
		}
		return c
	}, name)
	name = strings.Join(strings.Fields(name), " ")
	if all := []rune(name); len(all) > maxProgram {
		name = strings.TrimSpace(string(all[:maxProgram-1])) + "…"
	}
	return name
}
