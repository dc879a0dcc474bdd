package dashboard

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/keyward/keyward/internal/account"
	"github.com/keyward/keyward/internal/run"
)

// maxOutput is how much of an output a page shows.
const maxOutput = 256 << 10

// runView is a run as its page shows it.
type runView struct {
	run.Run
	AgentName string
	State     string // in words
	Took      string // "": it has not begun
	Ended     bool
	Output    string
	Cut       bool // the output is longer
	Log       []line
	LogCut    bool // the log began earlier
	After     int64
}

// run shows a run to the members of its organization. To everybody else it is not
// there.
func (p *pages) run(w http.ResponseWriter, r *http.Request) error {
	visit, err := p.visit(w, r)
	if errors.Is(err, account.ErrNotSignedIn) {
		http.Redirect(w, r, "/login?next="+url.QueryEscape(nextPage(r.URL.Path)), http.StatusSeeOther)
		return nil
	} else if err != nil {
		return err
	}
	ctx, who, id := r.Context(), visit.Caller, r.PathValue("id")
	events, err := p.Runs.Events(ctx, who, id, 0)
	if err != nil {
		return err
	}
	defer events.Close()
	v := runView{}
	log, err := readLog(ctx, events)
	if err != nil {
		return err
	}
	// The run after its log: if it has ended since, what it said last is read, too.
	if v.Run, err = p.Runs.Get(ctx, who, id); err != nil {
		return err
	}
	v.Ended = !v.EndedAt.IsZero()
	if v.Ended {
		if err := log.readOn(ctx, events, lastWords); err != nil {
			return err
		}
	}
	v.Log, v.LogCut, v.After = log.lines, log.cut, log.after
	if v.AgentName, err = p.AgentName(ctx, who, v.AgentID); err != nil {
		return err
	}
	v.State = strings.ReplaceAll(string(v.Status), "_", " ")
	if !v.StartedAt.IsZero() {
		until := v.EndedAt
		if !v.Ended {
			until = p.Now()
		}
		v.Took = took(until.Sub(v.StartedAt))
	}
	v.Output, v.Cut = shorten(pretty(v.Run.Output), maxOutput)
	p.write(w, http.StatusOK, "run.html", view{URL: p.URL(), Visit: &visit, Body: v})
	return nil
}

// took is how long something took, as people say it.
func took(d time.Duration) string {
	switch d = max(d, 0); {
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < time.Minute:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < time.Hour:
		return fmt.Sprintf("%d min %d s", int(d.Minutes()), int(d.Seconds())%60)
	}
	return fmt.Sprintf("%d h %d min", int(d.Hours()), int(d.Minutes())%60)
}

// pretty returns JSON with a line for each thing in it.
func pretty(v jsontext.Value) string {
	if len(v) == 0 {
		return ""
	}
	v = v.Clone()
	if v.Indent(jsontext.WithIndent("  ")) != nil {
		return "" // what is kept is valid
	}
	return string(v)
}

// shorten returns the beginning of a text that is longer than most bytes.
func shorten(text string, most int) (short string, cut bool) {
	if len(text) <= most {
		return text, false
	}
	return strings.ToValidUTF8(text[:most], ""), true
}
