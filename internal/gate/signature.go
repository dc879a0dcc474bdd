package gate

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/fault"
)

// The ways in which a signature is refused (seed 002, "Request Signing").
var (
	ErrSignatureRequired = fault.New(fault.Unauthenticated, "SIGNATURE_REQUIRED", "This API key needs signed requests: send X-Timestamp and X-Signature.")
	ErrInvalidSignature  = fault.New(fault.Unauthenticated, "INVALID_SIGNATURE", "The signature is not that of this request. It is the lower-case hex of an HMAC-SHA-256, under the key's signing secret, of METHOD, PATH, TIMESTAMP and BODY with a line feed between each.")
	ErrSignatureExpired  = fault.New(fault.Unauthenticated, "SIGNATURE_EXPIRED", "The timestamp of the signature is not within 300 seconds of the server's time, or older than the server's start. Sign the request anew.")
	ErrSignatureReplayed = fault.New(fault.Unauthenticated, "SIGNATURE_REPLAYED", "A request with this signature was received before. Sign each request anew.")

	errTooManySigned = fault.New(fault.RateLimited, "RATE_LIMITED", "Too many signed requests are remembered just now.")
)

// signatureLife is how far a timestamp may be from now, on either side.
const signatureLife = 300 * time.Second

// Signature is what a request holds to prove that its sender has the key's
// signing secret, and what it is of.
type Signature struct {
	Value     string // lower-case hex; "": the request is not signed
	Timestamp string // Unix seconds
	Method    string
	Target    string // path and query, as they were sent
	Body      []byte
}

// counts reports whether s is good for one request alone.
func (s *Signature) counts() bool { return s.Method != http.MethodGet && s.Method != http.MethodHead }

// checkSignature returns nil if s is good and fresh.
func checkSignature(k *checked, s *Signature, now time.Time) error {
	if s.Value == "" || s.Timestamp == "" || k.rare == nil {
		return ErrSignatureRequired
	}
	if strings.ContainsAny(s.Method, "\r\n") || strings.ContainsAny(s.Target, "\r\n") {
		return ErrInvalidSignature // parts that move over a line's end would be signed alike
	}
	stamp, ok := s.stamp()
	if !ok {
		return ErrInvalidSignature
	}
	secret := k.rare.signing.Bytes()
	if len(secret) == 0 {
		return ErrInvalidSignature // an empty secret is everybody's
	}
	mac := hmac.New(sha256.New, secret)
	for _, part := range []string{s.Method, "\n", s.Target, "\n", s.Timestamp, "\n"} {
		mac.Write([]byte(part))
	}
	mac.Write(s.Body)
	if sent, ok := s.sum(); !ok || !hmac.Equal(mac.Sum(nil), sent[:]) {
		return ErrInvalidSignature
	}
	// Seconds are compared, since a timestamp from the edge of an int64 is no
	// time.Time.
	if life := int64(signatureLife / time.Second); stamp < now.Unix()-life || stamp > now.Unix()+life {
		return ErrSignatureExpired
	}
	return nil
}

// stamp returns the timestamp, which can be written in one way alone.
func (s *Signature) stamp() (int64, bool) {
	stamp, err := strconv.ParseInt(s.Timestamp, 10, 64)
	return stamp, err == nil && strconv.FormatInt(stamp, 10) == s.Timestamp
}

// sum returns the bytes of the signature, which can be written in one way alone.
func (s *Signature) sum() (sum [sha256.Size]byte, ok bool) {
	if len(s.Value) != hex.EncodedLen(len(sum)) {
		return sum, false
	}
	_, err := hex.Decode(sum[:], []byte(s.Value))
	return sum, err == nil && hex.EncodeToString(sum[:]) == s.Value
}

// remember remembers s, which was found good, or returns ErrSignatureReplayed if
// it was seen before.
func (g *Gate) remember(ctx context.Context, k *checked, s *Signature, now time.Time) error {
	stamp, _ := s.stamp()
	sum, _ := s.sum()
	until := time.Unix(stamp, 0).Add(signatureLife)
	if g.Shared {
		return g.rememberShared(ctx, k.id, sum, until)
	}
	return g.replays.remember(k.id, sum, stamp, until, now)
}

// rememberShared remembers a signature in the database, for all servers on it
// and through restarts.
func (g *Gate) rememberShared(ctx context.Context, keyID int64, sum [sha256.Size]byte, until time.Time) error {
	fresh := false
	err := g.DB.Tx(ctx, func(tx *db.Tx) error {
		n, err := tx.Exec(ctx, `INSERT INTO signatures_seen (key_id, signature, until) VALUES ($1, $2, $3) ON CONFLICT (key_id, signature) DO NOTHING`,
			keyID, sum[:], db.Micros(until))
		fresh = n == 1
		return err
	})
	if err != nil {
		return unavailable(err)
	}
	if !fresh {
		return ErrSignatureReplayed
	}
	return nil
}

// margin is for how much a clock may be set back and no expired signature be good
// again that is forgotten.
const margin = time.Hour

// PurgeSignatures forgets up to limit signatures that have expired, and says how
// many.
func (g *Gate) PurgeSignatures(ctx context.Context, limit int) (removed int, err error) {
	err = g.DB.Tx(ctx, func(tx *db.Tx) error {
		n, err := tx.Exec(ctx, `DELETE FROM signatures_seen WHERE (key_id, signature) IN (
			SELECT key_id, signature FROM signatures_seen WHERE until < $1 LIMIT $2)`, db.Micros(g.Now().Add(-margin)), limit)
		removed = int(n)
		return err
	})
	return removed, err
}

const (
	// replaysKept is how many signatures are remembered, and replaysOfAKey how
	// many of one key's, so that no key fills the memory for all.
	replaysKept   = 1 << 18
	replaysOfAKey = replaysKept / 4

	// replaySpan is how much time one part of the memory covers. It is forgotten
	// as a whole.
	replaySpan = 10
)

// replays remembers the signatures of this server's life: each until its
// timestamp has expired, since then the timestamp refuses it. It is never made
// to forget one: when it is full it takes no more.
type replays struct {
	mu        sync.Mutex
	began     int64 // Unix seconds; what was signed before may have been used then
	forgotten int64 // Unix seconds; what expired before is not known any more, though the clock be set back
	parts     map[int64]*replayPart
	count     int
	ofKey     map[int64]int
}

type replayPart struct {
	seen  map[replay]struct{}
	ofKey map[int64]int
}

type replay struct {
	keyID int64
	sum   [sha256.Size]byte
}

func newReplays(began time.Time) *replays {
	return &replays{began: began.Unix(), parts: map[int64]*replayPart{}, ofKey: map[int64]int{}}
}

// remember returns nil if a signature was not seen, and ErrSignatureReplayed if
// it was.
func (r *replays) remember(keyID int64, sum [sha256.Size]byte, stamp int64, until, now time.Time) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if stamp <= r.began || until.Unix() < r.forgotten {
		return ErrSignatureExpired
	}
	for at, part := range r.parts {
		if (at+1)*replaySpan < now.Unix() {
			r.count -= len(part.seen)
			for id, n := range part.ofKey {
				if r.ofKey[id] -= n; r.ofKey[id] == 0 {
					delete(r.ofKey, id)
				}
			}
			delete(r.parts, at)
			r.forgotten = max(r.forgotten, (at+1)*replaySpan)
		}
	}
	at := until.Unix() / replaySpan
	part := r.parts[at]
	if part == nil {
		part = &replayPart{seen: map[replay]struct{}{}, ofKey: map[int64]int{}}
		r.parts[at] = part
	}
	this := replay{keyID, sum}
	if _, seen := part.seen[this]; seen {
		return ErrSignatureReplayed
	}
	if r.count >= replaysKept || r.ofKey[keyID] >= replaysOfAKey {
		return errTooManySigned.Retry(replaySpan * time.Second)
	}
	part.seen[this] = struct{}{}
	part.ofKey[keyID]++
	r.ofKey[keyID]++
	r.count++
	return nil
}
