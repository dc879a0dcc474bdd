package apikey

import (
	"net/netip"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/keyward/keyward/internal/access"
)

// kept is what of a key's settings is kept as JSON. The empty text is that of a
// key without any.
type kept struct {
	Scopes           []string       `json:"scopes,omitzero"`
	AgentIDs         []string       `json:"agent_ids,omitzero"`
	AllowedIPs       []netip.Prefix `json:"allowed_ips,omitzero"`
	PerHour          int64          `json:"requests_per_hour,omitzero"`
	Burst            int64          `json:"burst,omitzero"`
	PerMonth         int64          `json:"requests_per_month,omitzero"`
	RequireSignature bool           `json:"require_signature,omitzero"`
	Metadata         jsontext.Value `json:"metadata,omitzero"`
}

// keep writes k's settings as they are kept.
func (k *Key) keep() error {
	in := kept{
		AgentIDs: k.AgentIDs, AllowedIPs: k.AllowedIPs, PerHour: k.Limits.PerHour, Burst: k.Limits.Burst, PerMonth: k.Limits.PerMonth,
		RequireSignature: k.RequireSignature, Metadata: k.Metadata,
	}
	if k.scoped {
		in.Scopes = k.Scopes.Names()
	}
	text, err := json.Marshal(in, json.Deterministic(true))
	if err != nil {
		return err
	}
	if k.settings = string(text); k.settings == "{}" {
		k.settings = ""
	}
	return nil
}

// unkeep reads the settings of a row whose tag is good.
//
// A setting that this version does not know may be one that narrows the key, so
// that such a key is not used at all.
func (k *Key) unkeep() error {
	k.Scopes = access.AllScopes
	if k.settings == "" {
		return nil
	}
	var in kept
	if err := json.Unmarshal([]byte(k.settings), &in, json.RejectUnknownMembers(true)); err != nil {
		return err
	}
	k.AgentIDs, k.AllowedIPs, k.RequireSignature, k.Metadata = in.AgentIDs, in.AllowedIPs, in.RequireSignature, in.Metadata
	k.Limits = access.Limits{PerHour: in.PerHour, Burst: in.Burst, PerMonth: in.PerMonth}
	if in.Scopes == nil {
		return nil
	}
	var err error
	k.scoped = true
	k.Scopes, err = access.ParseScopes(in.Scopes, access.AllScopes)
	return err
}
