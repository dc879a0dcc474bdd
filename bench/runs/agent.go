package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
)

// agent is a web service that answers a run at once, or holds all runs until it
// is let go. Like the clients it costs as little as it can: it shares the machine
// with the server that is measured.
type agent struct {
	listener net.Listener
	runs     atomic.Int64

	mu   sync.Mutex
	held chan struct{} // closed when runs are answered
}

const said = `{"output":{"order":"A-1000","ok":true}}`

var agentAnswer = fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(said), said)

func newAgent() (*agent, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	a := &agent{listener: l, held: make(chan struct{})}
	close(a.held)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go a.serve(conn)
		}
	}()
	return a, nil
}

func (a *agent) serve(conn net.Conn) {
	defer conn.Close()
	requests := bufio.NewReader(conn)
	for {
		if _, _, err := readMessage(requests, nil); err != nil {
			return
		}
		a.mu.Lock()
		held := a.held
		a.mu.Unlock()
		<-held
		a.runs.Add(1)
		if _, err := io.WriteString(conn, agentAnswer); err != nil {
			return
		}
	}
}

// hold makes the runs that come from now on wait until the returned function is
// called.
func (a *agent) hold() (letGo func()) {
	held := make(chan struct{})
	a.mu.Lock()
	defer a.mu.Unlock()
	a.held = held
	return sync.OnceFunc(func() { close(held) })
}

func (a *agent) address() string { return a.listener.Addr().String() }

func (a *agent) close() error { return a.listener.Close() }

// connection is one client's, to Keyward or to the agent.
type connection struct {
	conn    net.Conn
	answers *bufio.Reader
	body    []byte // of the last answer
}

func dial(address string) (*connection, error) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	return &connection{conn: conn, answers: bufio.NewReader(conn)}, nil
}

// do sends a request and reads the answer, which has to be 200 with want in it.
func (c *connection) do(request, want []byte) (err error) {
	if _, err := c.conn.Write(request); err != nil {
		return err
	}
	var first []byte
	if first, c.body, err = readMessage(c.answers, c.body); err != nil {
		return err
	}
	if !bytes.HasPrefix(first, []byte("HTTP/1.1 200 ")) || !bytes.Contains(c.body, want) {
		return fmt.Errorf("%s: %s", first, c.body)
	}
	return nil
}

// post returns a request.
func post(address, path, body string) []byte {
	return fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", path, address, len(body), body)
}

// readMessage reads a request or an answer: its first line, and its body, for
// which it uses the memory of the last one.
func readMessage(from *bufio.Reader, body []byte) (first, _ []byte, err error) {
	length := -1
	for {
		line, err := from.ReadSlice('\n')
		if err != nil {
			return nil, body, err
		}
		line = bytes.TrimRight(line, "\r\n")
		if first == nil {
			first = bytes.Clone(line)
			continue
		}
		if len(line) == 0 {
			break
		}
		if name, value, _ := bytes.Cut(line, []byte(":")); bytes.EqualFold(name, []byte("Content-Length")) {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return nil, body, err
			}
		}
	}
	if length < 0 {
		return nil, body, errors.New("a message without Content-Length")
	}
	body = append(body[:0], make([]byte, length)...)
	_, err = io.ReadFull(from, body)
	return first, body, err
}
