package demo

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// request is one request to the server, and what it must be answered with.
type request struct {
	method string // "": POST with a body, GET without
	path   string
	user   string // e-mail:password
	bearer string
	body   any // nil: none

	status int
	code   string // of the error that must come; "": none
	into   any    // where the answer's JSON goes; nil: nowhere
}

// shown says how many characters of a secret are shown, by its name in answers.
var shown = map[string]int{
	"accessToken": 12, "refreshToken": 8, "key": 12, "runner_secret": 10, "auth_token": 8,
}

// object is the JSON of a body, in the order in which it is read best.
type object []field

type field struct {
	name  string
	value any
}

// MarshalJSON writes the fields in their order.
func (o object) MarshalJSON() ([]byte, error) {
	b := []byte("{")
	for i, f := range o {
		value, err := json.Marshal(f.value)
		if err != nil {
			return nil, err
		}
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendQuote(b, f.name)
		b = append(append(b, ':'), value...)
	}
	return append(b, '}'), nil
}

// ask makes a request and shows it and its answer. The error says how the
// answer differs from what was expected.
func (s *story) ask(ctx context.Context, q request) error {
	r, err := s.prepare(ctx, &q)
	if err != nil {
		return err
	}
	resp, err := s.client.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("%s %s: the answer was cut off: %w", q.method, q.path, err)
	}
	s.hideSecrets(answer)
	s.paper.answer(resp.StatusCode, http.StatusText(resp.StatusCode), answer)

	var refused struct {
		Error struct{ Code string }
	}
	if resp.StatusCode >= 400 {
		json.Unmarshal(answer, &refused) // what is no JSON has no code
	}
	expected := strings.TrimSpace(fmt.Sprintf("%d %s", q.status, q.code))
	if got := strings.TrimSpace(fmt.Sprintf("%d %s", resp.StatusCode, refused.Error.Code)); got != expected {
		return fmt.Errorf("%s %s was answered with %s; expected was %s", q.method, q.path, got, expected)
	}
	if q.into == nil {
		return nil
	}
	if err := json.Unmarshal(answer, q.into); err != nil {
		return fmt.Errorf("%s %s was answered with what is not the JSON that was expected", q.method, q.path)
	}
	return nil
}

// watch makes a request for server-sent events and shows each as it comes. It
// returns of what kind they were.
func (s *story) watch(ctx context.Context, q request) (kinds []string, err error) {
	r, err := s.prepare(ctx, &q)
	if err != nil {
		return nil, err
	}
	resp, err := s.client.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	s.paper.answer(resp.StatusCode, http.StatusText(resp.StatusCode), nil)
	if err := expect("the status of the stream", resp.StatusCode, http.StatusOK); err != nil {
		return nil, err
	}
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), ": ")
		switch name {
		case "event":
			kinds = append(kinds, value)
		case "data":
			s.paper.event(kinds[len(kinds)-1], value)
		}
	}
	return kinds, lines.Err()
}

// prepare builds the request and shows it as the curl that makes it.
func (s *story) prepare(ctx context.Context, q *request) (*http.Request, error) {
	var body []byte
	if q.body != nil {
		var err error
		if body, err = json.Marshal(q.body); err != nil {
			return nil, err
		}
	}
	var options []string
	switch {
	case q.method == "" && q.body != nil:
		q.method = http.MethodPost
	case q.method == "":
		q.method = http.MethodGet
	default:
		options = append(options, "-X "+q.method)
	}
	r, err := http.NewRequestWithContext(ctx, q.method, s.server.url+q.path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if user, password, ok := strings.Cut(q.user, ":"); ok {
		r.SetBasicAuth(user, password)
		options = append(options, "-u '"+q.user+"'")
	}
	if q.bearer != "" {
		r.Header.Set("Authorization", "Bearer "+q.bearer)
		options = append(options, "-H 'Authorization: Bearer "+q.bearer+"'")
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
		options = append(options, "--json '"+layout{}.lay(s.paper.shorten(string(body)), "    ")+"'")
	}
	address := r.URL.String()
	if r.URL.RawQuery != "" {
		address = "'" + address + "'" // a shell would take the ? for its own
	}
	s.paper.command(address, options)
	return r, nil
}

// hideSecrets looks for secrets in an answer, before it is shown.
func (s *story) hideSecrets(answer []byte) {
	var fields map[string]any
	if json.Unmarshal(answer, &fields) != nil {
		return
	}
	for name, value := range fields {
		if secret, ok := value.(string); ok && shown[name] > 0 {
			s.paper.hide(secret, shown[name])
		}
	}
}
