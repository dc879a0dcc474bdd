package throttle

import (
	"fmt"
	"net/netip"
	"testing"
	"time"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func TestPaceAllowsABurstAndThenOneInEachInterval(t *testing.T) {
	p := Pace{Burst: 3, Every: 10 * time.Second}
	var forgotten time.Time
	for _, step := range []struct {
		at   time.Duration
		wait time.Duration
	}{
		{0, 0}, {0, 0}, {0, 0}, {0, 10 * time.Second},
		{9 * time.Second, time.Second},
		{10 * time.Second, 0}, {10 * time.Second, 10 * time.Second},
		{15 * time.Second, 5 * time.Second},
		{time.Hour, 0}, {time.Hour, 0}, {time.Hour, 0}, {time.Hour, 10 * time.Second},
	} {
		var wait time.Duration
		if forgotten, wait = p.next(forgotten, start.Add(step.at)); wait != step.wait {
			t.Errorf("at %v: wait %v, want %v", step.at, wait, step.wait)
		}
	}
}

func TestAClockThatIsSetBackHoldsNobodyUpForLong(t *testing.T) {
	p := Pace{Burst: 3, Every: 10 * time.Second}
	forgotten, _ := p.next(time.Time{}, start.Add(24*time.Hour))
	if _, wait := p.next(forgotten, start); wait > p.Every {
		t.Errorf("wait %v", wait)
	}
}

func TestKeysAreKeptApart(t *testing.T) {
	var th Throttle
	p := Pace{Burst: 1, Every: time.Minute}
	for _, key := range [][]string{{"a", "b"}, {"ab"}, {"a"}, {"b", "a"}, {"a", "b", ""}, {""}, {}} {
		if wait := th.Take(p, start, key...); wait != 0 {
			t.Errorf("the first of %q waits %v", key, wait)
		}
		if wait := th.Take(p, start, key...); wait != time.Minute {
			t.Errorf("the second of %q waits %v", key, wait)
		}
	}
}

// Whoever floods the throttle to be forgotten by it, or to fill the memory, gets
// neither.
func TestAFloodOfKeysForgetsNobodyAndTakesNoMemory(t *testing.T) {
	var th Throttle
	p := Pace{Burst: 1, Every: time.Hour}
	if wait := th.Take(p, start, "guesser"); wait != 0 {
		t.Fatal(wait)
	}
	size := func() (n int) {
		for _, row := range th.rows {
			n += cap(row)
		}
		return n
	}
	before := size()
	for i := range 3 * cells {
		th.Take(p, start, fmt.Sprint("2001:db8::", i))
	}
	if wait := th.Take(p, start, "guesser"); wait != time.Hour {
		t.Errorf("after the flood the guesser waits %v, want an hour", wait)
	}
	if size() != before {
		t.Errorf("the memory went from %d cells to %d", before, size())
	}
	if wait := th.Take(p, start.Add(2*time.Hour), "somebody else"); wait != 0 {
		t.Errorf("when the flood is forgotten somebody else waits %v", wait)
	}
}

func TestStrangersHardlyEverMeet(t *testing.T) {
	var th Throttle
	p := Pace{Burst: 1, Every: time.Hour}
	met := 0
	for i := range 10_000 {
		if th.Take(p, start, fmt.Sprint(i)) != 0 {
			met++
		}
	}
	// (10,000/65,536)^4 is 0.05 %.
	if met > 100 {
		t.Errorf("%d of 10,000 strangers were held up", met)
	}
}

func TestNetworkIsWhatNobodyChooses(t *testing.T) {
	for address, want := range map[string]string{
		"203.0.113.7":            "203.0.113.7",
		"::ffff:203.0.113.7":     "203.0.113.7",
		"2001:db8:1:2:3:4:5:6":   "2001:db8:1:2::/64",
		"2001:db8:1:2:ffff::1":   "2001:db8:1:2::/64",
		"fe80::1%eth0":           "fe80::/64",
		"::ffff:203.0.113.7%eth": "203.0.113.7",
	} {
		if got := Network(netip.MustParseAddr(address)); got != want {
			t.Errorf("Network(%s) = %s, want %s", address, got, want)
		}
	}
	if got := Network(netip.Addr{}); got != "" {
		t.Errorf("Network of none = %q", got)
	}
}

func TestToAskWhetherItIsFullCountsNothing(t *testing.T) {
	var th Throttle
	pace, now := Pace{Burst: 2, Every: time.Second}, time.Unix(1000, 0)
	for range 10 {
		if wait := th.Full(pace, now, "a"); wait != 0 {
			t.Fatalf("full for %v before anything was taken", wait)
		}
	}
	for range 2 {
		if wait := th.Take(pace, now, "a"); wait != 0 {
			t.Fatalf("refused for %v", wait)
		}
	}
	if full, take := th.Full(pace, now, "a"), th.Take(pace, now, "a"); full != take || full == 0 {
		t.Errorf("Full says %v and Take %v", full, take)
	}
}
