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
	"time"
)

// loaded is what came of a load.
type loaded struct {
	took     time.Duration
	statuses map[int]int // how many answers had which status
}

func (l loaded) perSecond(n int) float64 { return float64(n) / l.took.Seconds() }

// load sends requests number 0 up to before n from 16 connections, each of which
// waits for its answer. It is for what is asked once, which wrk can't. Append
// appends the request of a number.
func load(address string, n int, appendRequest func(to []byte, n int) []byte) (loaded, error) {
	var next atomic.Int64
	var wg sync.WaitGroup
	errs := make([]error, connections)
	statuses := make([]map[int]int, connections)
	began := time.Now()
	for i := range connections {
		statuses[i] = map[int]int{}
		wg.Go(func() { errs[i] = loadOne(address, &next, n, appendRequest, statuses[i]) })
	}
	wg.Wait()
	out := loaded{took: time.Since(began), statuses: map[int]int{}}
	for _, some := range statuses {
		for status, count := range some {
			out.statuses[status] += count
		}
	}
	return out, errors.Join(errs...)
}

func loadOne(address string, next *atomic.Int64, n int, appendRequest func([]byte, int) []byte, statuses map[int]int) error {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	answers := bufio.NewReader(conn)
	var request []byte
	for {
		number := int(next.Add(1) - 1)
		if number >= n {
			return nil
		}
		request = appendRequest(request[:0], number)
		if _, err := conn.Write(request); err != nil {
			return err
		}
		status, err := readAnswer(answers)
		if err != nil {
			return fmt.Errorf("answer %d: %w", number, err)
		}
		statuses[status]++
	}
}

// readAnswer reads an answer and returns its status. It costs less than
// http.ReadResponse does: it shares the machine with the server.
func readAnswer(from *bufio.Reader) (status int, err error) {
	length := 0
	for {
		line, err := from.ReadSlice('\n')
		if err != nil {
			return 0, err
		}
		line = bytes.TrimSpace(line)
		switch name, value, _ := bytes.Cut(line, []byte(":")); {
		case len(line) == 0:
			if _, err := io.CopyN(io.Discard, from, int64(length)); err != nil {
				return 0, err
			}
			return status, nil
		case status == 0:
			if len(line) < len("HTTP/1.1 200") {
				return 0, errors.New("no status")
			}
			if status, err = strconv.Atoi(string(line[9:12])); err != nil {
				return 0, err
			}
		case bytes.EqualFold(name, []byte("Content-Length")):
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return 0, err
			}
		}
	}
}

// gatewayRequest appends a gateway's request about a key.
func (f *seeded) gatewayRequest(to []byte, key string, from string) []byte {
	to = append(to, "GET /v1/verify?organization="...)
	to = append(to, f.organization...)
	to = append(to, " HTTP/1.1\r\nHost: keyward\r\nAuthorization: Bearer "...)
	to = append(to, key...)
	if from != "" {
		to = append(to, "\r\nX-Forwarded-For: "...)
		to = append(to, from...)
	}
	return append(to, "\r\n\r\n"...)
}

// askOnce asks about keys that are known, each once.
func (f *seeded) askOnce(address string, keys [][]byte) (loaded, error) {
	l, err := load(address, len(keys), func(to []byte, n int) []byte { return f.gatewayRequest(to, string(keys[n]), "") })
	if err == nil && l.statuses[200] != len(keys) {
		err = fmt.Errorf("known keys were answered %v", l.statuses)
	}
	return l, err
}
