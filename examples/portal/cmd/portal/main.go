// Command portal serves the sample customer portal.
package main

import (
	_ "embed"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/keyward/keyward/examples/portal"
)

//go:embed accounts.json
var sampleAccounts []byte

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "portal:", err)
		os.Exit(1)
	}
}

func run() error {
	addr := flag.String("addr", "127.0.0.1:9080", "`address` to listen on; port 0 takes a free one")
	file := flag.String("accounts", "", "JSON `file` with the accounts: [{\"user\",\"password\",\"totp\"}] (default: one sample account)")
	lifetime := flag.Duration("session-lifetime", 8*time.Hour, "how long a session lasts")
	code := flag.String("code", "", "print the current one-time code of this `user` and end")
	flag.Parse()

	accounts, err := readAccounts(*file)
	if err != nil {
		return err
	}
	if *code != "" {
		return printCode(accounts, *code)
	}
	site, err := portal.New(accounts...)
	if err != nil {
		return err
	}
	site.SessionLifetime = *lifetime
	listener, err := net.Listen("tcp", *addr)
	if err != nil {
		return err
	}
	if *file == "" {
		fmt.Println("the sample account:", accounts[0].User, "/", accounts[0].Password, "/ code: --code", accounts[0].User)
	}
	fmt.Printf("listening on http://%s\n", listener.Addr())

	server := &http.Server{Handler: site, ReadTimeout: 30 * time.Second, WriteTimeout: 30 * time.Second}
	return server.Serve(listener)
}

func readAccounts(file string) (accounts []portal.Account, err error) {
	text := sampleAccounts
	if file != "" {
		if text, err = os.ReadFile(file); err != nil {
			return nil, err
		}
	}
	if err := json.Unmarshal(text, &accounts); err != nil {
		return nil, errors.New("the accounts are not a JSON list of user, password and totp")
	}
	return accounts, nil
}

func printCode(accounts []portal.Account, user string) error {
	for _, a := range accounts {
		if a.User == user {
			code, err := portal.Code(a.TOTP, time.Now())
			if err != nil {
				return err
			}
			fmt.Println(code)
			return nil
		}
	}
	return errors.New("there is no account with this user name")
}
