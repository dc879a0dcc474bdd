package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/keyward/keyward/client"
)

// A value is what its file says, however that looks.
func TestValuesAreReadAsTheyAreWritten(t *testing.T) {
	for text, want := range map[string]string{
		`{"a": "x", "n": 12345678901234567890}`:         `{"a":"x","n":12345678901234567890}`,
		"a: 2024-01-01\nb: {c: [2024-01-01T00:00:00Z]}": `{"a":"2024-01-01","b":{"c":["2024-01-01T00:00:00Z"]}}`,
		"a: yes\nb: true\nc: 0.5\nd: null":              `{"a":"yes","b":true,"c":0.5,"d":null}`,
		"a: 'x: y'":                                     `{"a":"x: y"}`,
		"":                                              "",
		"hunter2":                                       "",
		"- hunter2":                                     "",
		"{\"a\": hunter":                                "",
		"1: hunter2\n? [hunter2]\n: x":                  "",
		"a: *hunter2":                                   "",
	} {
		values, err := object([]byte(text))
		if want == "" {
			if err == nil || strings.Contains(err.Error(), "hunter") {
				t.Errorf("%q: %v, %v", text, values, err)
			}
			continue
		}
		got, _ := json.Marshal(values)
		if err != nil || string(got) != want {
			t.Errorf("%q: %s, %v", text, got, err)
		}
	}
}

func TestAValueHasItsArgumentsType(t *testing.T) {
	a := client.Agent{InputArguments: []client.InputArgument{{Name: "s", Type: "string"}, {Name: "n", Type: "number"}, {Name: "b", Type: "boolean"}, {Name: "j", Type: "json"}}}
	for pair, want := range map[string]string{
		"s=1": `"1"`, "s=": `""`, "n=1.50": `1.50`, "n=true": "", "n=inf": "", "n=0x1": "", "b=true": `true`, "b=ja": "", `j={"a": 1}`: `{"a":1}`, "j={": "", "other=1": `"1"`,
	} {
		name, text, _ := strings.Cut(pair, "=")
		v, err := typed(a, name, text)
		got, _ := json.Marshal(v)
		if (err != nil) != (want == "") || err == nil && string(got) != want {
			t.Errorf("%s: %s, %v", pair, got, err)
		}
	}
}

func TestASpanKnowsDays(t *testing.T) {
	for text, want := range map[string]int64{"90s": 90, "12h": 43200, "30d": 2592000, "1d12h": 129600, "0s": 0, "": -1, "d": -1, "-1h": -1, "1.5d": -1, "5": -1, "100ms": -1, "1d1d": -1} {
		var s span
		err := s.Set(text)
		if want < 0 && err == nil || want >= 0 && (err != nil || s.seconds() != want) {
			t.Errorf("%q: %d, %v", text, s.seconds(), err)
		}
	}
}
