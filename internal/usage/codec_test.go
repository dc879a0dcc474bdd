package usage

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// The vectors of docs/formats.md.
func TestTheFormatIsTheOneThatIsDocumented(t *testing.T) {
	entries := []entry{
		{place{5, 0}, tally{Counts{1, 0, 0}, 1_500_000, originOf(netip.MustParseAddr("192.0.2.7"))}},
		{place{300, 0}, tally{Counts{200, 3, 1}, -1_000, origin{}}},
		{place{301, 0}, tally{Counts{0, 0, 7}, 0, origin{}}},
	}
	for format, want := range map[byte]string{
		formatCounts: "01" + "05010000" + "a702c8010301" + "01000007",
		formatUses:   "02" + "05010000" + "05c0000207b817" + "a702c8010301" + "0101" + "01000007" + "00",
	} {
		if got := hex.EncodeToString(encode(format, entries)); got != want {
			t.Errorf("format %d: %s, want %s", format, got, want)
		}
	}
}

func TestWhatIsEncodedIsDecoded(t *testing.T) {
	const at = 1_767_323_040_000_000
	addresses := []netip.Addr{{}, netip.MustParseAddr("203.0.113.9"), netip.MustParseAddr("2001:db8::1")}
	var entries []entry
	key := int64(0)
	for range 1000 {
		key += 1 + rand.Int64N(maxKey/2000)
		e := entry{place{key, at}, tally{Counts: Counts{rand.Int64N(most), rand.Int64N(300), rand.Int64N(2)}}}
		if rand.IntN(3) > 0 {
			e.usedAt, e.from = at+rand.Int64N(60_000)*1000, originOf(addresses[rand.IntN(3)])
		}
		entries = append(entries, e)
	}
	if got := all(t, encode(formatUses, entries), at); !slices.Equal(got, entries) {
		t.Error("with uses: another list came back")
	}
	for i := range entries {
		entries[i].usedAt, entries[i].from = 0, origin{}
	}
	if got := all(t, encode(formatCounts, entries), at); !slices.Equal(got, entries) {
		t.Error("without uses: another list came back")
	}
}

func all(t *testing.T, row []byte, at int64) (entries []entry) {
	t.Helper()
	if err := decode(row, at, func(e entry) { entries = append(entries, e) }); err != nil {
		t.Fatal(err)
	}
	return entries
}

func TestABrokenRowIsAnErrorAndNotACount(t *testing.T) {
	for name, row := range map[string]string{
		"empty":             "",
		"unknown format":    "03",
		"cut off":           "010501",
		"the same key":      "01" + "05010000" + "00010000",
		"a long spelling":   "01" + "058100" + "0000",
		"too large a count": "01" + "05" + "8180808080808010" + "0000",
		"too large a key":   "01" + "8080808080808010" + "010000",
		"an odd address":    "02" + "05010000" + "03c00000",
		"half an address":   "02" + "05010000" + "05c00002",
		"no use":            "02" + "05010000",
	} {
		b, err := hex.DecodeString(row)
		if err != nil {
			t.Fatal(err)
		}
		if err := decode(b, 0, func(entry) {}); !errors.Is(err, errFormat) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte{1, 5, 1, 0, 0})
	f.Add([]byte{2, 5, 1, 0, 0, 5, 192, 0, 2, 7, 0xb8, 0x17})
	f.Fuzz(func(t *testing.T, row []byte) {
		const at = 1 // from which no number of milliseconds leads to 0, which is no use
		var entries []entry
		if decode(row, at, func(e entry) { entries = append(entries, e) }) != nil {
			return
		}
		if again := encode(row[0], entries); !bytes.Equal(again, row) && !mapped(entries) {
			t.Errorf("%x was read, and is written as %x", row, again)
		}
	})
}

// mapped reports whether an address is an IPv4 one in IPv6 form, which is
// written as IPv4.
func mapped(entries []entry) bool {
	return slices.ContainsFunc(entries, func(e entry) bool { return e.from.addr().Is4In6() })
}

func TestALargeFlushIsSplit(t *testing.T) {
	var l ledger
	for range 40_000 {
		l.at(place{1 + rand.Int64N(maxKey-1), minute * rand.Int64N(2)}).Allowed++
	}
	entries := l.sorted()
	var got []entry
	for _, b := range pack(entries) {
		if len(b.counts) > rowSize {
			t.Errorf("a batch of %d bytes", len(b.counts))
		}
		got = append(got, all(t, b.counts, b.minute)...)
	}
	if !slices.Equal(got, entries) {
		t.Error("the batches do not have what was counted")
	}
}

func TestAMinuteHoldsWhatIsMergedIntoIt(t *testing.T) {
	row, err := add(formatCounts, nil, []entry{{place{2, 0}, tally{Counts: Counts{1, 1, 1}}}, {place{9, 0}, tally{Counts: Counts{5, 0, 0}}}})
	if err != nil {
		t.Fatal(err)
	}
	row, err = add(formatCounts, row, []entry{{place{1, 0}, tally{Counts: Counts{7, 0, 0}}}, {place{9, 0}, tally{Counts: Counts{most, 2, 0}}}, {place{10, 0}, tally{Counts: Counts{0, 0, 1}}}})
	if err != nil {
		t.Fatal(err)
	}
	want := []entry{
		{place{1, 0}, tally{Counts: Counts{7, 0, 0}}}, {place{2, 0}, tally{Counts: Counts{1, 1, 1}}},
		{place{9, 0}, tally{Counts: Counts{most, 2, 0}}}, {place{10, 0}, tally{Counts: Counts{0, 0, 1}}},
	}
	if got := all(t, row, 0); !slices.Equal(got, want) {
		t.Errorf("got %v", got)
	}
}

func TestCoarserSpansLoseNoCount(t *testing.T) {
	var l ledger
	for i := range int64(120) {
		l.at(place{7, i * minute}).add(tally{Counts{1, 2, 3}, i + 1, origin{}})
	}
	l.coarsen(hour)
	want := []entry{{place{7, 0}, tally{Counts{60, 120, 180}, 60, origin{}}}, {place{7, hour}, tally{Counts{60, 120, 180}, 120, origin{}}}}
	if got := l.sorted(); !slices.Equal(got, want) {
		t.Errorf("got %v", got)
	}
}

func TestCountingAllocatesNothing(t *testing.T) {
	var c Counter
	from, at := netip.MustParseAddr("192.0.2.7"), time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	second := func() {
		for key := range int64(1000) {
			c.Count(key+1, Allowed, at, from)
		}
	}
	for range 4 {
		second()
		c.collect()
	}
	if n := testing.AllocsPerRun(10, second); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkCount(b *testing.B) {
	var c Counter
	from, at := netip.MustParseAddr("192.0.2.7"), time.Now()
	for b.Loop() {
		c.Count(5123456789012345, Allowed, at, from)
	}
}

func BenchmarkCountOfManyKeys(b *testing.B) {
	var c Counter
	from, at := netip.MustParseAddr("192.0.2.7"), time.Now()
	for key := range int64(100_000) {
		c.Count(key+1, Allowed, at, from)
	}
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		key := rand.Int64N(100_000)
		for pb.Next() {
			key = (key + 7919) % 100_000
			c.Count(key+1, Allowed, at, from)
		}
	})
}
