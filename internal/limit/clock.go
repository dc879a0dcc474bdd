package limit

import "time"

// Steady returns a clock that begins with what now shows and goes on by the
// monotonic clock: setting the machine's clock moves it neither back nor on.
func Steady(now func() time.Time) func() time.Time {
	start, began := now().Round(0), time.Now()
	return func() time.Time { return start.Add(time.Since(began)) }
}

// instant is a moment and its month.
type instant struct {
	ns    int64 // since 1970
	month month
}

// micros is the moment as rows keep it, in ns.
func (i instant) micros() int64 { return i.ns - i.ns%int64(time.Microsecond) }

// month is a calendar month, UTC: months since the year 0. Zero is none.
type month int32

func monthOf(t time.Time) month {
	year, m, _ := t.UTC().Date()
	return month(year*12 + int(m) - 1)
}

// start is the first moment of m.
func (m month) start() time.Time {
	if m == 0 {
		return time.Time{}
	}
	return time.Date(int(m)/12, time.Month(m%12+1), 1, 0, 0, 0, 0, time.UTC)
}

// calendar is a month with its bounds: to know the month of a moment by two
// comparisons.
type calendar struct {
	month       month
	from, until int64 // ns
}

// now is the clock's moment. It is read once for a decision.
func (k *Keeper) now() instant {
	t := k.Clock()
	ns := t.UnixNano()
	c := k.calendar.Load()
	if c == nil || ns < c.from || ns >= c.until {
		m := monthOf(t)
		c = &calendar{m, m.start().UnixNano(), (m + 1).start().UnixNano()}
		k.calendar.Store(c)
	}
	return instant{ns, c.month}
}

func at(ns int64) time.Time { return time.Unix(0, ns).UTC() }
