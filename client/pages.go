package client

import (
	"context"
	"fmt"
	"iter"
	"net/url"
	"strconv"
	"time"
)

// Page says which page of a list to get. The zero Page is the first one, of 20
// entries.
//
// A walk through a whole list begins at that page and goes on to the last one,
// with Limit entries in each request, 100 if it is 0.
type Page struct {
	Limit  int    // the most entries, up to 100
	Cursor string // Pagination.NextCursor of the page before
	Number int    // instead of Cursor, from 1: of keys and agents alone
}

func (p Page) query() url.Values {
	q := url.Values{}
	set(q, "limit", p.Limit)
	set(q, "cursor", p.Cursor)
	set(q, "page", p.Number)
	return q
}

// set adds a parameter, unless it is its type's zero.
func set[T comparable](q url.Values, name string, value T) {
	if value != *new(T) {
		q.Set(name, fmt.Sprint(value))
	}
}

func setTime(q url.Values, name string, t time.Time) { set(q, name, NewTime(t).String()) }

// walk returns all entries of a list from page first on. Get returns a page, and
// what is on it.
func walk[T any](first Page, get func(Page) ([]T, Pagination, error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		at := first
		if at.Limit == 0 {
			at.Limit = 100
		}
		for {
			entries, p, err := get(at)
			if err != nil {
				yield(*new(T), err)
				return
			}
			for _, e := range entries {
				if !yield(e, nil) {
					return
				}
			}
			switch next := p.NextCursor; {
			case next != nil && *next == at.Cursor && *next != "":
				// It would go on like this for ever.
				yield(*new(T), &failure{kind: ErrNotKeyward, text: "keyward: a page of the list has itself as the next one"})
				return
			case next != nil && *next != "":
				at = Page{Limit: at.Limit, Cursor: *next}
			case p.Page != nil && p.Pages != nil && at.Number > 0 && at.Number < *p.Pages:
				at.Number++
			default:
				return
			}
		}
	}
}

// walkList is walk for lists of which a page is a List.
func walkList[T any](ctx context.Context, c *Client, o *operation, path []string, q url.Values, first Page) iter.Seq2[T, error] {
	return walk(first, func(p Page) ([]T, Pagination, error) {
		l, err := list[T](ctx, c, o, path, q, p)
		return l.Data, l.Pagination, err
	})
}

func list[T any](ctx context.Context, c *Client, o *operation, path []string, q url.Values, p Page) (List[T], error) {
	all := p.query()
	for name, values := range q {
		all[name] = values
	}
	return call[List[T]](ctx, c, o, request{path: path, query: all})
}

func number(id int64) []string { return []string{strconv.FormatInt(id, 10)} }
