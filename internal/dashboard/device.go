package dashboard

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/account"
	"github.com/keyward/keyward/internal/device"
	"github.com/keyward/keyward/internal/fault"
)

const devicePath = "/device"

// deviceForm is where a code is typed. Nothing fills it in: who comes by a link
// has to look at what his own program shows.
type deviceForm struct{ Problem string }

// deviceView is a program that waits, or one that was answered.
type deviceView struct {
	device.Login
	Code     string // as it is compared with what the program shows
	HereToo  bool   // the program asks from where the browser is
	All      bool   // its key will have every scope
	KeyDays  int
	Approved bool
}

// answerDevice is how a code is looked up or answered.
type answerDevice func(ctx context.Context, who access.Caller, signedInAt time.Time, code string) (device.Login, error)

// devicePage asks for the code that a program shows.
func (p *pages) devicePage(w http.ResponseWriter, r *http.Request) error {
	if err := p.mayType(r); err != nil {
		return err
	}
	visit, err := p.visit(w, r)
	switch {
	case errors.Is(err, account.ErrNotSignedIn) || err == nil && p.isStale(visit):
		toSignIn(w, r)
	case err != nil:
		return err
	default:
		p.write(w, http.StatusOK, "device.html", view{Visit: &visit, Body: deviceForm{}})
	}
	return nil
}

// deviceFound shows which program waits with the code that was typed.
func (p *pages) deviceFound(w http.ResponseWriter, r *http.Request) error {
	return p.device(w, r, "deviceask.html", p.Devices.Find)
}

// deviceAnswered says yes or no to it.
func (p *pages) deviceAnswered(w http.ResponseWriter, r *http.Request) error {
	form, err := readForm(w, r)
	if err != nil {
		return err
	}
	switch form.Get("answer") {
	case "approve":
		return p.device(w, r, "devicedone.html", p.Devices.Approve)
	case "deny":
		return p.device(w, r, "devicedone.html", p.Devices.Deny)
	}
	return errFormUnread
}

// device does something about the code in the form, and shows the page of that
// name.
func (p *pages) device(w http.ResponseWriter, r *http.Request, page string, do answerDevice) error {
	if err := p.mayType(r); err != nil {
		return err
	}
	form, err := readForm(w, r)
	if err != nil {
		return err
	}
	visit, err := p.visit(w, r)
	if errors.Is(err, account.ErrNotSignedIn) {
		toSignIn(w, r)
		return nil
	} else if err != nil {
		return err
	}
	code := form.Get("code")
	l, err := do(r.Context(), visit.Caller, visit.SignedInAt, code)
	switch {
	case errors.Is(err, device.ErrSignInAgain):
		toSignIn(w, r)
		return nil
	case err != nil && fault.Of(err).Kind != fault.Internal:
		p.refuseCode(w, r, visit, err)
		return nil
	case err != nil:
		return err
	}
	p.write(w, http.StatusOK, page, view{URL: p.URL(), Visit: &visit, Body: deviceView{
		Login: l, Code: device.ShownCode(code), HereToo: l.Address == visit.Caller.Address.String(), All: l.Scopes == access.AllScopes,
		KeyDays: int(device.KeyLife / (24 * time.Hour)), Approved: l.State != device.Denied,
	}})
	return nil
}

// refuseCode asks for a code again and says why.
func (p *pages) refuseCode(w http.ResponseWriter, r *http.Request, visit account.Visit, err error) {
	f, status := p.api.Report(w, r, err)
	again := deviceForm{f.Message}
	if f.RetryAfter > 0 {
		wait := (f.RetryAfter + time.Second - 1).Truncate(time.Second)
		w.Header().Set("Retry-After", strconv.Itoa(int(wait/time.Second)))
		again.Problem = "Too many wrong codes. Wait " + wait.String() + " and try again."
	}
	p.write(w, status, "device.html", view{Visit: &visit, Body: again})
}

// isStale reports whether somebody has signed in too long ago to answer a
// program: whoever sits at a browser that was left open is asked who he is.
func (p *pages) isStale(visit account.Visit) bool {
	return p.Now().Sub(visit.SignedInAt) >= device.FreshSignIn
}

// toSignIn asks who somebody is, and leads him back to where a code is typed.
func toSignIn(w http.ResponseWriter, r *http.Request) {
	http.Redirect(w, r, "/login?next="+url.QueryEscape(devicePath), http.StatusSeeOther)
}
