package agent_test

import (
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/pquerna/otp/totp"

	"github.com/keyward/keyward/internal/agent"
	"github.com/keyward/keyward/internal/fault"
)

const secret = "JBSWY3DPEHPK3PXP"

func unix(seconds int64) time.Time { return time.Unix(seconds, 0).UTC() }

func with(arguments ...agent.Argument) agent.Agent {
	return agent.Agent{Definition: agent.Definition{InputArguments: arguments}}
}

type values = map[string]jsontext.Value

func TestValuesHaveTheTypeOfTheirArgument(t *testing.T) {
	types := map[agent.Type]map[string]bool{
		agent.String:  {`"x"`: true, `""`: true, `"ü"`: true, `1`: false, `true`: false, `{}`: false, `[]`: false, `"\ud800"`: false, `"`: false},
		agent.Number:  {`1`: true, `-0.5e-7`: true, `123456789012345678901234567890`: true, `"1"`: false, `01`: false, `NaN`: false},
		agent.Boolean: {`true`: true, `false`: true, `"true"`: false, `0`: false},
		agent.JSON:    {`{"a":[1,null]}`: true, `"x"`: true, `1`: true, `[]`: true, `{"a":1,"a":2}`: false, `{`: false},
		agent.TOTP: {
			`"` + secret + `"`: true, `"jbsw y3dp ehpk 3pxp"`: true, `"JBSW-Y3DP-EHPK-3PXP===="`: true, `"JBSWY3DPEHPK3PX"`: false,
			`"JBSWY3DPEHPK3PX1"`: false, `""`: false, `123456`: false, `"otpauth://totp/x?secret=` + secret + `"`: false,
		},
	}
	for typ, cases := range types {
		a := with(agent.Argument{Name: "x", Type: typ})
		for value, good := range cases {
			err := a.CheckValue("x", jsontext.Value(value))
			if (err == nil) != good || err != nil && !errors.Is(err, fault.ErrFieldType) {
				t.Errorf("%s as %s: %v", value, typ, err)
			}
			if err != nil && len(value) > 4 && strings.Contains(err.Error(), value) {
				t.Errorf("the fault repeats the value: %v", err)
			}
		}
		for _, none := range []jsontext.Value{nil, jsontext.Value("null")} {
			if err := a.CheckValue("x", none); err != nil {
				t.Errorf("no value as %s: %v", typ, err)
			}
		}
	}
}

func TestAValueMayHave64KiB(t *testing.T) {
	a := with(agent.Argument{Name: "s"}, agent.Argument{Name: "j", Type: agent.JSON})
	quoted := func(text string) jsontext.Value {
		v, err := jsontext.AppendQuote(nil, text)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	for _, tt := range []struct {
		name, text string
		good       bool
	}{
		{"s", strings.Repeat("a", 64<<10), true},
		{"s", strings.Repeat("\n", 64<<10), true},
		{"s", strings.Repeat("a", 64<<10+1), false},
		{"j", strings.Repeat("\n", 64<<10+1), false},
	} {
		if err := a.CheckValue(tt.name, quoted(tt.text)); (err == nil) != tt.good {
			t.Errorf("%d characters: %v", len(tt.text), err)
		}
	}
	if err := a.CheckValue("j", jsontext.Value("["+strings.Repeat("1,", 40<<10)+"1]")); err == nil {
		t.Error("80 KiB of JSON were taken")
	}
}

func TestAnUnknownNameIsAnsweredWithTheAgentsOwn(t *testing.T) {
	a := with(agent.Argument{Name: "user"}, agent.Argument{Name: "password"})
	for name, err := range map[string]error{
		"CheckValue": a.CheckValue("user_name_zzz", nil),
		"Complete":   second(a.Complete(values{"user_name_zzz": nil}, nil, start)),
	} {
		f := fault.Of(err)
		names, _ := f.Details["input_arguments"].([]string)
		if f.Code != "UNKNOWN_INPUT_ARGUMENT" || strings.Join(names, " ") != "user password" || strings.Contains(f.Error(), "zzz") {
			t.Errorf("%s: %v %v", name, f, f.Details)
		}
	}
	if err := with().CheckValue("x", nil); !errors.Is(err, agent.ErrUnknownArgument) {
		t.Error(err)
	}
}

func TestArgumentsAreCompletedInTheirOrder(t *testing.T) {
	a := with(
		agent.Argument{Name: "user", Type: agent.String, Required: true},
		agent.Argument{Name: "pin", Type: agent.Number, Sensitive: true},
		agent.Argument{Name: "code", Type: agent.TOTP, Sensitive: true},
		agent.Argument{Name: "months", Type: agent.Number, Default: jsontext.Value("3")},
		agent.Argument{Name: "query", Type: agent.JSON},
		agent.Argument{Name: "dry", Type: agent.Boolean},
	)
	now := time.Date(2026, 5, 1, 12, 0, 7, 0, time.UTC)
	got, err := a.Complete(
		values{"query": jsontext.Value(`{"a": 1.10}`), "pin": jsontext.Value(`1234e0`), "dry": jsontext.Value("null")},
		values{"user": jsontext.Value(`"jane"`), "code": jsontext.Value(`"jbsw y3dp ehpk 3pxp"`), "gone": jsontext.Value(`"old"`)}, now)
	if err != nil {
		t.Fatal(err)
	}
	code, err := totp.GenerateCode(secret, now)
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"user":"jane","pin":1234e0,"code":"` + code + `","months":3,"query":{"a": 1.10}}`; string(got.JSON) != want {
		t.Errorf("arguments %s, want %s", got.JSON, want)
	}
	secrets := ""
	for _, s := range got.Secrets {
		secrets += string(s) + " "
	}
	if want := `"jane" 1234e0 "jbsw y3dp ehpk 3pxp" "` + secret + `" "` + code + `" `; secrets != want {
		t.Errorf("secrets %s, want %s", secrets, want)
	}
}

func TestArgumentsThatDoNotFitAreRefused(t *testing.T) {
	a := with(
		agent.Argument{Name: "user", Type: agent.String, Required: true},
		agent.Argument{Name: "pin", Type: agent.Number, Required: true, Default: jsontext.Value("1")},
	)
	str, num := jsontext.Value(`"x"`), jsontext.Value(`1`)
	for _, tt := range []struct {
		why                string
		parameters, stored values
		want               *fault.Fault
		field              string
	}{
		{"missing", values{"pin": num}, nil, fault.ErrMissingField, "parameters.user"},
		{"null is absent", values{"pin": num, "user": jsontext.Value("null")}, nil, fault.ErrMissingField, "parameters.user"},
		{"a default is not given by anybody", values{"user": str}, nil, fault.ErrMissingField, "parameters.pin"},
		{"given twice", values{"user": str, "pin": num}, values{"user": str}, fault.ErrInvalidRequest, "parameters.user"},
		{"wrong type", values{"user": num, "pin": num}, nil, fault.ErrFieldType, "parameters.user"},
		{"type changed since it was stored", values{"user": str}, values{"pin": str}, fault.ErrFieldType, "pin"},
	} {
		_, err := a.Complete(tt.parameters, tt.stored, start)
		if f := fault.Of(err); !errors.Is(err, tt.want) || f.Details["field"] != tt.field {
			t.Errorf("%s: %v %v", tt.why, err, f.Details)
		}
	}
}

func FuzzTOTPSecretsMakeCodes(f *testing.F) {
	f.Add(secret)
	f.Add("jbsw y3dp ehpk 3pxp q")
	f.Add("otpauth://totp/x?secret=" + secret)
	a := with(agent.Argument{Name: "code", Type: agent.TOTP})
	f.Fuzz(func(t *testing.T, text string) {
		value, err := jsontext.AppendQuote(nil, text)
		if err != nil {
			return
		}
		got, completed := a.Complete(values{"code": value}, nil, start)
		if checked := a.CheckValue("code", value); (checked == nil) != (completed == nil) {
			t.Fatalf("checked %v, completed %v", checked, completed)
		}
		if completed != nil {
			return
		}
		code, ok := strings.CutPrefix(string(got.JSON), `{"code":"`)
		code, closed := strings.CutSuffix(code, `"}`)
		if _, err := strconv.Atoi(code); !ok || !closed || err != nil || len(code) != 6 {
			t.Fatalf("%s is no code", got.JSON)
		}
	})
}
