package api

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/keyward/keyward/internal/access"
)

func TestABodyThatDoesNotArriveInTimeIsGivenUp(t *testing.T) {
	a := New(Config{Log: slog.New(slog.DiscardHandler)})
	a.bodyTime = 50 * time.Millisecond
	outlived := make(chan error, 1)
	Register(a, Operation{Method: "POST", Path: "/x", Name: "x", Summary: "x", Tag: "x", Security: Public},
		func(ctx context.Context, _ access.Caller, in *struct{ Body sample }) (Nothing, error) {
			// The time for the body must not be the time for the work.
			select {
			case <-ctx.Done():
				outlived <- ctx.Err()
			case <-time.After(4 * a.bodyTime):
				outlived <- nil
			}
			return Nothing{}, nil
		})
	server := httptest.NewServer(a)
	defer server.Close()

	send := func(request string) string {
		conn, err := net.Dial("tcp", server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if err := conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, request); err != nil {
			t.Fatal(err)
		}
		answer := make([]byte, 512)
		n, err := conn.Read(answer)
		if err != nil {
			t.Fatal(err)
		}
		return string(answer[:n])
	}
	const head = "POST /x HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 12\r\n\r\n"
	if got := send(head + `{"name":`); !strings.HasPrefix(got, "HTTP/1.1 400 ") {
		t.Errorf("a body that stops: %s", got)
	}
	// Nobody reads the body of a request that is refused before.
	if got := send(strings.Replace(head, "/x", "/y", 1) + `{"name":`); !strings.HasPrefix(got, "HTTP/1.1 404 ") {
		t.Errorf("a body that stops and is not read: %s", got)
	}
	if got := send(head + `{"name":"a"}`); !strings.HasPrefix(got, "HTTP/1.1 204 ") {
		t.Errorf("a body that arrives: %s", got)
	}
	if err := <-outlived; err != nil {
		t.Errorf("the work was ended with the time for the body: %v", err)
	}
}
