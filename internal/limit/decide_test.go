package limit

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/keyward/keyward/internal/access"
)

var noon = time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)

func instantAt(t time.Time) instant { return instant{t.UnixNano(), monthOf(t)} }

// take decides and counts, as a Keeper does that has all reserved.
func (t *tally) take(l access.Limits, now time.Time, cost int64) Verdict {
	i := instantAt(now)
	t.recent.forget(i.ns)
	v := decide(l, t, i, cost)
	if v.Allowed && cost > 0 {
		t.count(l, i, cost)
	}
	return v
}

type step struct {
	at      time.Duration
	limits  access.Limits
	cost    int64
	refused Span
	retry   time.Duration
	left    int64 // of the hour
}

func TestWhatIsAdmitted(t *testing.T) {
	hour := access.Limits{PerHour: 3}
	burst := access.Limits{Burst: 2}
	month := access.Limits{PerMonth: 2}
	all := access.Limits{PerHour: 3, Burst: 2, PerMonth: 4}
	const ns = time.Nanosecond
	for name, steps := range map[string][]step{
		"an hour's window opens with its first request and lasts an hour": {
			{0, hour, 1, None, 0, 2},
			{59 * time.Minute, hour, 2, None, 0, 0},
			{time.Hour - ns, hour, 1, Hour, ns, 0},
			{time.Hour, hour, 1, None, 0, 2},
			{2*time.Hour - ns, hour, 3, Hour, ns, 2},
			{5 * time.Hour, hour, 1, None, 0, 2},
			{6*time.Hour - ns, hour, 2, None, 0, 0},
		},
		"a request that is refused counts for nothing": {
			{0, hour, 2, None, 0, 1},
			{time.Minute, hour, 2, Hour, 59 * time.Minute, 1},
			{time.Minute, hour, 1, None, 0, 0},
		},
		"a cost above a limit is never admitted": {
			{0, hour, 4, Hour, time.Hour, 3},
			{0, burst, 3, Burst, time.Second, 0},
			{0, month, 3, Month, 12 * time.Hour, 0},
			{0, hour, 1 << 62, Hour, time.Hour, 3},
			{0, hour, 3, None, 0, 0},
		},
		"a look counts nothing, and fits while the limit is not exceeded": {
			{0, hour, 0, None, 0, 3},
			{0, hour, 3, None, 0, 0},
			{0, hour, 0, None, 0, 0},
			{0, access.Limits{PerHour: 2}, 0, Hour, time.Hour, 0},
		},
		"any one second, exactly": {
			{0, burst, 1, None, 0, 0},
			{999 * time.Millisecond, burst, 1, None, 0, 0},
			{time.Second - ns, burst, 1, Burst, ns, 0},
			{time.Second, burst, 1, None, 0, 0},
			{time.Second, burst, 1, Burst, 999 * time.Millisecond, 0},
			{time.Second, burst, 2, Burst, time.Second, 0},
			{1999 * time.Millisecond, burst, 1, None, 0, 0},
			{2 * time.Second, burst, 1, None, 0, 0},
		},
		"the month is the calendar's": {
			{0, month, 2, None, 0, 0},
			{12*time.Hour - ns, month, 1, Month, ns, 0},
			{12 * time.Hour, month, 2, None, 0, 0},
			{13 * time.Hour, month, 1, Month, 28*24*time.Hour - time.Hour, 0},
		},
		"of several refusals the longest is told": {
			{0, all, 2, None, 0, 1},
			{0, all, 1, Burst, time.Second, 1},
			{0, all, 2, Hour, time.Hour, 1},
			{time.Second, all, 1, None, 0, 0},
			{time.Second, all, 2, Month, 12*time.Hour - time.Second, 0},
			{time.Second, all, 1, Hour, time.Hour - time.Second, 0},
			{time.Hour, all, 1, None, 0, 2},
			{time.Hour, all, 1, Month, 11 * time.Hour, 2},
		},
		"a lowered limit applies at once, and a raised one": {
			{0, access.Limits{PerHour: 10, Burst: 10, PerMonth: 10}, 5, None, 0, 5},
			{0, access.Limits{PerHour: 5, Burst: 10, PerMonth: 10}, 1, Hour, time.Hour, 0},
			{0, access.Limits{PerHour: 10, Burst: 5, PerMonth: 10}, 1, Burst, time.Second, 5},
			{0, access.Limits{PerHour: 10, Burst: 10, PerMonth: 2}, 1, Month, 12 * time.Hour, 5},
			{0, access.Limits{PerHour: 6, Burst: 6, PerMonth: 6}, 1, None, 0, 0},
		},
		"a clock that is set back opens and closes nothing": {
			{0, hour, 2, None, 0, 1},
			{-30 * time.Minute, hour, 1, None, 0, 0},
			{-30 * time.Minute, hour, 1, Hour, 90 * time.Minute, 0},
			{0, month, 1, None, 0, 0},
			{12 * time.Hour, month, 2, None, 0, 0},
			{11 * time.Hour, month, 1, Month, 28*24*time.Hour + time.Hour, 0},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var used tally
			for i, s := range steps {
				v := used.take(s.limits, noon.Add(s.at), s.cost)
				if v.Refused != s.refused || v.Allowed != (s.refused == None) || v.RetryAfter != s.retry || v.Remaining != s.left {
					t.Errorf("step %d: %+v, want refused %q, retry after %v, remaining %d", i, v, s.refused, s.retry, s.left)
				}
			}
		})
	}
}

func TestAVerdictTellsWhatIsUsedAfterIt(t *testing.T) {
	var used tally
	l := access.Limits{PerHour: 10, Burst: 5, PerMonth: 100}
	if v := used.take(l, noon, 0); !v.HourOpened.IsZero() || !v.Reset.Equal(noon.Add(time.Hour)) || v.Remaining != 10 {
		t.Errorf("before any request: %+v", v)
	}
	used.take(l, noon, 3)
	want := Verdict{
		Allowed: true, Limit: 10, Remaining: 5, Reset: noon.Add(time.Hour), HourOpened: noon, HourUsed: 5,
		Month: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), MonthUsed: 5,
	}
	if v := used.take(l, noon.Add(time.Minute), 2); v != want {
		t.Errorf("%+v, want %+v", v, want)
	}
	if v := used.take(access.Limits{Burst: 5}, noon, 1); v.Limit != 0 || !v.Reset.IsZero() || !v.Month.IsZero() {
		t.Errorf("a key without an hour's limit: %+v", v)
	}
}

// model is the limits as they are written: it keeps every request.
type model []struct {
	at   time.Time
	cost int64
}

func (m model) within(from time.Time) (sum int64) {
	for _, r := range m {
		if !r.at.Before(from) {
			sum += r.cost
		}
	}
	return sum
}

// FuzzDecide compares the rule with a model that keeps every request: what the
// one admits the other does, and after RetryAfter, and not before, a refused
// request is admitted.
func FuzzDecide(f *testing.F) {
	f.Add(uint8(3), uint8(2), uint8(9), []byte{0, 0, 1, 0, 10, 1, 255, 255, 2})
	f.Add(uint8(1), uint8(0), uint8(0), []byte{255, 255, 1, 255, 255, 1, 0, 1, 1})
	f.Add(uint8(0), uint8(5), uint8(0), []byte{0, 1, 4, 0, 2, 1, 128, 0, 9})
	f.Fuzz(func(t *testing.T, perHour, burst, perMonth uint8, steps []byte) {
		l := access.Limits{PerHour: int64(perHour), Burst: int64(burst), PerMonth: int64(perMonth)}
		var used tally
		var m model
		var opened time.Time
		now := noon
		for ; len(steps) >= 3 && len(m) < 200; steps = steps[3:] {
			// Steps from a millisecond to twelve hours.
			n := time.Duration(binary.BigEndian.Uint16(steps))
			now = now.Add(n * n / 100 * time.Millisecond)
			cost := int64(steps[2] % 16)

			if opened.IsZero() || now.Sub(opened) >= time.Hour {
				opened = time.Time{}
			}
			since := opened
			if since.IsZero() {
				since = now
			}
			fits := (l.PerHour == 0 || m.within(since)+cost <= l.PerHour) &&
				(l.Burst == 0 || m.within(now.Add(-time.Second+1))+cost <= l.Burst) &&
				(l.PerMonth == 0 || m.within(monthOf(now).start())+cost <= l.PerMonth)

			again := used
			again.recent.many = append([]moment(nil), used.recent.many...)
			v := used.take(l, now, cost)
			if v.Allowed != fits {
				t.Fatalf("at %v a cost of %d: %+v, the model says %v", now, cost, v, fits)
			}
			if fits && cost > 0 {
				if opened.IsZero() {
					opened = now
				}
				m = append(m, struct {
					at   time.Time
					cost int64
				}{now, cost})
			}
			if ever := max(cost, 1) <= min(orMore(l.PerHour), orMore(l.Burst), orMore(l.PerMonth)); !fits && ever {
				early, late := again, again
				early.recent.many = append([]moment(nil), again.recent.many...)
				late.recent.many = append([]moment(nil), again.recent.many...)
				if v.RetryAfter <= 0 || early.take(l, now.Add(v.RetryAfter-1), cost).Allowed || !late.take(l, now.Add(v.RetryAfter), cost).Allowed {
					t.Fatalf("at %v a cost of %d: %+v is not when it is admitted", now, cost, v)
				}
			}
		}
	})
}

func orMore(limit int64) int64 {
	if limit == 0 {
		return 1 << 40
	}
	return limit
}

func TestReservingKeepsToTheLimits(t *testing.T) {
	now := instantAt(noon)
	l := access.Limits{PerHour: 1000, Burst: 50, PerMonth: 5000}
	open := row{opened: now.ns - int64(time.Minute), reserved: 500, month: now.month, monthReserved: 600}
	ours := request{limits: l, block: 10, demand: 1, biggest: 1, opened: open.opened, month: open.month}
	for name, c := range map[string]struct {
		row    row
		change func(q *request)
		want   row
		held   bool
	}{
		"a new key":                    {row{}, nil, row{now.ns, 10, now.month, 10, 0}, true},
		"a block more":                 {open, nil, row{open.opened, 510, open.month, 610, 0}, true},
		"up to a block":                {open, func(q *request) { q.hourHeld, q.monthHeld = 4, 3 }, row{open.opened, 506, open.month, 607, 0}, true},
		"all who wait, up to a burst":  {open, func(q *request) { q.demand = 64 }, row{open.opened, 550, open.month, 650, 0}, true},
		"what remains":                 {row{open.opened, 995, open.month, 600, 0}, nil, row{open.opened, 1000, open.month, 610, 0}, true},
		"none remains":                 {row{open.opened, 1000, open.month, 600, 7}, nil, row{open.opened, 1000, open.month, 600, 7}, false},
		"none of the month":            {row{open.opened, 500, open.month, 5000, 7}, nil, row{open.opened, 500, open.month, 5000, 7}, false},
		"no window for an empty month": {row{now.ns - int64(time.Hour), 500, open.month, 5000, 7}, nil, row{now.ns - int64(time.Hour), 500, open.month, 5000, 7}, false},
		"no window ahead":              {row{now.ns - int64(time.Hour), 500, open.month, 600, 7}, func(q *request) { q.demand = 0 }, row{now.ns - int64(time.Hour), 500, open.month, 600, 7}, false},
		"a new window":                 {row{now.ns - int64(time.Hour), 500, open.month, 600, 7}, func(q *request) { q.hourHeld = 9 }, row{now.ns, 10, open.month, 610, 0}, true},
		"a new month":                  {row{open.opened, 500, open.month - 1, 600, 7}, func(q *request) { q.month--; q.monthHeld = 9 }, row{open.opened, 510, open.month, 10, 0}, true},
		"a window of the future":       {row{now.ns + int64(time.Hour), 500, open.month, 600, 7}, nil, row{now.ns, 510, open.month, 610, 0}, true},
		"the month that comes":         {row{open.opened, 500, open.month + 1, 600, 7}, nil, row{open.opened, 510, open.month + 1, 610, 0}, true},
		"a month of the far future":    {row{open.opened, 500, open.month + 2, 600, 7}, nil, row{open.opened, 510, open.month, 610, 0}, true},
		"another's window":             {open, func(q *request) { q.opened, q.hourHeld = open.opened-1, 9 }, row{open.opened, 510, open.month, 610, 0}, true},
		"a cost that does not fit any more": {row{open.opened, 980, open.month, 600, 0}, func(q *request) { q.demand, q.biggest = 30, 30 },
			row{open.opened, 990, open.month, 610, 0}, true},
	} {
		q := ours
		if c.change != nil {
			c.change(&q)
		}
		if got, held := c.row.reserve(q, now); got != c.want || held != c.held {
			t.Errorf("%s: %+v held %v, want %+v %v", name, got, held, c.want, c.held)
		}
	}
}

func TestABlockIsASecondOrAHundredth(t *testing.T) {
	for _, c := range []struct {
		l          access.Limits
		pace, want int64
	}{
		{access.Limits{PerHour: 10}, 0, 1},
		{access.Limits{PerHour: 100}, 0, 1},
		{access.Limits{PerHour: 10_000}, 3, 100},
		{access.Limits{PerHour: 10_000}, 300, 300},
		{access.Limits{PerHour: 10_000, Burst: 20}, 300, 20},
		{access.Limits{PerMonth: 50_000}, 0, 50},
		{access.Limits{Burst: 20}, 7, 7},
	} {
		if got := blockFor(c.l, c.pace); got != c.want {
			t.Errorf("%+v at %d a second: %d, want %d", c.l, c.pace, got, c.want)
		}
	}
}
