// Package scan finds API keys and auth tokens where they should not be, by their
// form and their checksum. It asks nobody, so it says nothing of whether they are
// still good.
//
// Its laws:
//   - What it reads it holds a piece at a time, however large a file or a line is.
//   - What it finds has the right checksum: chance does not, once in four thousand
//     million.
//   - It follows no link out of a folder, so no folder is walked twice.
//   - What can't be read is said, and is not clean.
package scan

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/keyward/keyward/internal/apikey"
	"github.com/keyward/keyward/internal/seal"
)

// Kind is what was found.
type Kind string

// The kinds.
const (
	APIKey    Kind = "api_key"
	AuthToken Kind = "auth_token"
)

const (
	tailOfKey   = 38 // after _live_ or _temp_
	mostPrefix  = 10 // before it
	lengthToken = 60

	piece = 256 << 10
	// overlap is kept of the piece before: anything that can be found fits in it,
	// also with a zero after each byte.
	overlap = 256
)

// Find is something that was found.
type Find struct {
	File   string `json:"file"`
	Line   int64  `json:"line"`   // from 1
	Column int64  `json:"column"` // from 1, in bytes
	Kind   Kind   `json:"kind"`
	Hint   string `json:"hint"` // what may be shown of it

	Secret seal.Secret `json:"-"`
}

// Unread is what could not be read.
type Unread struct {
	File   string `json:"file"`
	Reason string `json:"reason"`
}

// Report is what a scan came to.
type Report struct {
	Finds  []Find   `json:"finds"`
	Unread []Unread `json:"unread"`
	Files  int      `json:"files"` // that were read

	buffer []byte // of the file that is read
}

// Paths scans files and folders, with all that is in these. A path that is a link
// is followed, one in a folder is not: what it leads to is elsewhere. It ends early
// only with ctx.
func Paths(ctx context.Context, paths []string) (Report, error) {
	r := Report{Finds: []Find{}, Unread: []Unread{}}
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			r.unread(path, err)
			continue
		}
		if !info.IsDir() {
			// Somebody named it, so a pipe is read as well.
			r.file(ctx, path)
			continue
		}
		root := path
		if real, err := filepath.EvalSymlinks(path); err == nil {
			root = real
		}
		err = filepath.WalkDir(root, func(at string, d fs.DirEntry, err error) error {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			shown := at
			if within, err := filepath.Rel(root, at); err == nil {
				shown = filepath.Join(path, within)
			}
			switch {
			case err != nil:
				r.unread(shown, err)
			case d.Type().IsRegular():
				r.file(ctx, shown)
			}
			return nil
		})
		if err != nil {
			return r, err
		}
	}
	return r, ctx.Err()
}

func (r *Report) file(ctx context.Context, path string) {
	f, err := os.Open(path)
	if err != nil {
		r.unread(path, err)
		return
	}
	defer f.Close()
	r.Read(ctx, path, f)
}

// Read scans what comes from a reader.
func (r *Report) Read(ctx context.Context, name string, from io.Reader) {
	r.Files++
	if r.buffer == nil {
		r.buffer = make([]byte, 0, piece+overlap)
	}
	err := find(ctx, from, r.buffer, func(f Find) {
		f.File = name
		r.Finds = append(r.Finds, f)
	})
	if err != nil {
		r.unread(name, err)
	}
}

func (r *Report) unread(path string, err error) {
	if inside := (*fs.PathError)(nil); errors.As(err, &inside) {
		err = inside.Err
	}
	r.Unread = append(r.Unread, Unread{path, err.Error()})
}

// find tells all that is in from, which it reads into the buffer.
func find(ctx context.Context, from io.Reader, buffer []byte, tell func(Find)) error {
	var lines, lineStart, start int64 // line feeds before buffer, where the last line begins, and where buffer does
	var told int64                    // where the last find ended
	for {
		n, err := io.ReadFull(from, buffer[len(buffer):cap(buffer)])
		buffer = buffer[:len(buffer)+n]
		last := err != nil
		if last && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return err
		}
		done, line, begun := 0, lines, lineStart
		for _, h := range within(buffer) {
			at := start + int64(h.at)
			if at < told {
				continue // it was told with the piece before
			}
			told = start + int64(h.end)
			if n := bytes.Count(buffer[done:h.at], []byte{'\n'}); n > 0 {
				line += int64(n)
				begun = start + int64(done+bytes.LastIndexByte(buffer[done:h.at], '\n')) + 1
			}
			done = h.at
			tell(Find{Line: line + 1, Column: at - begun + 1, Kind: h.kind, Hint: hint(h.kind, h.text), Secret: seal.NewSecret([]byte(h.text))})
		}
		if last {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		gone := len(buffer) - overlap
		if n := bytes.Count(buffer[:gone], []byte{'\n'}); n > 0 {
			lines += int64(n)
			lineStart = start + int64(bytes.LastIndexByte(buffer[:gone], '\n')) + 1
		}
		start += int64(gone)
		buffer = buffer[:copy(buffer, buffer[gone:])]
	}
}

// hit is a find in a piece.
type hit struct {
	at, end int
	kind    Kind
	text    string
}

// within returns the finds in a piece, in their order. A text of two bytes a
// character, as some programs write on Windows, is read too.
func within(b []byte) []hit {
	hits := plain(b)
	if !slices.ContainsFunc(wide, func(begins []byte) bool { return bytes.Contains(b, begins) }) {
		return hits // as nearly all that has zeros
	}
	var narrow []byte
	var from []int // where each byte of narrow is in b
	for i, c := range b {
		if c != 0 {
			narrow, from = append(narrow, c), append(from, i)
		}
	}
	for _, h := range plain(narrow) {
		at, end := from[h.at], from[h.end-1]+1
		if end-at > h.end-h.at {
			hits = append(hits, hit{at, end, h.kind, h.text})
		}
	}
	sortByPlace(hits)
	return hits
}

func sortByPlace(hits []hit) {
	slices.SortFunc(hits, func(a, b hit) int { return a.at - b.at })
}

var (
	live  = []byte("_live_")
	temp  = []byte("_temp_")
	token = []byte("kwt1")

	// wide is how each of them begins with two bytes a character.
	wide = [][]byte{[]byte("_\x00l\x00i\x00v\x00e"), []byte("_\x00t\x00e\x00m\x00p"), []byte("k\x00w\x00t\x001")}
)

func plain(b []byte) (hits []hit) {
	for _, middle := range [][]byte{live, temp} {
		for i := 0; ; {
			n := bytes.Index(b[i:], middle)
			if n < 0 {
				break
			}
			at := i + n
			i = at + 1
			end := at + len(middle) + tailOfKey
			if end > len(b) {
				break
			}
			// The checksum is of the prefix too, so one length fits at most.
			for start := at - 2; start >= max(0, at-mostPrefix); start-- {
				if apikey.WellFormed(b[start:end]) {
					hits = append(hits, hit{start, end, APIKey, string(b[start:end])})
					break
				}
			}
		}
	}
	for i := 0; ; {
		n := bytes.Index(b[i:], token)
		if n < 0 {
			break
		}
		at := i + n
		i = at + 1
		if at+lengthToken > len(b) {
			break
		}
		if text := string(b[at : at+lengthToken]); wellFormed(text) {
			hits = append(hits, hit{at, at + lengthToken, AuthToken, text})
		}
	}
	sortByPlace(hits)
	return hits
}

func wellFormed(text string) bool {
	t, err := seal.ParseAuthToken(text)
	if err == nil {
		t.Clear()
	}
	return err == nil
}

// hint is what may be shown of a find: how it begins, and its last characters.
func hint(kind Kind, text string) string {
	begins := len(token)
	if kind == APIKey {
		begins = len(text) - tailOfKey
	}
	return text[:begins] + "…" + text[len(text)-4:]
}
