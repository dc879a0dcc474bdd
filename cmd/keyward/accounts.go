package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/keyward/keyward/client"
	"github.com/keyward/keyward/internal/terminal"
)

const defaultData = "./keyward-data"

// dataFlag adds the flag that names the data folder of the server to talk to.
func dataFlag(c *cobra.Command, data *string) {
	fallback := defaultData
	if v := os.Getenv("KEYWARD_DATA"); v != "" {
		fallback = v
	}
	c.Flags().StringVar(data, "data", fallback, "the server's data folder (KEYWARD_DATA)")
}

func accountsCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "accounts",
		Short: "Make and list accounts, as the operator on the server's own machine",
		Long: `Make and list accounts. The commands talk to the running server through the
control socket in its data folder, so they need no password, and work on the
server's own machine alone.`,
		Example: "  keyward accounts create --name Jane --email jane@example.com",
	}
	c.AddCommand(createAccountCommand(), listAccountsCommand())
	return c
}

func createAccountCommand() *cobra.Command {
	var data string
	var asJSON bool
	var in client.CreateAccount
	c := &cobra.Command{
		Use:   "create",
		Short: "Make an account, also where sign-up is closed",
		Long: `Make an account. The password is read from the terminal without being shown, or
from standard input if that is no terminal: one line. It is never an argument,
which other users of the machine could see.`,
		Example: `  keyward accounts create --name Jane --email jane@example.com
  printf '%s\n' "$PASSWORD" | keyward accounts create --name Jane --email jane@example.com`,
		RunE: func(c *cobra.Command, _ []string) (err error) {
			for _, flag := range []string{"name", "email"} {
				if !c.Flags().Changed(flag) {
					return usageError{c.CommandPath(), fmt.Errorf("--%s is missing", flag)}
				}
			}
			if in.Password, err = readPassword(c.InOrStdin(), c.ErrOrStderr()); err != nil {
				return err
			}
			var made client.Account
			if err := dialControl(data).call(c.Context(), http.MethodPost, "/v1/accounts", in, &made); err != nil {
				return err
			}
			if asJSON {
				return printJSON(c.OutOrStdout(), made)
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), "made account %s for %s\n", made.ID, made.Email)
			return err
		},
	}
	dataFlag(c, &data)
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.Flags().StringVar(&in.Name, "name", "", "the person's name")
	c.Flags().StringVar(&in.Email, "email", "", "the e-mail to sign in with")
	return c
}

func readPassword(in io.Reader, prompt io.Writer) (string, error) {
	if f, ok := in.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		fmt.Fprint(prompt, "Password: ")
		text, err := term.ReadPassword(int(f.Fd()))
		fmt.Fprintln(prompt)
		return string(text), err
	}
	line, err := bufio.NewReader(io.LimitReader(in, 4096)).ReadString('\n')
	line = strings.TrimRight(line, "\r\n")
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	if line == "" {
		return "", errors.New("no password on standard input: give it as one line")
	}
	return line, nil
}

func listAccountsCommand() *cobra.Command {
	var data string
	var asJSON bool
	c := &cobra.Command{
		Use:     "list",
		Short:   "List the accounts of the server, newest first",
		Example: "  keyward accounts list",
		RunE: func(c *cobra.Command, _ []string) error {
			server, next := dialControl(data), ""
			all := []client.Account{}
			for {
				var page client.List[client.Account]
				if err := server.call(c.Context(), http.MethodGet, "/v1/accounts?limit=100"+next, nil, &page); err != nil {
					return err
				}
				for _, a := range page.Data {
					if asJSON {
						all = append(all, a)
						continue
					}
					fmt.Fprintf(c.OutOrStdout(), "%s  %s  %s  %s\n", a.ID, a.CreatedAt, terminal.Line(a.Email), terminal.Line(a.Name))
				}
				if page.Pagination.NextCursor == nil && asJSON {
					return printJSON(c.OutOrStdout(), all)
				} else if page.Pagination.NextCursor == nil {
					return nil
				}
				next = "&cursor=" + *page.Pagination.NextCursor
			}
		},
	}
	dataFlag(c, &data)
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}
