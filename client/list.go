package client

// List is one page of a list.
type List[T any] struct {
	Data       []T        `json:"data"`
	Pagination Pagination `json:"pagination"`
}

// Pagination says which page a List is, and where the next one starts.
type Pagination struct {
	Limit      int     `json:"limit" doc:"The most entries that this page may have"`
	NextCursor *string `json:"next_cursor" doc:"Send it as cursor to get the next page; null on the last page"`

	// These are there when a page was asked for by its number.
	Page  *int `json:"page,omitzero" nullable:"false" doc:"The number of this page, from 1"`
	Total *int `json:"total,omitzero" nullable:"false" doc:"How many entries the whole list has"`
	Pages *int `json:"pages,omitzero" nullable:"false" doc:"How many pages the whole list has"`
}
