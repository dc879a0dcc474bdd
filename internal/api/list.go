package api

import (
	"encoding/base64"

	"github.com/go-json-experiment/json"

	"github.com/keyward/keyward/client"
	"github.com/keyward/keyward/internal/fault"
)

// ErrCursor says that a cursor is not one that a list gave out.
var ErrCursor = fault.Field("cursor", "is not a next_cursor of this list")

var errPageAndCursor = fault.Field("page", "can't be sent together with cursor")

// Cursored is the query of a list. An input embeds it.
type Cursored struct {
	Limit  int    `query:"limit" minimum:"1" maximum:"100" default:"20" doc:"The most entries to answer with"`
	Cursor string `query:"cursor" maxLength:"1024" doc:"The next_cursor of the page before"`
}

// Paged is the query of a list that can also be asked for by page. An input
// embeds it.
type Paged struct {
	Cursored
	Page int `query:"page" minimum:"1" maximum:"1000000" doc:"The number of the page, from 1; not together with cursor"`
}

// After returns the sort key that the list goes on after, n texts as they were
// given to [NewList], or nil if it starts at the beginning. The surface still
// has to read them: a cursor can be made up.
func (q Cursored) After(n int) ([]string, error) {
	if q.Cursor == "" {
		return nil, nil
	}
	var key []string
	text, err := base64.RawURLEncoding.Strict().DecodeString(q.Cursor)
	if err != nil || json.Unmarshal(text, &key) != nil || len(key) != n {
		return nil, ErrCursor
	}
	for _, part := range key {
		if !cleanText(part) {
			return nil, ErrCursor
		}
	}
	return key, nil
}

// Offset returns how many entries stand before the page that was asked for,
// and whether one was asked for by its number at all.
func (q Paged) Offset() (offset int, paged bool, err error) {
	if q.Page == 0 {
		return 0, false, nil
	}
	if q.Cursor != "" {
		return 0, false, errPageAndCursor
	}
	return (q.Page - 1) * q.Limit, true, nil
}

// NewList returns the answer to q. Found are the entries that follow, read with
// a limit of q.Limit+1 so that it shows whether there are more; key is the sort
// key of an entry, which After returns to the next request.
func NewList[T any](q Cursored, found []T, key func(T) []string) client.List[T] {
	list := client.List[T]{Data: found, Pagination: client.Pagination{Limit: q.Limit}}
	if len(found) > q.Limit {
		list.Data = found[:q.Limit]
		text, err := json.Marshal(key(list.Data[q.Limit-1]))
		if err != nil {
			panic("api: a sort key is not valid UTF-8")
		}
		next := base64.RawURLEncoding.EncodeToString(text)
		list.Pagination.NextCursor = &next
	}
	return list
}

// NewPage is NewList for q that was asked for by its number, in a list that has
// total entries.
func NewPage[T any](q Paged, found []T, key func(T) []string, total int) client.List[T] {
	list := NewList(q.Cursored, found, key)
	pages := (total + q.Limit - 1) / q.Limit
	list.Pagination.Page, list.Pagination.Total, list.Pagination.Pages = &q.Page, &total, &pages
	return list
}
