package api

import (
	"net/http"
	"time"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/seal"
)

// dawdling is how long a body may take to arrive before it is asked once more
// who has sent it: else whoever holds a stolen key could have requests wait with
// it, and finish them when it has been revoked.
const dawdling = 100 * time.Millisecond

// IdentifyAgain is [API.Identify] for a request that has been let in and goes on.
// It does not count, and what was signed was seen when it came.
func (a *API) IdentifyAgain(w http.ResponseWriter, r *http.Request, op Operation) (access.Caller, error) {
	op, text, err := a.shown(r, op)
	if err != nil {
		return access.Caller{}, err
	}
	from := a.Client(w, r)
	who, _, err := a.config.Authenticate(r.Context(), Credentials{
		Accepts: op.Security, Secret: seal.NewSecret(text), Action: op.Action, Free: true, Again: true,
	}, from)
	who.Address, who.RequestID = from.Address, from.RequestID
	return who, err
}

// Enter takes one of the places that there are for streams, for a raw handler that
// answers who with one. Leave gives it back.
func (a *API) Enter(who access.Caller) (leave func(), err error) {
	if err := a.streams.enter(who, a.stopping()); err != nil {
		return nil, err
	}
	return func() { a.streams.leave(who) }, nil
}
