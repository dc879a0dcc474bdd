package client

import (
	stdjson "encoding/json"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
)

func TestTimeIsWrittenInUTCWithMilliseconds(t *testing.T) {
	paris := time.FixedZone("", 2*60*60)
	for _, tt := range []struct {
		in   time.Time
		want string
	}{
		{time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC), `"2024-01-01T00:00:00.000Z"`},
		{time.Date(2024, 1, 1, 1, 30, 0, 0, paris), `"2023-12-31T23:30:00.000Z"`},
		{time.Date(2024, 1, 1, 0, 0, 0, 1_999_999, time.UTC), `"2024-01-01T00:00:00.001Z"`},
		{time.Time{}, `null`},
	} {
		for name, marshal := range map[string]func(any) ([]byte, error){
			"encoding/json": stdjson.Marshal,
			"json v2":       func(v any) ([]byte, error) { return json.Marshal(v) },
		} {
			got, err := marshal(NewTime(tt.in))
			if err != nil || string(got) != tt.want {
				t.Errorf("%s: Marshal(%v) = %s, %v, want %s", name, tt.in, got, err, tt.want)
			}
			var back Time
			if err := stdjson.Unmarshal(got, &back); err != nil || !back.Equal(tt.in.Truncate(time.Millisecond)) {
				t.Errorf("%s: %s reads back as %v, %v", name, got, back, err)
			}
		}
	}
}

func TestAMissingTimeIsLeftOut(t *testing.T) {
	type key struct {
		ExpiresAt Time `json:"expires_at,omitzero"`
	}
	got, err := json.Marshal(key{})
	if err != nil || string(got) != `{}` {
		t.Errorf("Marshal = %s, %v, want {}", got, err)
	}
}

func TestTimeReadsRFC3339Alone(t *testing.T) {
	for text, good := range map[string]bool{
		`"2024-01-01T00:00:00Z"`:          true,
		`"2024-01-01T02:00:00.123+02:00"`: true,
		`null`:                            true,
		`""`:                              false,
		`"2024-01-01"`:                    false,
		`1704067200`:                      false,
		`"yesterday"`:                     false,
	} {
		var got Time
		if err := json.Unmarshal([]byte(text), &got); (err == nil) != good {
			t.Errorf("Unmarshal(%s) = %v, %v", text, got, err)
		}
	}
}

func TestAYearThatRFC3339CannotWriteIsAnError(t *testing.T) {
	if got, err := json.Marshal(NewTime(time.Date(12024, 1, 1, 0, 0, 0, 0, time.UTC))); err == nil {
		t.Errorf("Marshal = %s, want an error", got)
	}
}
