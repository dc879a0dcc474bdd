package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/keyward/keyward/client"
)

func profilesCommand() *cobra.Command {
	return group(page{
		use: "profiles", short: "Store, change, show and delete auth profiles",
		long: `Store, change, show and delete auth profiles: the logins that agents use at run
time. A profile is named by its id or its name. No command shows a stored value, and
none takes one as an argument, which other users of the machine could see.`,
		example: `  keyward profiles create jane --agent invoices
  keyward profiles list --agent invoices`,
	}, createProfileCommand(), updateProfileCommand(), listProfilesCommand(), showProfileCommand(), deleteProfileCommand(),
		group(page{
			use: "session", short: "Delete the session that is kept of an auth profile",
			example: `  keyward profiles session delete jane`,
		}, deleteSessionCommand()),
		group(page{
			use: "token", short: "Give an auth profile a new token",
			example: `  keyward profiles token rotate --agent invoices --grace 24h`,
		}, rotateTokenCommand()))
}

const aboutValues = `The values are asked for on a terminal, those of sensitive arguments without being
shown. Or they are read from a file of names and values in JSON or YAML (--values
FILE, - for standard input), or one from a file of its own (--value-file
password=/run/secrets/password). In a pipe without either, standard input holds
them in JSON or YAML.`

func createProfileCommand() *cobra.Command {
	var agent string
	var f valueFlags
	var session, replace bool
	return remoteCommand(page{
		use: "create NAME", short: "Store an auth profile, and show its token this once",
		long: `Store an auth profile of an agent, and show the token that opens it this once: on
standard output, alone. Only who has the token can use the profile. It needs an API
key.

` + aboutValues,
		example: `  keyward profiles create jane --agent invoices
  keyward profiles create jane --agent invoices --values jane.yaml --save-session
  printf '%s' "$JSON" | keyward profiles create jane --agent invoices`,
	}, cobra.ExactArgs(1), func(c *cobra.Command) {
		asksFirst(c)
		c.Flags().StringVar(&agent, "agent", "", "the agent that it is for")
		c.Flags().BoolVar(&session, "save-session", false, "keep the session of a run for the next one")
		c.Flags().BoolVar(&replace, "replace", false, "replace the profile of that name, whose token ends")
		f.set(c)
	}, func(ctx context.Context, r *remote, args []string) error {
		if agent == "" {
			return r.misuse("--agent is missing")
		}
		c, err := r.dialKey(ctx)
		if err != nil {
			return err
		}
		a, err := findAgent(ctx, c, agent)
		if err != nil {
			return err
		}
		// The call replaces what has the name, and its token with it.
		there := false
		for p, err := range c.AuthProfiles.All(ctx, a.ID, client.Page{}) {
			if err != nil && !errors.Is(err, client.ErrInsufficientScope) {
				return err
			}
			there = there || p.Name == args[0]
		}
		if there && !replace {
			return advise(fmt.Errorf("%s has an auth profile of this name already", a.ID), "keyward profiles update changes it, and --replace replaces it and ends its token.")
		}
		if there {
			if err := r.sure(ctx, "Replace the auth profile %s of %s? Its token ends.", args[0], a.ID); err != nil {
				return err
			}
		}
		values, err := r.values(ctx, f, a, true)
		if err != nil {
			return err
		}
		made, err := c.AuthProfiles.Upsert(ctx, client.UpsertAuthProfile{AgentID: a.ID, Name: args[0], AuthData: values, ShouldSaveSession: session})
		if err != nil {
			return err
		}
		if r.json {
			return r.print(made)
		}
		return r.secret(fmt.Sprintf("Stored the auth profile %s of %s. This token opens it:", made.Name, a.ID), made.AuthToken, "It is shown this once.")
	})
}

func updateProfileCommand() *cobra.Command {
	var agent, token, name string
	var f valueFlags
	var session, ask bool
	var remove []string
	return remoteCommand(page{
		use: "update PROFILE", short: "Change what is in an auth profile, with its token",
		long: `Change what is in an auth profile. It takes the profile's token, which stays good:
from KEYWARD_AUTH_TOKEN, a file, or the terminal. Values that are given are set, the
others stay. Changed values end the session that is kept. It needs an API key.

Values are read as for create, but asked for only with --ask.`,
		example: `  keyward profiles update jane --ask
  keyward profiles update jane --values new.yaml --token-file jane.token
  keyward profiles update jane --remove one_time_code --save-session=false`,
	}, cobra.ExactArgs(1), func(c *cobra.Command) {
		c.Flags().StringVar(&agent, "agent", "", "the agent that it is of")
		c.Flags().StringVar(&name, "rename", "", "its name from now on")
		c.Flags().StringSliceVar(&remove, "remove", nil, "the name of a value to remove (may be given again)")
		c.Flags().BoolVar(&session, "save-session", false, "whether the session of a run is kept for the next one")
		c.Flags().BoolVar(&ask, "ask", false, "ask for values on the terminal; those that are left empty stay")
		tokenFlag(c, &token)
		f.set(c)
	}, func(ctx context.Context, r *remote, args []string) error {
		if token == "-" && f.file == "-" {
			return r.misuse("standard input can hold the token or the values, not both")
		}
		c, err := r.dialKey(ctx)
		if err != nil {
			return err
		}
		p, err := findProfile(ctx, c, args[0], agent)
		if err != nil {
			return err
		}
		a, err := findAgent(ctx, c, p.AgentID)
		if err != nil {
			return err
		}
		text, err := r.authToken(ctx, token)
		if err != nil {
			return err
		}
		if ask && !r.Asks() {
			return r.misuse("--ask needs a terminal")
		}
		values, err := r.values(ctx, f, a, ask)
		if err != nil {
			return err
		}
		for _, n := range remove {
			values[n] = nil
		}
		in := client.UpsertAuthProfile{AgentID: a.ID, AuthToken: text, Name: p.Name, AuthData: values, ShouldSaveSession: p.ShouldSaveSession}
		if r.command.Flags().Changed("save-session") {
			in.ShouldSaveSession = session
		}
		// Its own name changes nothing, and is taken if the token is another
		// profile's: so nothing is done to one that was not meant.
		if name != "" {
			if _, err := c.AuthProfiles.Upsert(ctx, client.UpsertAuthProfile{AgentID: a.ID, AuthToken: text, Name: p.Name, ShouldSaveSession: p.ShouldSaveSession}); err != nil {
				return notItsToken(err)
			}
			in.Name = name
		}
		changed, err := c.AuthProfiles.Upsert(ctx, in)
		if err != nil {
			if name == "" {
				err = notItsToken(err)
			}
			return err
		}
		if r.json {
			// Without the token: who has it gave it.
			return r.print(struct {
				ID                string `json:"id"`
				Name              string `json:"name"`
				Type              string `json:"type"`
				ShouldSaveSession bool   `json:"should_save_session"`
			}{p.ID, changed.Name, changed.Type, changed.ShouldSaveSession})
		}
		r.Say("Changed the auth profile %s of %s. Its token stays good.", changed.Name, a.ID)
		return nil
	})
}

// notItsToken explains what it means that a profile's own name is taken.
func notItsToken(err error) error {
	if errors.Is(err, client.ErrDuplicateName) {
		return errors.New("the token opens another auth profile, not this one; nothing was changed")
	}
	return err
}

func listProfilesCommand() *cobra.Command {
	var agent string
	return remoteCommand(page{
		use: "list", short: "List the auth profiles of an agent, or of all",
		long: `List the auth profiles of an agent, or of all of the organization's. Those of one of
the operator's public agents are listed with --agent public/ID.`,
		example: `  keyward profiles list
  keyward profiles list --agent invoices --json`,
	}, nil, func(c *cobra.Command) {
		c.Flags().StringVar(&agent, "agent", "", "the agent that they are of")
	}, func(ctx context.Context, r *remote, _ []string) error {
		c, err := r.dial()
		if err != nil {
			return err
		}
		all := []client.AuthProfile{}
		if err := eachProfile(ctx, c, agent, func(p client.AuthProfile) { all = append(all, p) }); err != nil {
			return err
		}
		if r.json {
			return r.print(all)
		}
		var rows [][]string
		for _, p := range all {
			rows = append(rows, []string{p.ID, p.Name, p.AgentID, strings.Join(p.Fields, " "), kept(p), when(p.LastUsedAt)})
		}
		r.Table("There are no auth profiles. keyward profiles create NAME --agent AGENT stores one.", []string{"ID", "NAME", "AGENT", "VALUES", "SESSION", "LAST USED"}, rows)
		return nil
	})
}

// kept says what becomes of a profile's session.
func kept(p client.AuthProfile) string {
	switch {
	case p.HasSession:
		return "kept"
	case p.ShouldSaveSession:
		return "none yet"
	}
	return "not kept"
}

func showProfileCommand() *cobra.Command {
	var agent string
	return remoteCommand(page{
		use: "show PROFILE", short: "Show what may be seen of an auth profile",
		long: `Show what may be seen of an auth profile: the names of its values, never a value.`,
		example: `  keyward profiles show jane
  keyward profiles show jane --agent invoices --json`,
	}, cobra.ExactArgs(1), func(c *cobra.Command) {
		c.Flags().StringVar(&agent, "agent", "", "the agent that it is of")
	}, func(ctx context.Context, r *remote, args []string) error {
		c, err := r.dial()
		if err != nil {
			return err
		}
		p, err := findProfile(ctx, c, args[0], agent)
		if err != nil {
			return err
		}
		if r.json {
			return r.print(p)
		}
		r.Fields("id", p.ID, "name", p.Name, "agent", p.AgentID, "values", strings.Join(p.Fields, " "), "session", kept(p), "destination", p.Destination,
			"made", when(p.CreatedAt), "changed", when(p.UpdatedAt), "last used", when(p.LastUsedAt))
		return nil
	})
}

func deleteProfileCommand() *cobra.Command {
	var agent string
	return remoteCommand(page{
		use: "delete PROFILE", short: "Delete an auth profile",
		long: `Delete an auth profile with its values, its session and its tokens. It can't be
undone.`,
		example: `  keyward profiles delete jane --agent invoices
  keyward profiles delete jane --yes`,
	}, cobra.ExactArgs(1), func(c *cobra.Command) {
		asksFirst(c)
		c.Flags().StringVar(&agent, "agent", "", "the agent that it is of")
	}, func(ctx context.Context, r *remote, args []string) error {
		c, err := r.dial()
		if err != nil {
			return err
		}
		p, err := findProfile(ctx, c, args[0], agent)
		if err != nil {
			return err
		}
		if err := r.sure(ctx, "Delete the auth profile %s of %s? It can't be undone.", p.Name, p.AgentID); err != nil {
			return err
		}
		if err := c.AuthProfiles.Delete(ctx, p.ID); err != nil {
			return err
		}
		return r.gone("auth profile", p.ID, p.Name)
	})
}

func deleteSessionCommand() *cobra.Command {
	var agent string
	return remoteCommand(page{
		use: "delete PROFILE", short: "Delete the session that is kept of an auth profile",
		long:    `Delete the session that is kept of an auth profile. Its next run signs in anew.`,
		example: `  keyward profiles session delete jane`,
	}, cobra.ExactArgs(1), func(c *cobra.Command) {
		asksFirst(c)
		c.Flags().StringVar(&agent, "agent", "", "the agent that it is of")
	}, func(ctx context.Context, r *remote, args []string) error {
		c, err := r.dial()
		if err != nil {
			return err
		}
		p, err := findProfile(ctx, c, args[0], agent)
		if err != nil {
			return err
		}
		if err := r.sure(ctx, "Delete the session of %s of %s?", p.Name, p.AgentID); err != nil {
			return err
		}
		if err := c.AuthProfiles.DeleteSession(ctx, p.ID); err != nil {
			return err
		}
		return r.gone("session of the auth profile", p.ID, p.Name)
	})
}

func rotateTokenCommand() *cobra.Command {
	var agent, token string
	var grace span
	return remoteCommand(page{
		use: "rotate", short: "Give an auth profile a new token, and show it this once",
		long: `Give the auth profile that a token opens a new one, and show it this once: on
standard output, alone. The old one works until the grace ends, or is refused at
once without --grace.`,
		example: `  keyward profiles token rotate --agent invoices --grace 24h
  keyward profiles token rotate --agent invoices --token-file jane.token`,
	}, nil, func(c *cobra.Command) {
		asksFirst(c)
		c.Flags().StringVar(&agent, "agent", "", "the agent that the profile is of")
		c.Flags().Var(&grace, "grace", "for how long the old token goes on working, such as 24h or 7d; 30d at most")
		tokenFlag(c, &token)
	}, func(ctx context.Context, r *remote, _ []string) error {
		if agent == "" {
			return r.misuse("--agent is missing")
		}
		c, err := r.dial()
		if err != nil {
			return err
		}
		a, err := findAgent(ctx, c, agent)
		if err != nil {
			return err
		}
		text, err := r.authToken(ctx, token)
		if err != nil {
			return err
		}
		if grace == 0 {
			if err := r.sure(ctx, "Rotate the token? Without --grace the old one is refused at once."); err != nil {
				return err
			}
		}
		made, err := c.AuthProfiles.RotateToken(ctx, client.RotateToken{AgentID: a.ID, AuthToken: text, GracePeriod: grace.seconds()})
		if err != nil {
			return err
		}
		if r.json {
			return r.print(made)
		}
		return r.secret("The new auth token:", made.AuthToken, "It is shown this once.")
	})
}
