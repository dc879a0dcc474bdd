package api_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/keyward/keyward/client"
	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/api"
)

var someTime = client.NewTime(time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC))

// listThings lists the numbers below 45.
func listThings(_ context.Context, _ access.Caller, in *struct {
	api.Paged
	Status string   `query:"status" enum:"active,expired"`
	Mine   bool     `query:"mine"`
	Types  []string `query:"types" enum:"a,b"`
}) (client.List[made], error) {
	const total = 45
	key := func(m made) []string { return []string{m.ID} }
	read := func(from int) []made {
		var found []made
		for i := from; i < total && len(found) <= in.Limit; i++ {
			found = append(found, made{ID: strconv.Itoa(i), MadeAt: someTime})
		}
		return found
	}

	offset, paged, err := in.Offset()
	if err != nil {
		return client.List[made]{}, err
	}
	if paged {
		return api.NewPage(in.Paged, read(offset), key, total), nil
	}
	after, err := in.After(1)
	if err != nil {
		return client.List[made]{}, err
	}
	from := 0
	if after != nil {
		last, err := strconv.Atoi(after[0])
		if err != nil {
			return client.List[made]{}, api.ErrCursor
		}
		from = last + 1
	}
	return api.NewList(in.Cursored, read(from), key), nil
}

func TestAListIsWalkedByItsCursor(t *testing.T) {
	c := newSurface(t).start(t)
	seen, query := 0, "?limit=20"
	for range 4 {
		var list client.List[made]
		re := c.do("GET", "/v1/things"+query, "", key)
		if err := json.Unmarshal([]byte(re.text), &list); err != nil {
			t.Fatalf("%v: %s", err, re.text)
		}
		for _, m := range list.Data {
			if m.ID != strconv.Itoa(seen) {
				t.Fatalf("entry %d is %s", seen, m.ID)
			}
			seen++
		}
		if list.Pagination.NextCursor == nil {
			break
		}
		query = "?limit=20&cursor=" + *list.Pagination.NextCursor
	}
	if seen != 45 {
		t.Errorf("saw %d entries, want 45", seen)
	}
}

func TestAListIsReadByPage(t *testing.T) {
	c := newSurface(t).start(t)
	for _, tt := range []struct {
		query, want string
		n           int
	}{
		{"?page=1", `{"limit":20,"next_cursor":"WyIxOSJd","page":1,"total":45,"pages":3}`, 20},
		{"?page=3", `{"limit":20,"next_cursor":null,"page":3,"total":45,"pages":3}`, 5},
		{"?page=4", `{"limit":20,"next_cursor":null,"page":4,"total":45,"pages":3}`, 0},
		{"", `{"limit":20,"next_cursor":"WyIxOSJd"}`, 20},
		{"?limit=100", `{"limit":100,"next_cursor":null}`, 45},
	} {
		re := c.do("GET", "/v1/things"+tt.query, "", key)
		var got struct {
			Data       []made
			Pagination json.RawMessage
		}
		if err := json.Unmarshal([]byte(re.text), &got); err != nil {
			t.Fatal(err)
		}
		if string(got.Pagination) != tt.want || len(got.Data) != tt.n || got.Data == nil {
			t.Errorf("%s: %d entries, %s, want %d, %s", tt.query, len(got.Data), got.Pagination, tt.n, tt.want)
		}
	}
}

func TestABadQueryIsRefused(t *testing.T) {
	c := newSurface(t).start(t)
	for _, tt := range []struct{ query, code, field string }{
		{"limit=0", "INVALID_REQUEST", "limit"},
		{"limit=101", "INVALID_REQUEST", "limit"},
		{"limit=-1", "INVALID_REQUEST", "limit"},
		{"limit=ten", "INVALID_FIELD_TYPE", "limit"},
		{"limit=%2B5", "INVALID_FIELD_TYPE", "limit"},
		{"limit=1.5", "INVALID_FIELD_TYPE", "limit"},
		{"limit=99999999999999999999", "INVALID_REQUEST", "limit"},
		{"limit=1&limit=2", "INVALID_REQUEST", "limit"},
		{"page=0", "INVALID_REQUEST", "page"},
		{"page=1&cursor=WyIxOSJd", "INVALID_REQUEST", "page"},
		{"cursor=x", "INVALID_REQUEST", "cursor"},
		{"cursor=WyIxOSJd%3D", "INVALID_REQUEST", "cursor"},
		{"cursor=WyJhIl0", "INVALID_REQUEST", "cursor"},
		{"cursor=WyJhIiwiYiJd", "INVALID_REQUEST", "cursor"},
		{"cursor=WzFd", "INVALID_REQUEST", "cursor"},
		{"cursor=WyJcdTAwMDAiXQ", "INVALID_REQUEST", "cursor"},
		{"status=gone", "INVALID_REQUEST", "status"},
		{"mine=1", "INVALID_FIELD_TYPE", "mine"},
		{"types=a,c", "INVALID_REQUEST", "types"},
		{"statuss=active", "UNKNOWN_FIELD", "statuss"},
		{"=x", "UNKNOWN_FIELD", `""`},
		{"limit=%00", "INVALID_REQUEST", ""},
		{"status=%ff", "INVALID_REQUEST", ""},
		{"%00=1", "INVALID_REQUEST", ""},
		{"status=%zz", "INVALID_REQUEST", ""},
	} {
		c.do("GET", "/v1/things?"+tt.query, "", key).wants(t, 400, tt.code, tt.field)
	}
	for _, query := range []string{"", "?limit=1", "?limit=100", "?limit=", "?status=expired&mine=true", "?types=a,b", "?cursor="} {
		if re := c.do("GET", "/v1/things"+query, "", key); re.StatusCode != 200 {
			t.Errorf("%q: %d %s", query, re.StatusCode, re.text)
		}
	}
}

func FuzzCursor(f *testing.F) {
	f.Add("WyIxOSJd")
	f.Add("WyJhIiwiYiJd")
	f.Fuzz(func(t *testing.T, cursor string) {
		key, err := api.Cursored{Limit: 1, Cursor: cursor}.After(2)
		if err != nil || key == nil {
			return
		}
		// What was read is what would be given out again.
		list := api.NewList(api.Cursored{Limit: 1}, make([]int, 2), func(int) []string { return key })
		again, err := api.Cursored{Limit: 1, Cursor: *list.Pagination.NextCursor}.After(2)
		if err != nil || fmt.Sprint(again) != fmt.Sprint(key) {
			t.Errorf("%q reads back as %q, %v", key, again, err)
		}
	})
}
