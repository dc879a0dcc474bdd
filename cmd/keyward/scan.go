package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/keyward/keyward/client"
	"github.com/keyward/keyward/internal/scan"
	"github.com/keyward/keyward/internal/terminal"
)

func scanCommand() *cobra.Command {
	var revoke bool
	return remoteCommand(page{
		use: "scan PATH…", short: "Find API keys and auth tokens in files",
		long: `Find Keyward's API keys and auth tokens (kwt1…) in files and folders, by their form
and their checksum. It works offline, and with binary files and files of any size;
links in folders are not followed. - is standard input. It prints file, line and
column of each find and never the whole of it.

The exit code is 1 if anything was found, or could not be read.

--revoke sends the API keys that were found to the server, which ends its own: whoever
holds a key may end it, where he may use it. One that is disabled, needs signatures or
other addresses says so: keyward keys revoke ends it. A key that is kept here for
another server is not sent. An auth token alone can't be ended: rotate it, or delete
its profile.`,
		example: `  keyward scan .
  git diff --cached | keyward scan -
  keyward scan --json --revoke /srv/app`,
	}, cobra.MinimumNArgs(1), func(c *cobra.Command) {
		asksFirst(c)
		c.Flags().BoolVar(&revoke, "revoke", false, "end the keys that were found")
		c.ValidArgsFunction = nil // files, as a shell has them
	}, func(ctx context.Context, r *remote, args []string) error {
		var paths []string
		for _, path := range args {
			if path != "-" {
				paths = append(paths, path)
			}
		}
		found, err := scan.Paths(ctx, paths)
		if err != nil {
			return err
		}
		if len(paths) < len(args) {
			found.Read(ctx, "-", r.Typed())
		}
		ended := map[string]string{}
		var failed error
		if revoke {
			ended, failed = r.end(ctx, found)
		}
		if err := r.showFinds(found, ended); err != nil {
			return err
		}
		switch {
		case failed != nil:
			return failed
		case r.json && (len(found.Finds) > 0 || len(found.Unread) > 0):
			return told{errors.New("found")}
		case len(found.Finds) > 0 && revoke:
			return fmt.Errorf("found %d in %d files", len(found.Finds), found.Files)
		case len(found.Finds) > 0:
			return advise(fmt.Errorf("found %d in %d files", len(found.Finds), found.Files), "They must be taken for known: --revoke ends the keys, keyward keys rotate replaces one.")
		case len(found.Unread) > 0:
			return fmt.Errorf("%d of what was to be scanned could not be read", len(found.Unread))
		}
		r.Say("Found nothing in %d files.", found.Files)
		return nil
	})
}

// showFinds prints what was found. Ended says of keys what became of them.
func (r *remote) showFinds(found scan.Report, ended map[string]string) error {
	if r.json {
		type find struct {
			scan.Find
			Ended string `json:"ended,omitzero"`
		}
		finds := []find{}
		for _, f := range found.Finds {
			finds = append(finds, find{f, ended[f.Secret.Reveal()]})
		}
		return r.print(map[string]any{"finds": finds, "unread": found.Unread, "files": found.Files})
	}
	for _, f := range found.Finds {
		what := "API key "
		if f.Kind == scan.AuthToken {
			what = "auth token "
		}
		line := fmt.Sprintf("%s:%d:%d: %s%s", terminal.Line(f.File), f.Line, f.Column, what, f.Hint)
		if became := ended[f.Secret.Reveal()]; became != "" {
			line += " (" + terminal.Line(became) + ")"
		}
		fmt.Fprintln(r.Out, line)
	}
	for _, u := range found.Unread {
		r.Say("%s: not read: %s", terminal.Line(u.File), u.Reason)
	}
	return nil
}

// end ends the keys that were found, and says of each what became of it.
func (r *remote) end(ctx context.Context, found scan.Report) (map[string]string, error) {
	ended := map[string]string{}
	var keys []string
	for _, f := range found.Finds {
		key := f.Secret.Reveal()
		if f.Kind == scan.APIKey && !slices.Contains(keys, key) {
			keys = append(keys, key)
		}
	}
	if len(keys) == 0 {
		return ended, nil
	}
	address, err := r.where()
	if err != nil {
		return ended, err
	}
	elsewhere := r.keptFor(address)
	keys = slices.DeleteFunc(keys, func(key string) bool {
		of, is := elsewhere[key]
		if is {
			ended[key] = "not sent: it is kept for " + of
		}
		return is
	})
	if len(keys) == 0 {
		return ended, nil
	}
	if err := r.sure(ctx, "End %d API keys at %s, wherever they are used? It can't be undone.", len(keys), address); err != nil {
		return ended, err
	}
	var failed error
	for _, key := range keys {
		c, err := r.nobody(client.WithAPIKey(key))
		if err != nil {
			return ended, err
		}
		switch err := c.Keys.RevokeSelf(ctx); {
		case err == nil:
			ended[key] = "revoked now"
		case errors.Is(err, client.ErrRevokedAPIKey):
			ended[key] = "revoked already"
		case errors.Is(err, client.ErrExpiredAPIKey):
			ended[key] = "expired"
		case errors.Is(err, client.ErrInvalidAPIKey):
			ended[key] = "no key of " + address
		default:
			ended[key] = "not revoked"
			if refused := (*client.Error)(nil); errors.As(err, &refused) {
				ended[key] += ": " + refused.Code
			}
			failed = fmt.Errorf("%s could not be revoked: %w", masked(key), err)
		}
	}
	return ended, failed
}

// keptFor returns the keys that are kept for other servers than the one at an
// address, and for which.
func (r *remote) keptFor(address string) map[string]string {
	others := map[string]string{}
	settings, _ := r.home.Config()
	for _, s := range settings.Servers {
		// What can't be read can't be told from others' keys either.
		if kept, _, err := r.home.Credential(s.Address); err == nil && s.Address != address && kept.APIKey != "" {
			others[kept.APIKey] = s.Address
		}
	}
	if here, _, err := r.home.Credential(address); err == nil {
		delete(others, here.APIKey)
	}
	return others
}
