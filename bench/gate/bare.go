package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/keyward/keyward/bench/lab"
)

// bareHandler is the first argument by which this program is what Keyward is
// compared with. The second is a file with the answers that it gives.
const bareHandler = "serve-bare"

// answer is what Keyward answered once.
type answer struct {
	Path    string
	Status  int
	Headers []header
	Body    []byte
}

type header struct {
	Name   string
	Values []string
}

// serveBare answers as fast as net/http can: what it says and how is known
// before anybody asks. /empty has an empty handler.
func serveBare(file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var answers []answer
	if err := json.Unmarshal(text, &answers); err != nil {
		return err
	}
	byPath := map[string]answer{"/empty": {}}
	for _, a := range answers {
		byPath[a.Path] = a
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if a := byPath[r.URL.Path]; a.Path != "" {
			a.ServeHTTP(w, r)
		}
	})}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	go func() {
		<-stop
		server.Close()
	}()
	fmt.Printf("listening on http://%s\n", l.Addr())
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func (a answer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength != 0 {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			return
		}
	}
	h := w.Header()
	for i := range a.Headers {
		h[a.Headers[i].Name] = a.Headers[i].Values
	}
	w.WriteHeader(a.Status)
	if len(a.Body) > 0 {
		_, _ = w.Write(a.Body)
	}
}

// startBare starts the bare handlers that answer as the server at address does.
func (b *bench) startBare(address string, asks []ask, key []byte) (*lab.Server, error) {
	var answers []answer
	for _, k := range asks {
		a, err := k.once(address, key)
		if err != nil {
			return nil, err
		}
		answers = append(answers, a)
	}
	text, err := json.Marshal(answers)
	if err != nil {
		return nil, err
	}
	file := filepath.Join(b.dir, "answers")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return nil, err
	}
	return lab.Start(b.self, bareHandler, file)
}

// once asks about a key and returns the answer, which must be a good one with
// everything in it that costs something.
func (k ask) once(address string, key []byte) (answer, error) {
	req, err := k.request(address, key)
	if err != nil {
		return answer{}, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return answer{}, err
	}
	if res.StatusCode != http.StatusOK {
		return answer{}, fmt.Errorf("%s: %s: %s", req.URL.Path, res.Status, body)
	}
	if k.limited != nil && !k.limited(res.Header, body) {
		return answer{}, fmt.Errorf("%s: the answer tells of no limit: %v %s", req.URL.Path, res.Header, body)
	}
	a := answer{Path: req.URL.Path, Status: res.StatusCode, Body: body}
	for name, values := range res.Header {
		if name != "Date" { // net/http writes it
			a.Headers = append(a.Headers, header{name, values})
		}
	}
	slices.SortFunc(a.Headers, func(x, y header) int { return slices.Compare([]string{x.Name}, []string{y.Name}) })
	return a, nil
}
