package verify

import (
	"encoding/json"
	"math/rand/v2"
	"testing"
	"time"

	jsonv2 "github.com/go-json-experiment/json"

	"github.com/keyward/keyward/client"
	"github.com/keyward/keyward/internal/access"
)

func TestAnAnswerByHandIsTheOneOfTheLibrary(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	texts := []string{"", "a", "ü \"quoted\" \\ </script>", "line\nfeed\t\x1f\x7f", "\u2028 日本語 😀", "ra_live_…"}
	text := func() string { return texts[r.IntN(len(texts))] }
	for range 20_000 {
		v := client.Verification{Valid: r.IntN(4) > 0, Code: "VALID", Type: text(), Name: text(), OrganizationID: text(), AccountID: text(), ExternalID: text()}
		if !v.Valid {
			v.Code, v.Message, v.RetryAfter, v.Details = "RATE_LIMITED", text(), r.IntN(2), map[string]any{"field": text(), "a": nil}
		}
		if r.IntN(5) > 0 {
			v.KeyID = r.Int64N(1 << 53)
		}
		if r.IntN(2) > 0 {
			v.Scopes = access.Scopes(r.IntN(int(access.AllScopes) + 1)).Names()
		}
		if r.IntN(2) > 0 {
			v.AgentIDs = []string{text(), text()}[:r.IntN(3)]
		}
		if r.IntN(4) == 0 {
			v.Metadata = json.RawMessage(`{"b": 1, "a": [null, "x"]}`)
		}
		if r.IntN(2) > 0 {
			v.ExpiresAt = client.NewTime(time.UnixMicro(r.Int64N(4e15)))
		}
		if r.IntN(2) > 0 {
			v.RateLimit = &client.RateLimit{Limit: r.Int64(), Remaining: r.Int64N(10), Reset: r.Int64()}
		}
		want, err := jsonv2.Marshal(&v, jsonv2.Deterministic(true))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := encode(&v); err != nil || string(got) != string(want) {
			t.Fatalf("%v\n%s, want\n%s", err, got, want)
		}
	}
	if _, err := encode(&client.Verification{Valid: true, Name: "\xff"}); err == nil {
		t.Error("a name that is no UTF-8 is written")
	}
}

func BenchmarkEncode(b *testing.B) {
	v := client.Verification{
		Valid: true, Code: "VALID", KeyID: 1253254276449495, Name: "customer 1", Type: "service", OrganizationID: "01a20cae-4aa1-7c0c-bbf3-0903982e18fe",
		ExternalID: "cus_0000001", Scopes: []string{"agents:read", "agents:run"}, RateLimit: &client.RateLimit{Limit: 1000, Remaining: 999, Reset: 1795512681},
	}
	b.Run("by hand", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _ = encode(&v)
		}
	})
	b.Run("library", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _ = jsonv2.Marshal(&v, jsonv2.Deterministic(true))
		}
	})
}
