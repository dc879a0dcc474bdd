package main

import (
	"bytes"
	_ "embed"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// ask is a way to ask about a key. KEY stands for it.
type ask struct {
	name          string
	method        string
	path          string
	authorization string
	body          string
	limited       func(http.Header, []byte) bool // whether an answer tells of the key's limit
}

// asks are the two ways: a gateway's and a service's.
func (f *seeded) asks() []ask {
	return []ask{
		{
			"/v1/verify", http.MethodGet, "/v1/verify?organization=" + f.organization, "Bearer KEY", "",
			func(h http.Header, _ []byte) bool {
				return h.Get("X-RateLimit-Limit") == fmt.Sprint(perHour) && strings.Contains(h.Get("RateLimit-Policy"), fmt.Sprintf(`"burst";q=%d`, burst))
			},
		},
		{
			"POST /v1/keys/verify", http.MethodPost, "/v1/keys/verify", "Bearer " + f.service,
			`{"key":"KEY","scopes":["agents:run"],"ip":"203.0.113.77"}`,
			func(_ http.Header, body []byte) bool {
				return bytes.Contains(body, fmt.Appendf(nil, `"ratelimit":{"limit":%d,`, perHour))
			},
		},
	}
}

func (k ask) with(key []byte, text string) string {
	return strings.ReplaceAll(text, "KEY", string(key))
}

func (k ask) request(address string, key []byte) (*http.Request, error) {
	var body io.Reader
	if k.body != "" {
		body = strings.NewReader(k.with(key, k.body))
	}
	req, err := http.NewRequest(k.method, "http://"+address+k.path, body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", k.with(key, k.authorization))
	req.Header.Set("Content-Type", "application/json")
	return req, nil
}

// connections is how many wrk has, and how many clients ask in every other load.
const connections = 16

//go:embed ask.lua
var script []byte

// pace is what wrk measured.
type pace struct {
	perSecond float64
	p50, p99  time.Duration
	requests  int64
}

// wrk asks at address about the keys of a file for a while. Any answer that is
// not a good one is a failure.
func (b *bench) wrk(address string, k ask, keys string, seconds int) (p pace, err error) {
	lua := filepath.Join(b.dir, "ask.lua")
	if err := os.WriteFile(lua, script, 0o600); err != nil {
		return p, err
	}
	out, err := exec.Command("wrk", "-t2", fmt.Sprintf("-c%d", connections), fmt.Sprintf("-d%ds", seconds), "--latency", "-s", lua,
		"http://"+address, "--", keys, k.method, k.path, k.authorization, k.body).CombinedOutput()
	if err != nil {
		return p, fmt.Errorf("wrk: %w\n%s", err, out)
	}
	_, result, _ := strings.Cut(string(out), "RESULT ")
	var micros, p50, p99, failed int64
	if _, err := fmt.Sscan(result, &p.requests, &micros, &p50, &p99, &failed); err != nil {
		return p, fmt.Errorf("wrk: %w\n%s", err, out)
	}
	if failed > 0 || p.requests == 0 {
		return p, fmt.Errorf("%s: %d of %d requests were not answered well\n%s", k.name, failed, p.requests, out)
	}
	p.perSecond = float64(p.requests) / (float64(micros) / 1e6)
	p.p50, p.p99 = time.Duration(p50)*time.Microsecond, time.Duration(p99)*time.Microsecond
	return p, nil
}
