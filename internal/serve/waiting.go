package serve

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/agent"
	"github.com/keyward/keyward/internal/apikey"
	"github.com/keyward/keyward/internal/folder"
	"github.com/keyward/keyward/internal/run"
	"github.com/keyward/keyward/internal/runkey"
	"github.com/keyward/keyward/internal/seal"
	"github.com/keyward/keyward/internal/vault"
)

// newRunKeys makes the keys that runs which wait are sealed to.
func (s *server) newRunKeys() *runkey.Keys {
	return &runkey.Keys{
		Now: time.Now, Log: s.log, Self: s.fleet.ID, Announce: s.fleet.Announce,
		Read:  func() ([]byte, error) { return s.folder.Read(folder.RunKeyFile) },
		Write: func(text []byte) error { return s.folder.Supersede(folder.RunKeyFile, text) },
		Nodes: func(ctx context.Context) ([]runkey.Node, error) {
			live, err := s.fleet.Live(ctx)
			nodes := make([]runkey.Node, len(live))
			for i, n := range live {
				nodes[i] = runkey.Node{ID: n.ID, RunKey: n.RunKey}
			}
			return nodes, err
		},
		EachWaiting: func(ctx context.Context, see func([]byte) bool) error { return s.runs.EachWaiting(ctx, see) },
	}
}

// keyEnded says why a key may start no runs any more.
func (s *server) keyEnded(ctx context.Context, organizationID string, keyID int64) (string, error) {
	k, err := s.keys.Of(ctx, organizationID, keyID)
	switch {
	case errors.Is(err, apikey.ErrNotFound) || err == nil && k.Disabled:
		return "The API key that started this run was revoked or disabled while the run waited for its turn.", nil
	default:
		return "", err
	}
}

// waiting is how runs wait without whoever started them.
func (s *server) waiting() run.Waiting {
	return run.Waiting{
		NewToken: func() seal.Secret {
			tok := seal.NewAuthToken()
			defer tok.Clear()
			return seal.NewSecret(tok.Reveal())
		},
		Seal: func(ctx context.Context, token seal.Secret, at run.Place) ([]byte, error) {
			return s.runKeys.Seal(ctx, token, waitingAt(at))
		},
		Open: func(tokens []byte, at run.Place) (seal.Secret, error) {
			token, err := s.runKeys.Open(tokens, waitingAt(at))
			if errors.Is(err, runkey.ErrGone) {
				err = fmt.Errorf("%w: %w", run.ErrGone, err)
			}
			return token, err
		},
		SealInputs: func(token seal.Secret, at run.Place, inputs []byte) ([]byte, error) {
			tok, err := seal.ParseAuthToken(string(token.Bytes()))
			if err != nil {
				return nil, err
			}
			defer tok.Clear()
			return seal.SealRunInputs(tok, waitingAt(at), inputs)
		},
		OpenInputs: func(token seal.Secret, at run.Place, box []byte) ([]byte, error) {
			tok, err := seal.ParseAuthToken(string(token.Bytes()))
			if err != nil {
				return nil, err
			}
			defer tok.Clear()
			return seal.OpenRunInputs(tok, waitingAt(at), box)
		},
		OpenProfile: func(ctx context.Context, who access.Caller, a agent.Agent, token seal.Secret) (*run.Profile, error) {
			return forRun(s.vault.OpenRun(ctx, who, profileAgent(a), token))
		},
		DropSlot: s.vault.DropRunSlot,
	}
}

func waitingAt(at run.Place) seal.RunPlace {
	return seal.RunPlace{Run: at.RunID, Organization: at.OrganizationID, Agent: at.AgentUID, Profile: at.ProfileUID}
}

// openProfile opens an auth profile as a run needs it.
func (s *server) openProfile(ctx context.Context, who access.Caller, a agent.Agent, token seal.Secret) (*run.Profile, error) {
	return forRun(s.vault.Open(ctx, who, profileAgent(a), token))
}

func forRun(opened *vault.Opened, err error) (*run.Profile, error) {
	if err != nil {
		return nil, err
	}
	p := &run.Profile{
		UID: opened.ID, Name: opened.Name, Values: map[string]jsontext.Value{}, KeepSession: opened.KeepSession, Session: opened.Session.Bytes(),
		SaveSession: opened.SaveSession, Touch: opened.Touch, Close: opened.Close,
		RunSlot: func(expires time.Time) (run.Slot, error) {
			slot, err := opened.RunSlot(expires)
			return run.Slot{Token: slot.Token, Locator: slot.Locator, Keep: slot.Keep}, err
		},
	}
	for _, v := range opened.Values {
		p.Values[v.Name] = v.JSON.Bytes()
	}
	return p, nil
}
