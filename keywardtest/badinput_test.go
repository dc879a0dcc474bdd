package keywardtest_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/keywardtest"
)

// call is an operation with a body that it takes.
type call struct {
	method, path string
	auth         string // a header, or "" if the key is in the body
	valid        map[string]any
	required     []string
	free         []string // fields that take any JSON, or any text there is
}

// Every field of every call: missing, null, of the wrong type, empty, too long,
// with control characters, with invalid UTF-8. Each is refused, and nothing has
// changed.
func TestBadInputIsRefusedAndChangesNothing(t *testing.T) {
	h := newHouse(t, keywardtest.Options{})
	op := h.person(h.SetupCode(t))
	p := h.person("")
	url := h.runner(func(map[string]any) string { return `{"output":1}` })
	h.agent(p, "a", url)
	stored := h.must(200, "POST", "/api/upsert_agent_auth_profile", map[string]any{
		"agent_id": "a", "api_key": p.key, "name": "n", "auth_data": map[string]any{"username": "u"}})
	organizations := h.must(200, "GET", "/v1/organizations", nil, op.bearer())
	organization := organizations.get("data").([]any)[0].(map[string]any)["id"].(string)

	other := fmt.Sprintf("/v1/keys/%v", int64(h.must(201, "POST", "/v1/keys", map[string]any{"name": "other"}, p.bearer()).get("id").(float64)))

	argument := map[string]any{"name": "x", "type": "string", "required": true, "sensitive": false, "default": "d", "description": "e"}
	calls := []call{
		{"POST", "/auth/register", "-", map[string]any{"name": "N", "email": "new@example.com", "password": "long enough", "setupCode": "x"}, []string{"name", "email", "password"}, nil},
		{"POST", "/auth/token", "-", map[string]any{"email": p.email, "password": p.password}, []string{"email", "password"}, nil},
		{"POST", "/auth/token/refresh", "-", map[string]any{"refreshToken": p.refresh}, []string{"refreshToken"}, nil},
		{"POST", "/auth/logout", "-", map[string]any{"refreshToken": p.refresh}, []string{"refreshToken"}, nil},
		{"DELETE", "/auth/me", p.bearer(), map[string]any{"password": p.password}, []string{"password"}, nil},
		{"POST", "/auth/password", p.bearer(), map[string]any{"currentPassword": p.password, "newPassword": "another one"}, []string{"currentPassword", "newPassword"}, nil},
		{"POST", "/auth/api-keys", p.bearer(), map[string]any{"nickname": "k"}, []string{"nickname"}, nil},
		{"POST", "/v1/keys", p.withKey(), map[string]any{"name": "k", "type": "temporary", "expires_in": 60, "scopes": []any{"read"}, "agent_ids": []any{"a"},
			"allowed_ips": []any{"127.0.0.1"}, "limits": map[string]any{"requests_per_hour": 5, "burst": 5, "requests_per_month": 5},
			"require_signature": true, "enabled": true, "external_id": "e", "metadata": map[string]any{"m": 1}}, []string{"name"}, []string{"metadata.m"}},
		{"PATCH", other, p.bearer(), map[string]any{"name": "k", "expires_in": 60, "scopes": []any{"read"}, "agent_ids": []any{"a"},
			"allowed_ips": []any{"127.0.0.1"}, "limits": map[string]any{"requests_per_hour": 5, "burst": 5, "requests_per_month": 5},
			"require_signature": true, "enabled": true, "external_id": "e", "metadata": map[string]any{"m": 1}}, nil, []string{"metadata.m"}},
		{"PATCH", other, p.bearer(), map[string]any{"add_ips": []any{"127.0.0.1"}, "remove_ips": []any{"127.0.0.2"}}, nil, nil},
		{"POST", other + "/rotate", p.bearer(), map[string]any{"grace_period": 60}, nil, nil},
		{"PUT", fmt.Sprintf("/v1/keys/%d/alert", p.keyID), p.withKey(), map[string]any{"threshold": 80, "webhook_url": "https://example.com/", "email": "ops@example.com"},
			[]string{"threshold"}, nil},
		{"POST", "/v1/agents", p.withKey(), map[string]any{"id": "b", "name": "B", "description": "d", "visibility": "private", "timeout_seconds": 5,
			"runner": map[string]any{"type": "http", "url": url}, "input_arguments": []any{argument}},
			[]string{"name", "runner", "runner.type", "input_arguments.0.name", "input_arguments.0.type"}, []string{"input_arguments.0.default"}},
		{"PATCH", "/v1/agents/a", p.withKey(), map[string]any{"name": "B", "description": "d", "visibility": "private", "timeout_seconds": 5,
			"runner": map[string]any{"type": "http", "url": url}, "input_arguments": []any{argument}},
			[]string{"runner.type", "input_arguments.0.name", "input_arguments.0.type"}, []string{"input_arguments.0.default"}},
		{"POST", "/api/create_agent_auth_profile", "", map[string]any{"name": "m", "agent_id": "a", "api_key": p.key, "auth_data": map[string]any{"username": "u"}},
			[]string{"name", "agent_id", "api_key", "auth_data"}, []string{"auth_data.username"}},
		{"POST", "/api/upsert_agent_auth_profile", "", map[string]any{"name": "m", "agent_id": "a", "api_key": p.key, "should_save_session": true,
			"auth_token": stored.text("auth_token"), "auth_data": map[string]any{"username": "u"}},
			[]string{"agent_id", "api_key", "auth_data"}, []string{"auth_data.username"}},
		{"POST", "/run_agent", "", map[string]any{"agent_id": "a", "api_key": p.key, "auth_token": stored.text("auth_token"), "run_async": false,
			"parameters": map[string]any{"pages": 1}},
			[]string{"agent_id", "api_key"}, []string{"parameters.pages"}},
		{"POST", "/api/v1/agents/a/run", p.withKey(), map[string]any{"auth_token": stored.text("auth_token"), "async_execution": false,
			"input_args": []any{}, "input_kwargs": map[string]any{"pages": 1}}, nil, []string{"input_kwargs.pages"}},
		{"POST", "/api/v1/agents/a/execute/main", p.withKey(), map[string]any{"auth_token": stored.text("auth_token"),
			"input_data": map[string]any{"input_args": []any{}, "input_kwargs": map[string]any{"pages": 1}}}, nil, []string{"input_data.input_kwargs.pages"}},
		{"POST", "/v1/auth-profiles/token/rotate", p.withKey(), map[string]any{"agent_id": "a", "auth_token": stored.text("auth_token"), "grace_period": 5}, []string{"agent_id", "auth_token"}, nil},
		{"POST", "/v1/accounts", op.bearer(), map[string]any{"name": "N", "email": "new@example.com", "password": "long enough"}, []string{"name", "email", "password"}, nil},
		{"PATCH", "/v1/organizations/" + organization, op.bearer(), map[string]any{"tier": "pro", "quotas": map[string]any{"keys": 5},
			"limits": map[string]any{"requests_per_hour": 5, "burst": 6, "requests_per_month": 7}}, nil, nil},
	}
	before := state(t, h.Data)
	for _, c := range calls {
		t.Run(c.method+strings.ReplaceAll(c.path, "/", "-"), func(t *testing.T) {
			h := &house{Server: h.Server, t: t, client: checked(t, h.URL)}
			for _, bad := range c.mutations(t) {
				var headers []string
				if c.auth != "" && c.auth != "-" {
					headers = append(headers, c.auth)
				}
				got := h.send(c.method, c.path, bad.body, headers...)
				if got.Status < 400 || got.Status >= 500 || bad.code != "" && got.code() != bad.code {
					t.Errorf("%s: %d %s, want %s", bad.what, got.Status, got.Text, bad.code)
				}
			}
			if after := state(t, h.Data); after != before {
				t.Errorf("something changed:\n%s\nwas\n%s", after, before)
			}
		})
	}
}

type mutation struct {
	what, code string
	body       string
}

// mutations returns bodies that c must refuse.
func (c call) mutations(t *testing.T) []mutation {
	t.Helper()
	var all []mutation
	text := func(v any) string {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	whole := text(c.valid)
	add := func(what, code, body string) { all = append(all, mutation{what, code, body}) }

	if c.method != "POST" || c.required != nil { // or the body may be left out
		add("no body", "", "")
		add("null", "", "null")
	}
	add("half a body", "INVALID_REQUEST", whole[:len(whole)/2])
	add("two bodies", "INVALID_REQUEST", whole+whole)
	add("an array", "", "["+whole+"]")
	add("a text", "", `"x"`)
	add("too large", "BODY_TOO_LARGE", whole[:len(whole)-1]+`,"`+strings.Repeat("x", 1<<20)+`":1}`)
	add("a field twice", "INVALID_REQUEST", `{"`+first(c.valid)+`":1,`+whole[1:])
	add("deep nesting", "", `{"`+first(c.valid)+`":`+strings.Repeat("[", 100_000)+strings.Repeat("]", 100_000)+`}`)
	if c.auth != "" && !strings.HasPrefix(c.path, "/api/") {
		add("an unknown field", "UNKNOWN_FIELD", `{"surprise":1,`+whole[1:])
	}

	for _, path := range paths("", c.valid) {
		required := slices.Contains(c.required, path)
		value := at(c.valid, path)
		if required {
			add(path+" missing", "MISSING_REQUIRED_FIELD", text(with(c.valid, path, nil, true)))
			add(path+" null", "MISSING_REQUIRED_FIELD", text(with(c.valid, path, nil, false)))
		}
		add(path+" with U+0000", "", text(with(c.valid, path, "a\x00b", false)))
		marked := text(with(c.valid, path, "MARK", false))
		add(path+" with invalid UTF-8", "INVALID_REQUEST", strings.Replace(marked, "MARK", "a\xffb", 1))
		if slices.Contains(c.free, path) {
			continue
		}
		for _, other := range []any{1.5, true, "text", []any{"x"}, map[string]any{"x": "y"}} {
			_, sameType := map[string]bool{fmt.Sprintf("%T", value): true}[fmt.Sprintf("%T", other)]
			if number(value) && number(other) {
				continue
			}
			if !sameType {
				add(fmt.Sprintf("%s a %T", path, other), "INVALID_FIELD_TYPE", text(with(c.valid, path, other, false)))
			}
		}
		if _, ok := value.(string); ok {
			add(path+" too long", "", text(with(c.valid, path, strings.Repeat("é", 10_000), false)))
			if required {
				add(path+" empty", "", text(with(c.valid, path, "", false)))
			}
			if path != "description" && !strings.HasSuffix(path, ".description") && !strings.Contains(strings.ToLower(path), "password") {
				add(path+" with a control character", "", text(with(c.valid, path, "a\x07b", false)))
			}
		}
		if number(value) {
			for _, n := range []any{-2, 1.5, 1e300} {
				add(fmt.Sprintf("%s %v", path, n), "", text(with(c.valid, path, n, false)))
			}
		}
	}
	return all
}

func number(v any) bool {
	switch v.(type) {
	case int, float64:
		return true
	}
	return false
}

func first(m map[string]any) string { return slices.Sorted(maps.Keys(m))[0] }

// paths returns the path of every field of v.
func paths(prefix string, v any) []string {
	var all []string
	join := func(name string) string { return strings.TrimPrefix(prefix+"."+name, ".") }
	switch v := v.(type) {
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(v)) {
			all = append(append(all, join(name)), paths(join(name), v[name])...)
		}
	case []any:
		for i, e := range v {
			all = append(all, paths(join(fmt.Sprint(i)), e)...)
		}
	}
	return all
}

func at(v any, path string) any {
	for name := range strings.SplitSeq(path, ".") {
		if list, ok := v.([]any); ok {
			v = list[0]
			continue
		}
		v = v.(map[string]any)[name]
	}
	return v
}

// with returns v with another value at path, or without that field.
func with(v any, path string, value any, remove bool) any {
	name, rest, more := strings.Cut(path, ".")
	if list, ok := v.([]any); ok {
		if !more {
			return []any{value}
		}
		return []any{with(list[0], rest, value, remove)}
	}
	m := maps.Clone(v.(map[string]any))
	switch {
	case more:
		m[name] = with(m[name], rest, value, remove)
	case remove:
		delete(m, name)
	default:
		m[name] = value
	}
	return m
}

// state is what the database of a server holds, but for what changes by itself.
func state(t *testing.T, data string) string {
	t.Helper()
	d, err := db.Open(t.Context(), "sqlite:"+data+"/keyward.db")
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	var all strings.Builder
	for table, columns := range map[string]string{
		"accounts": "id, name, email, updated_at", "organizations": "id, tier, limits, quotas, updated_at", "memberships": "account_id, role", "sign_ins": "id, number, ended_at",
		"api_keys": "id, name, expires_at, revoked_at, external_id, disabled, settings, updated_at", "api_key_secrets": "hint, expires_at", "agents": "id, name, updated_at",
		"profiles": "uid, name, revision, updated_at", "profile_values": "profile_uid, name, revision", "profile_slots": "profile_uid, expires_at",
		"runs": "id", "audit_entries": "id", "changes": "id", "setup_codes": "organization_id", "quota_uses": "organization_id, kind, used",
	} {
		columns := strings.Split(columns, ", ")
		rows, err := d.Query(t.Context(), `SELECT `+strings.Join(columns, " || ' ' || ")+` FROM `+table)
		if err != nil {
			t.Fatal(err)
		}
		var lines []string
		for rows.Next() {
			var line string
			if err := rows.Scan(&line); err != nil {
				t.Fatal(err)
			}
			lines = append(lines, table+" "+line)
		}
		if err := rows.Close(); err != nil {
			t.Fatal(err)
		}
		slices.Sort(lines)
		all.WriteString(strings.Join(lines, "\n") + "\n")
	}
	lines := strings.Split(all.String(), "\n")
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}
