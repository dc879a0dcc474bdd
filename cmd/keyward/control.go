package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"

	"github.com/keyward/keyward/client"
	"github.com/keyward/keyward/internal/folder"
	"github.com/keyward/keyward/internal/serve"
)

// control talks to the server that uses a data folder, through its control
// socket: as the operator, without a password.
type control struct{ http http.Client }

func dialControl(data string) *control {
	return &control{http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return folder.DialControl(ctx, data) },
	}}}
}

// call sends in, if it is not nil, and reads the answer into out.
func (c *control) call(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		text, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(text)
	}
	r, err := c.send(ctx, method, path, body)
	if err != nil {
		return err
	}
	defer r.Body.Close()
	if r.StatusCode >= 300 {
		var failed struct{ Error client.Error }
		if err := json.NewDecoder(r.Body).Decode(&failed); err != nil || failed.Error.Message == "" {
			return fmt.Errorf("the server answered %s", r.Status)
		}
		return errors.New(failed.Error.Message)
	}
	return json.NewDecoder(r.Body).Decode(out)
}

// follow calls something that takes its time, and prints each line of its report
// to w as it comes.
func (c *control) follow(ctx context.Context, method, path string, w io.Writer) error {
	r, err := c.send(ctx, method, path, nil)
	if err != nil {
		return err
	}
	defer r.Body.Close()
	for lines := bufio.NewScanner(r.Body); lines.Scan(); {
		var step serve.Step
		if err := json.Unmarshal(lines.Bytes(), &step); err != nil {
			return fmt.Errorf("the server answered %s, and not a report", r.Status)
		}
		switch {
		case step.Error != "":
			return errors.New(step.Error)
		case step.Done:
			return nil
		}
		fmt.Fprintln(w, step.Line)
	}
	return errors.New("the server ended before it was done; call it again to go on")
}

func (c *control) send(ctx context.Context, method, path string, body io.Reader) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, method, "http://control"+path, body)
	if err != nil {
		return nil, err
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	answer, err := c.http.Do(r)
	if cause := errors.Unwrap(err); cause != nil {
		return nil, cause // without the made-up address
	}
	return answer, err
}
