package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func completionCommand(root *cobra.Command) *cobra.Command {
	shells := map[string]func(io.Writer) error{
		"bash":       func(w io.Writer) error { return root.GenBashCompletionV2(w, true) },
		"zsh":        root.GenZshCompletion,
		"fish":       func(w io.Writer) error { return root.GenFishCompletion(w, true) },
		"powershell": root.GenPowerShellCompletionWithDesc,
	}
	return &cobra.Command{
		Use:   "completion bash|zsh|fish|powershell",
		Short: "Print what makes a shell complete commands",
		Long: `Print what makes a shell complete commands and flags:

  bash         source <(keyward completion bash), in ~/.bashrc
  zsh          keyward completion zsh >"${fpath[1]}/_keyward"
  fish         keyward completion fish >~/.config/fish/completions/keyward.fish
  powershell   keyward completion powershell | Out-String | Invoke-Expression`,
		Example:   `  source <(keyward completion bash)`,
		ValidArgs: []string{"bash", "zsh", "fish", "powershell"},
		Args:      cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs),
		RunE:      func(c *cobra.Command, args []string) error { return shells[args[0]](c.OutOrStdout()) },
	}
}

func manCommand(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use:   "man FOLDER",
		Short: "Write the manual pages into a folder",
		Long: `Write the manual pages into a folder, which is made if it is not there: one for each
command, as keyward-keys-create.1.`,
		Example: `  keyward man /usr/local/share/man/man1
  keyward man man1 && man ./man1/keyward-keys.1`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if err := os.MkdirAll(args[0], 0o755); err != nil {
				return err
			}
			var failed error
			for _, c := range all(root) {
				if c.Hidden {
					continue
				}
				if err := os.WriteFile(filepath.Join(args[0], pageName(c)+".1"), []byte(manPage(c)), 0o644); err != nil {
					failed = errors.Join(failed, err)
				}
			}
			return failed
		},
	}
}

func pageName(c *cobra.Command) string { return strings.ReplaceAll(c.CommandPath(), " ", "-") }

// roff makes a text one that troff sets as it stands.
func roff(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`, "`", "\\(ga", "^", `\(ha`, "~", `\(ti`).Replace(text)
	var ascii strings.Builder
	for _, r := range text {
		if r > '~' {
			fmt.Fprintf(&ascii, `\[u%04X]`, r) // which each troff reads
		} else {
			ascii.WriteRune(r)
		}
	}
	lines := strings.Split(ascii.String(), "\n")
	for i, line := range lines {
		if strings.HasPrefix(line, ".") {
			lines[i] = `\&` + line
		}
	}
	return strings.Join(lines, "\n")
}

// manPage is a command's help as a manual page.
func manPage(c *cobra.Command) string {
	var b strings.Builder
	say := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	verbatim := func(text string) { say(".PP\n.nf\n%s\n.fi", roff(strings.Trim(text, "\n"))) }
	say(`.TH "%s" "1" "" "keyward %s" "Keyward"`, strings.ToUpper(pageName(c)), version())
	say(".SH NAME\n%s \\- %s", roff(pageName(c)), roff(c.Short))
	use := c.UseLine()
	if c.HasSubCommands() {
		use = c.CommandPath() + " COMMAND"
	}
	say(".SH SYNOPSIS\n.B %s", roff(use))
	if c.Long != "" {
		say(".SH DESCRIPTION")
		for paragraph := range strings.SplitSeq(c.Long, "\n\n") {
			if strings.HasPrefix(paragraph, "  ") || strings.Contains(paragraph, "\n  ") {
				verbatim(paragraph)
			} else {
				say(".PP\n%s", roff(paragraph))
			}
		}
	}
	if c.HasAvailableSubCommands() {
		say(".SH COMMANDS")
		for _, sub := range c.Commands() {
			if !sub.Hidden {
				say(".TP\n.B %s\n%s", roff(sub.CommandPath()), roff(sub.Short))
			}
		}
	}
	c.InitDefaultHelpFlag()
	if c.HasAvailableLocalFlags() {
		say(".SH OPTIONS")
		c.LocalFlags().VisitAll(func(f *pflag.Flag) {
			name := "--" + f.Name
			if f.Shorthand != "" {
				name = "-" + f.Shorthand + ", " + name
			}
			kind, help := pflag.UnquoteUsage(f)
			if kind != "" {
				name += " " + kind
			}
			if f.DefValue != "" && f.DefValue != "false" && f.DefValue != "0" && f.DefValue != "[]" {
				help += " (default: " + f.DefValue + ")"
			}
			say(".TP\n.B %s\n%s", roff(name), roff(help))
		})
	}
	if c.Example != "" {
		say(".SH EXAMPLES")
		verbatim(c.Example)
	}
	say(".SH EXIT STATUS\n0 if all went well, 1 if something was refused or failed, 2 if the command line or a setting is wrong.")
	if c.HasParent() {
		say(".SH SEE ALSO\n.BR %s (1)", roff(pageName(c.Parent())))
	}
	return b.String()
}
