package limit

import (
	"context"
	"database/sql"
	"errors"
	"math"
	"time"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/db"
)

// row is what all servers together reserved of a key's limits.
type row struct {
	opened        int64 // ns
	reserved      int64
	month         month
	monthReserved int64
	settled       int64 // ns: the last admission; 0 while somebody holds a part
}

// tally is a row as what is used: the most that it can be.
func (r row) tally() tally {
	return tally{spans: spans{opened: r.opened, hourly: r.reserved, month: r.month, monthly: r.monthReserved}}
}

// present returns r with what a clock that was ahead has stored moved to now,
// with its counts: a clock that is set right does not close the gate for longer
// than the span, nor open it. The month after this one stays as it is, so that
// nothing is counted anew when a clock is set back over the end of a month.
func (r row) present(now instant) row {
	if r.opened > now.ns {
		r.opened = now.micros()
	}
	if r.month > now.month+1 {
		r.month = now.month
	}
	return r
}

// request is what a server wants to reserve for a key, and what it holds.
type request struct {
	limits          access.Limits
	block           int64
	demand, biggest int64 // of the requests that wait; 0: reserved ahead

	opened, hourHeld int64
	month            month
	monthHeld        int64
}

// reserve returns the row after a reservation, and whether something of it is
// now held. It opens a window or a month only for requests that wait, and takes
// nothing where nothing can be admitted.
func (r row) reserve(q request, now instant) (after row, held bool) {
	const unlimited = math.MaxInt64 / 2
	r = r.present(now)
	after = r
	hourHeld, hourRoom, monthHeld, monthRoom := q.hourHeld, int64(unlimited), q.monthHeld, int64(unlimited)
	if q.limits.PerHour > 0 {
		if t := after.tally(); t.hourOver(now) {
			if q.demand == 0 {
				return r, false
			}
			after.opened, after.reserved = now.micros(), 0
		}
		if after.opened > q.opened {
			hourHeld = 0 // that was of an earlier window
		}
		hourRoom = max(0, q.limits.PerHour-after.reserved)
	}
	if q.limits.PerMonth > 0 {
		if t := after.tally(); t.monthOver(now) {
			if q.demand == 0 {
				return r, false
			}
			after.month, after.monthReserved = now.month, 0
		}
		if after.month > q.month {
			monthHeld = 0
		}
		monthRoom = max(0, q.limits.PerMonth-after.monthReserved)
	}
	room := min(hourHeld+hourRoom, monthHeld+monthRoom)
	if room <= 0 {
		return r, false
	}
	want := q.block
	if q.biggest <= room { // else it is refused, and must not be what a crash costs
		demand := q.demand
		if q.limits.Burst > 0 {
			demand = min(demand, q.limits.Burst)
		}
		want = max(want, demand)
	}
	if q.limits.PerHour > 0 {
		after.reserved += min(max(0, want-hourHeld), hourRoom)
	}
	if q.limits.PerMonth > 0 {
		after.monthReserved += min(max(0, want-monthHeld), monthRoom)
	}
	after.settled = 0
	return after, true
}

const rowColumns = `opened_at, reserved, month, month_reserved, settled_at`

// scan reads rowColumns, and what was selected before them into more.
func (r *row) scan(from interface{ Scan(...any) error }, more ...any) error {
	var opened, m, settled int64
	if err := from.Scan(append(more, &opened, &r.reserved, &m, &r.monthReserved, &settled)...); err != nil {
		return err
	}
	r.opened, r.settled, r.month = fromMicros(opened), fromMicros(settled), 0
	if m != 0 {
		r.month = monthOf(db.Time(m))
	}
	return nil
}

// hold reads the row of a key and keeps it as it is for others until tx ends.
func hold(ctx context.Context, tx *db.Tx, keyID int64) (r row, there bool, err error) {
	err = r.scan(tx.QueryRow(ctx, `UPDATE limit_windows SET settled_at = settled_at WHERE key_id = $1 RETURNING `+rowColumns, keyID))
	if errors.Is(err, sql.ErrNoRows) {
		return row{}, false, nil
	}
	return r, err == nil, err
}

// insert makes the row of a key, unless there is one.
func (r row) insert(ctx context.Context, tx *db.Tx, keyID int64) (made bool, err error) {
	n, err := tx.Exec(ctx, `
		INSERT INTO limit_windows (key_id, `+rowColumns+`) VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (key_id) DO NOTHING`,
		keyID, toMicros(r.opened), r.reserved, db.Micros(r.month.start()), r.monthReserved, toMicros(r.settled))
	return n == 1, err
}

// update writes a row that is held.
func (r row) update(ctx context.Context, tx *db.Tx, keyID int64) error {
	_, err := tx.Exec(ctx, `
		UPDATE limit_windows SET opened_at = $1, reserved = $2, month = $3, month_reserved = $4, settled_at = $5
		WHERE key_id = $6`,
		toMicros(r.opened), r.reserved, db.Micros(r.month.start()), r.monthReserved, toMicros(r.settled), keyID)
	return err
}

func fromMicros(n int64) int64 { return n * int64(time.Microsecond) }
func toMicros(ns int64) int64  { return ns / int64(time.Microsecond) }
