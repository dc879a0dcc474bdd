package limit

import (
	"time"

	"github.com/keyward/keyward/internal/access"
)

// tally is what is counted of a key. A limit that the key does not have is not
// counted: one that is set later counts from then on.
type tally struct {
	spans
	recent recent
}

// spans are the hour and the month of a tally.
type spans struct {
	opened  int64 // ns: when the hour's window opened; 0: none yet
	hourly  int64 // used in that window
	monthly int64 // used in month
	month   month
}

// hourOver reports whether no window of an hour is open.
func (t *tally) hourOver(now instant) bool {
	return t.opened == 0 || now.ns-t.opened >= int64(time.Hour)
}

// monthOver reports whether the month that is counted has ended. It does not end
// when a clock is set back to the month before.
func (t *tally) monthOver(now instant) bool { return now.month > t.month }

// decide is the one rule of what is admitted: used and cost together are at most
// the limit, in each of the spans. Its Verdict tells what is used after the
// request. It changes nothing; t must have forgotten what is a second old.
func decide(l access.Limits, t *tally, now instant, cost int64) Verdict {
	v := Verdict{Allowed: true}
	if l.Burst > 0 && cost > l.Burst-t.recent.sum {
		v.refuse(Burst, t.recent.until(l.Burst-cost, now.ns)-now.ns)
	}
	opened := t.opened
	if l.PerHour > 0 {
		if t.hourOver(now) {
			opened = now.micros()
		} else {
			v.HourOpened, v.HourUsed = at(opened), t.hourly
		}
		if cost > l.PerHour-v.HourUsed {
			v.refuse(Hour, opened+int64(time.Hour)-now.ns)
		}
	}
	if l.PerMonth > 0 {
		m := t.month
		if t.monthOver(now) {
			m = now.month
		} else {
			v.MonthUsed = t.monthly
		}
		v.Month = m.start()
		if cost > l.PerMonth-v.MonthUsed {
			v.refuse(Month, (m+1).start().UnixNano()-now.ns)
		}
	}
	if l.PerHour > 0 {
		if v.Allowed && cost > 0 {
			v.HourOpened, v.HourUsed = at(opened), v.HourUsed+cost
		}
		v.Limit, v.Remaining, v.Reset = l.PerHour, max(0, l.PerHour-v.HourUsed), at(opened).Add(time.Hour)
	}
	if l.PerMonth > 0 && v.Allowed {
		v.MonthUsed += cost
	}
	return v
}

// refuse makes v a refusal by span, for so many ns.
func (v *Verdict) refuse(span Span, ns int64) {
	v.Allowed = false
	if d := time.Duration(ns); d >= v.RetryAfter {
		v.Refused, v.RetryAfter = span, d
	}
}

// count counts a request that decide admitted.
func (t *tally) count(l access.Limits, now instant, cost int64) {
	if l.Burst > 0 {
		t.recent.add(now.ns, cost)
	}
	if l.PerHour > 0 {
		if t.hourOver(now) {
			t.opened, t.hourly = now.micros(), 0
		}
		t.hourly += cost
	}
	if l.PerMonth > 0 {
		if t.monthOver(now) {
			t.month, t.monthly = now.month, 0
		}
		t.monthly += cost
	}
}
