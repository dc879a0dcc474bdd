package audit

import (
	"context"
	"errors"
	"fmt"

	"github.com/keyward/keyward/internal/seal"
)

// Broken says where the audit log is not what was written.
type Broken struct {
	Seq int64  // 0: it has no number
	ID  string // "": it is not there
	Why string
}

func (b *Broken) Error() string {
	switch {
	case b.ID == "" && b.Seq == 0:
		return "audit log: " + b.Why
	case b.ID == "":
		return fmt.Sprintf("audit log: entry number %d %s", b.Seq, b.Why)
	case b.Seq == 0:
		return fmt.Sprintf("audit log: entry %s %s", b.ID, b.Why)
	}
	return fmt.Sprintf("audit log: entry number %d (%s) %s", b.Seq, b.ID, b.Why)
}

const (
	missing  = "is missing"
	extra    = "has a number that was never given to it"
	edited   = "is not as it was written: its tag does not fit"
	unlinked = "does not follow from the entry before it: something was edited, moved or put in here"
)

// Verify walks the whole log and returns how many entries it has, those without
// a number included. If it finds one that does not fit, the error is *[Broken]
// and names the first. Acts and followers may go on meanwhile.
func (l *Log) Verify(ctx context.Context) (entries int64, err error) {
	outermost, err := l.outermost(ctx) // before the head is read, since it moves up
	if err != nil {
		return 0, fmt.Errorf("verify the audit log: %w", err)
	}
	end, err := l.readHead(ctx)
	if errors.Is(err, seal.ErrTag) {
		return 0, &Broken{Why: "the tag of its head does not fit"}
	} else if err != nil {
		return 0, fmt.Errorf("verify the audit log: %w", err)
	}
	last, err := l.verifyChain(ctx, end.seq)
	if err != nil {
		return 0, err
	}
	if string(last) != string(end.chain) {
		// Every link fits the one before it, and yet they lead elsewhere.
		return 0, &Broken{Seq: end.seq, Why: "is not the one that the head vouches for: the chain was made anew"}
	}
	for _, e := range outermost {
		if e.Seq < 0 || e.Seq > end.seq {
			return 0, &Broken{Seq: e.Seq, ID: e.ID, Why: extra}
		}
	}
	waiting, err := l.verifyWaiting(ctx)
	return end.seq + waiting, err
}

// outermost returns the entries with the lowest and the highest number.
func (l *Log) outermost(ctx context.Context) ([]Entry, error) {
	lowest, err := l.read(ctx, l.DB, `ORDER BY seq LIMIT 1`)
	if err != nil {
		return nil, err
	}
	highest, err := l.read(ctx, l.DB, `ORDER BY seq DESC LIMIT 1`)
	return append(lowest, highest...), err
}

// verifyChain walks the entries from number 1 to end and returns the last link.
// Each page is a range of numbers, so that a number used twice shows.
func (l *Log) verifyChain(ctx context.Context, end int64) (link []byte, err error) {
	const page = 500
	for first := int64(1); first <= end; first += page {
		to := min(first+page-1, end)
		entries, err := l.read(ctx, l.DB, `WHERE seq >= $1 AND seq <= $2 ORDER BY seq, id LIMIT $3`, first, to, page+1)
		if err != nil {
			return nil, fmt.Errorf("verify the audit log: %w", err)
		}
		want := first
		for _, e := range entries {
			switch {
			case e.Seq > want:
				return nil, &Broken{Seq: want, Why: missing}
			case e.Seq < want:
				return nil, &Broken{Seq: e.Seq, ID: e.ID, Why: extra}
			}
			if err := l.verifyTag(e); err != nil {
				return nil, err
			}
			if link = e.follows(link); string(link) != string(e.chain) {
				return nil, &Broken{Seq: e.Seq, ID: e.ID, Why: unlinked}
			}
			want++
		}
		if want <= to {
			return nil, &Broken{Seq: want, Why: missing}
		}
	}
	return link, nil
}

// verifyWaiting checks the entries that have no number yet.
func (l *Log) verifyWaiting(ctx context.Context) (n int64, err error) {
	for after := ""; ; {
		entries, err := l.read(ctx, l.DB, `WHERE seq = 0 AND id > $1 ORDER BY id LIMIT 500`, after)
		if err != nil {
			return n, fmt.Errorf("verify the audit log: %w", err)
		}
		if len(entries) == 0 {
			return n, nil
		}
		for _, e := range entries {
			if err := l.verifyTag(e); err != nil {
				return n, err
			}
			n, after = n+1, e.ID
		}
	}
}

func (l *Log) verifyTag(e Entry) error {
	err := l.checkTag(e)
	if errors.Is(err, seal.ErrTag) {
		return &Broken{Seq: e.Seq, ID: e.ID, Why: edited}
	}
	return err
}
