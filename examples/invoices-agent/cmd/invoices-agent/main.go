// Command invoices-agent runs the sample agent, as a web service or, with
// --stdin, as a program for one run.
package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	invoices "github.com/keyward/keyward/examples/invoices-agent"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "invoices-agent:", err)
		os.Exit(1)
	}
}

func run() error {
	portal := flag.String("portal", "http://127.0.0.1:9080", "`address` of the portal, where the credentials go")
	addr := flag.String("addr", "127.0.0.1:9000", "`address` to listen on; port 0 takes a free one")
	file := flag.String("secret-file", "", "`file` with the runner secret (default: the environment's KEYWARD_RUNNER_SECRET)")
	stdin := flag.Bool("stdin", false, "read one run from standard input, print its answer, and end")
	flag.Parse()

	secret, err := runnerSecret(*file)
	if err != nil {
		return err
	}
	agent, err := invoices.New(*portal, secret)
	if err != nil {
		return err
	}
	agent.Log = os.Stderr
	if *stdin {
		return agent.RunOnce(context.Background(), os.Stdin, os.Stdout)
	}
	listener, err := net.Listen("tcp", *addr)
	if err != nil {
		return err
	}
	if secret == "" {
		fmt.Println("no runner secret: whoever reaches this address can run the agent")
	}
	fmt.Printf("listening on http://%s\n", listener.Addr())
	server := &http.Server{Handler: agent, ReadTimeout: 30 * time.Second}
	return server.Serve(listener)
}

func runnerSecret(file string) (string, error) {
	if file == "" {
		return os.Getenv("KEYWARD_RUNNER_SECRET"), nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	if secret := strings.TrimSpace(string(text)); secret != "" {
		return secret, nil
	}
	return "", fmt.Errorf("%s is empty", file) // never taken for "no secret wanted"
}
