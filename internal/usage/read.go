package usage

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/fault"
)

// MaxPoints is how many spans a series may have.
const MaxPoints = 2000

// Period is the time that a series is about: whole spans, in UTC.
type Period struct {
	From, To time.Time // from From until just before To
	Interval Interval
}

// NewPeriod returns the period of whole spans that holds what lies between from
// and to. A zero to is now, a zero from 24 hours before the end, and no interval
// is an hour.
func NewPeriod(from, to time.Time, interval Interval, now time.Time) (Period, error) {
	if interval == "" {
		interval = Hour
	}
	span, known := interval.span()
	if !known {
		return Period{}, fault.Field("interval", "must be minute, hour or day")
	}
	for _, given := range []struct {
		field string
		at    time.Time
	}{{"from", from}, {"to", to}} {
		if y := given.at.UTC().Year(); !given.at.IsZero() && (y < 1970 || y > 2999) {
			return Period{}, fault.Field(given.field, "must be in the years from 1970 to 2999")
		}
	}
	if to.IsZero() {
		to = now
	}
	end := floor(to.UnixMicro()+span-1, span)
	begin := end - day
	if !from.IsZero() {
		if !from.Before(to) {
			return Period{}, fault.Field("from", "must be before to, which is now if it is left out")
		}
		begin = floor(from.UnixMicro(), span)
	}
	if (end-begin)/span > MaxPoints {
		return Period{}, fault.Field("interval", fmt.Sprintf("is too short for this period: a series has at most %d points", MaxPoints))
	}
	return Period{From: time.UnixMicro(begin).UTC(), To: time.UnixMicro(end).UTC(), Interval: interval}, nil
}

func (i Interval) span() (span int64, known bool) {
	for _, g := range grains {
		if g.name == i {
			return g.span, true
		}
	}
	return 0, false
}

// Points is how many spans p has.
func (p Period) Points() int {
	span, _ := p.Interval.span()
	return int((p.To.UnixMicro() - p.From.UnixMicro()) / span)
}

// Time returns when the span of this number begins.
func (p Period) Time(point int) time.Time {
	span, _ := p.Interval.span()
	return p.From.Add(time.Duration(point) * time.Duration(span) * time.Microsecond)
}

// Series returns what was counted at each of the keys in each span of p, also
// what is not written or rolled up yet. It is complete: a key without requests
// has zeros. Whether who may see these keys is known before.
func (c *Counter) Series(ctx context.Context, who access.Caller, ids []int64, p Period) (map[int64][]Counts, error) {
	if err := who.May(access.ReadUsage); err != nil {
		return nil, err
	}
	s := newSeries(ids, p)
	c.flushing.RLock()
	defer c.flushing.RUnlock()
	if err := s.readDatabase(ctx, c.DB); err != nil {
		return nil, fmt.Errorf("read usage: %w", err)
	}
	if err := c.each(s.wanted, s.add); err != nil {
		return nil, fmt.Errorf("read usage: %w", err)
	}
	return s.counts, nil
}

// series is the series of some keys while they are put together.
type series struct {
	counts     map[int64][]Counts
	grain      int
	from, span int64
	shards     int64 // a bit for each shard that has one of the keys
}

func newSeries(ids []int64, p Period) *series {
	s := &series{counts: map[int64][]Counts{}, from: p.From.UnixMicro()}
	for i, g := range grains {
		if g.name == p.Interval {
			s.grain, s.span = i, g.span
		}
	}
	for _, id := range ids {
		s.counts[id] = make([]Counts, p.Points())
		s.shards |= 1 << shardOf(id)
	}
	return s
}

func (s *series) wanted(key int64) bool {
	_, wanted := s.counts[key]
	return wanted
}

func (s *series) add(e entry) {
	points := s.counts[e.key]
	if e.at < s.from || len(points) == 0 {
		return
	}
	if i := (e.at - s.from) / s.span; i < int64(len(points)) {
		points[i].add(e.Counts)
	}
}

// The kinds of rows that lookAtAll returns.
const (
	rollKind = iota
	batchKind
	countsKind
)

// lookAtAll reads three tables in one statement, and so as they are at one
// moment: what moves between them is neither missed nor read twice.
const lookAtAll = `
	SELECT 0, minute, step, id, batches FROM usage_rolls WHERE minute >= $2 AND minute < $3
	UNION ALL
	SELECT 1, minute, CAST(0 AS BIGINT), id, counts FROM usage_batches WHERE minute >= $2 AND minute < $3
	UNION ALL
	SELECT 2, at, shard, '', counts FROM usage_counts
	WHERE grain = $1 AND at >= $2 AND at < $3 AND (CAST($4 AS BIGINT) >> CAST(shard AS INTEGER)) & 1 = 1`

// readDatabase adds what the database has.
func (s *series) readDatabase(ctx context.Context, d *db.DB) error {
	type part struct {
		batch string
		entry entry
	}
	var parts []part            // of batches
	steps := map[string]int64{} // of the roll-ups that batches are in
	until := s.from
	for _, points := range s.counts {
		until = s.from + int64(len(points))*s.span
	}
	rows, err := d.Query(ctx, lookAtAll, string(grains[s.grain].name), s.from, until, s.shards)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var kind, at, number int64
		var id string
		var body sql.RawBytes
		if err := rows.Scan(&kind, &at, &number, &id, &body); err != nil {
			return err
		}
		switch kind {
		case rollKind:
			for _, batch := range idsIn(body) {
				steps[batch] = number
			}
		case batchKind:
			err = decode(body, at, func(e entry) {
				if s.wanted(e.key) {
					parts = append(parts, part{id, e})
				}
			})
		case countsKind:
			err = decode(body, at, func(e entry) {
				if s.wanted(e.key) {
					s.add(e)
				}
			})
		}
		if err != nil {
			return err
		}
	}
	for _, p := range parts {
		if steps[p.batch] <= unitOf(s.grain, shardOf(p.entry.key)) {
			s.add(p.entry) // it is not in the row yet
		}
	}
	return rows.Err()
}

// each calls f with what this server has in memory of the wanted keys. It is
// called while flushing is held.
func (c *Counter) each(wanted func(key int64) bool, f func(entry)) error {
	some := func(e entry) {
		if wanted(e.key) {
			f(e)
		}
	}
	for _, b := range c.sent {
		if err := decode(b.counts, b.minute, some); err != nil {
			return err
		}
	}
	c.pending.each(some)
	for i := range c.stripes {
		s := &c.stripes[i]
		s.mu.Lock()
		s.fresh.each(some)
		s.mu.Unlock()
	}
	return nil
}

// LastUses returns when and from where each of the keys was last used. A key
// that never was has none.
func (c *Counter) LastUses(ctx context.Context, ids []int64) (map[int64]Use, error) {
	uses := map[int64]Use{}
	wanted := map[int64]bool{}
	for _, id := range ids {
		wanted[id] = true
	}
	is := func(key int64) bool { return wanted[key] }
	note := func(e entry) {
		if e.usedAt != 0 {
			uses[e.key] = uses[e.key].later(Use{db.Time(e.usedAt), e.from.addr()})
		}
	}
	// In the order in which a use moves on, so that it is seen wherever it is.
	c.flushing.RLock()
	err := c.each(is, note)
	c.flushing.RUnlock()
	if err == nil {
		err = eachInBatches(ctx, c.DB, func(e entry) {
			if is(e.key) {
				note(e)
			}
		})
	}
	if err == nil {
		err = c.eachKept(ctx, ids, func(e entry) {
			if is(e.key) {
				note(e)
			}
		})
	}
	if err != nil {
		return nil, fmt.Errorf("read last uses: %w", err)
	}
	return uses, nil
}

func eachInBatches(ctx context.Context, d *db.DB, f func(entry)) error {
	rows, err := d.Query(ctx, `SELECT minute, counts FROM usage_batches`)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var at int64
		var counts sql.RawBytes
		if err := rows.Scan(&at, &counts); err != nil {
			return err
		}
		if err := decode(counts, at, f); err != nil {
			return err
		}
	}
	return rows.Err()
}

// eachKept calls f with the uses that are kept of the shards of ids.
func (c *Counter) eachKept(ctx context.Context, ids []int64, f func(entry)) error {
	var of int64 // a bit for each shard
	for _, id := range ids {
		of |= 1 << shardOf(id)
	}
	rows, err := c.DB.Query(ctx, `SELECT uses FROM key_uses WHERE (CAST($1 AS BIGINT) >> CAST(shard AS INTEGER)) & 1 = 1`, of)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var uses sql.RawBytes
		if err := rows.Scan(&uses); err != nil {
			return err
		}
		if err := decode(uses, 0, f); err != nil {
			return err
		}
	}
	return rows.Err()
}
