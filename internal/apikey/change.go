package apikey

import (
	"context"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/fault"
	"github.com/keyward/keyward/internal/seal"
)

// Change is what of a key is to change; what is nil stays. A pointer to the
// zero removes the setting.
type Change struct {
	Name             *string
	Scopes           *[]string
	AgentIDs         *[]string
	AllowedIPs       *[]string
	AddIPs           []string
	RemoveIPs        []string
	ExpiresIn        *time.Duration // from now on
	PerHour          *int64
	Burst            *int64
	PerMonth         *int64
	RequireSignature *bool
	Disabled         *bool
	ExternalID       *string
	Metadata         *[]byte
}

// apply returns k as it is after c, if it may be so; most is what its
// organization gives each key, and field what the face calls the name.
func (c Change) apply(k Key, most access.Limits, field string, now time.Time) (_ Key, err error) {
	if c.Name != nil {
		if err := checkName(field, *c.Name); err != nil {
			return Key{}, err
		}
		k.Name = *c.Name
	}
	if c.AgentIDs != nil {
		if k.AgentIDs, err = settleAgents(*c.AgentIDs); err != nil {
			return Key{}, err
		}
	}
	if err := c.applyScopes(&k); err != nil {
		return Key{}, err
	}
	if err := c.applyIPs(&k); err != nil {
		return Key{}, err
	}
	for _, l := range []struct {
		field string
		sent  *int64
		own   *int64
		most  int64
	}{
		{"requests_per_hour", c.PerHour, &k.Limits.PerHour, most.PerHour},
		{"burst", c.Burst, &k.Limits.Burst, most.Burst},
		{"requests_per_month", c.PerMonth, &k.Limits.PerMonth, most.PerMonth},
	} {
		if l.sent == nil {
			continue
		}
		if err := checkLimit(l.field, *l.sent, l.most); err != nil {
			return Key{}, err
		}
		*l.own = *l.sent
	}
	if c.ExpiresIn != nil {
		if k.ExpiresAt, err = checkLife(k.Type, *c.ExpiresIn, now); err != nil {
			return Key{}, err
		}
	}
	if c.ExternalID != nil {
		if err := checkExternalID(*c.ExternalID); err != nil {
			return Key{}, err
		}
		k.ExternalID = *c.ExternalID
	}
	if c.Metadata != nil {
		if k.Metadata, err = settleMetadata(*c.Metadata); err != nil {
			return Key{}, err
		}
	}
	if c.RequireSignature != nil {
		k.RequireSignature = *c.RequireSignature
	}
	if c.Disabled != nil {
		k.Disabled = *c.Disabled
	}
	k.UpdatedAt = now
	return k, k.keep()
}

func (c Change) applyScopes(k *Key) (err error) {
	if c.Scopes != nil {
		may := access.AllScopes
		if k.Type == Service {
			may = access.ServiceScopes
		}
		names := *c.Scopes
		switch {
		case names == nil:
			k.scoped, k.Scopes = false, access.AllScopes
		case len(names) == 0:
			return fault.Field("scopes", "must name at least one scope")
		default:
			k.scoped = true
			if k.Scopes, err = access.ParseScopes(names, may); err != nil {
				return err
			}
		}
	}
	switch {
	case !k.scoped && k.AgentIDs != nil:
		k.scoped, k.Scopes = true, access.AgentScopes
	case !k.scoped && k.Type == Service:
		return fault.Field("scopes", "a service key must name its scopes")
	}
	return nil
}

func (c Change) applyIPs(k *Key) (err error) {
	edits := c.AddIPs != nil || c.RemoveIPs != nil
	switch {
	case c.AllowedIPs != nil && edits:
		return fault.Field("allowed_ips", "replaces the list, so it can't be sent together with add_ips or remove_ips")
	case c.AllowedIPs != nil:
		k.AllowedIPs, err = settleIPs(*c.AllowedIPs)
		return err
	case !edits:
		return nil
	}
	added, err := parseIPs("add_ips", c.AddIPs)
	if err != nil {
		return err
	}
	removed, err := parseIPs("remove_ips", c.RemoveIPs)
	if err != nil {
		return err
	}
	list := slices.Clone(k.AllowedIPs)
	for i, p := range removed {
		if slices.Contains(added, p) {
			return entry("remove_ips", i, "is in add_ips as well")
		}
		at := slices.Index(list, p)
		if at < 0 {
			// Silence would leave somebody believing that the address is shut out.
			return entry("remove_ips", i, "is not in the key's allowed_ips")
		}
		list = slices.Delete(list, at, at+1)
	}
	for _, p := range added {
		if !slices.Contains(list, p) {
			list = append(list, p)
		}
	}
	switch {
	case len(list) == 0:
		return fault.Field("remove_ips", "would leave no address, which would mean all of them; disable the key, or send allowed_ips as null to let it be used from anywhere")
	case len(list) > MaxAllowedIPs:
		return fault.Field("add_ips", "would make more than 100 entries")
	}
	k.AllowedIPs = list
	return nil
}

// Change changes a key of who's organization. If its requests must be signed
// from now on, the secret for that is in the answer, this once.
func (s *Store) Change(ctx context.Context, who access.Caller, id int64, c Change) (Issued, error) {
	if err := who.May(access.ChangeKey); err != nil {
		return Issued{}, err
	}
	if c.AgentIDs != nil {
		if err := s.checkAgents(ctx, who, *c.AgentIDs); err != nil {
			return Issued{}, err
		}
	}
	var out Issued
	err := s.Acts.Do(ctx, who, access.ChangeKey, func(tx *db.Tx, act *access.Act) error {
		asking, err := s.asking(ctx, tx, who, access.ChangeKey)
		if err != nil {
			return err
		}
		k, err := s.living(ctx, tx, who, id)
		if err != nil {
			return err
		}
		next, err := c.apply(k, who.Limits, "name", s.now())
		if err != nil {
			return err
		}
		if err := mayChange(asking, k, next); err != nil {
			return err
		}
		act.On("key", strconv.FormatInt(k.ID, 10), next.Name)
		act.Closes(access.KeyClosed, strconv.FormatInt(k.ID, 10))
		changed := differences(k, next)
		if out = (Issued{Key: next}); len(changed) == 0 {
			out.UpdatedAt = k.UpdatedAt
			act.Nothing()
			return nil
		}
		act.Note("changed", strings.Join(changed, " "))
		if err := s.replace(ctx, tx, k, next); err != nil {
			return err
		}
		if next.RequireSignature != k.RequireSignature {
			out.Signing, err = s.resign(ctx, tx, next)
		}
		return err
	})
	if db.IsDuplicate(err) {
		return Issued{}, ErrDuplicateName
	}
	return out, err
}

// mayChange returns ErrTooWeak if the key that asks may not make next of k.
func mayChange(asking *asker, k, next Key) error {
	if asking == nil {
		return nil
	}
	if err := k.notStronger(asking.Key); err != nil {
		return err
	}
	if asking.ID == k.ID {
		// What it is called, others rely on.
		switch {
		case next.Name != k.Name:
			return tooWeak("name", "of itself a key may only narrow what it may do, or end it")
		case next.ExternalID != k.ExternalID:
			return tooWeak("external_id", "of itself a key may only narrow what it may do, or end it")
		case string(next.Metadata) != string(k.Metadata):
			return tooWeak("metadata", "of itself a key may only narrow what it may do, or end it")
		}
	}
	return next.notStronger(asking.Key)
}

// differences returns the settings in which two states of a key differ.
func differences(a, b Key) []string {
	var names []string
	for _, d := range []struct {
		name   string
		differ bool
	}{
		{"name", a.Name != b.Name},
		{"scopes", a.Scopes != b.Scopes || a.scoped != b.scoped},
		{"agent_ids", !same(a.AgentIDs, b.AgentIDs)},
		{"allowed_ips", !same(a.AllowedIPs, b.AllowedIPs)},
		{"expires_in", !a.ExpiresAt.Equal(b.ExpiresAt)},
		{"limits", a.Limits != b.Limits},
		{"require_signature", a.RequireSignature != b.RequireSignature},
		{"enabled", a.Disabled != b.Disabled},
		{"external_id", a.ExternalID != b.ExternalID},
		{"metadata", string(a.Metadata) != string(b.Metadata)},
	} {
		if d.differ {
			names = append(names, d.name)
		}
	}
	return names
}

func same[T string | netip.Prefix](a, b []T) bool {
	return (a == nil) == (b == nil) && slices.Equal(a, b)
}

// living reads a key of who's organization that is not revoked.
func (s *Store) living(ctx context.Context, tx *db.Tx, who access.Caller, id int64) (Key, error) {
	k, err := s.get(ctx, tx, who, id)
	if err == nil && !k.RevokedAt.IsZero() {
		return Key{}, ErrIsRevoked
	}
	return k, err
}

// replace writes k's row as next is, if nobody else has changed it meanwhile.
func (s *Store) replace(ctx context.Context, tx *db.Tx, k, next Key) error {
	version, tag := s.Root.Tag(seal.APIKeyRow, next.fields()...)
	n, err := tx.Exec(ctx, `
		UPDATE api_keys SET name = $1, expires_at = $2, external_id = $3, disabled = $4, settings = $5, updated_at = $6, root_version = $7, tag = $8
		WHERE id = $9 AND tag = $10`,
		next.Name, db.Micros(next.ExpiresAt), next.ExternalID, next.Disabled, next.settings, db.Micros(next.UpdatedAt), version, tag, k.ID, k.tag)
	if err == nil && n == 0 {
		err = db.ErrConflict
	}
	return err
}

// resign gives every secret of k that works the signing secret that k's
// requests are signed with from now on, or takes it away.
func (s *Store) resign(ctx context.Context, tx *db.Tx, k Key) (signing seal.Secret, err error) {
	if k.RequireSignature {
		signing = newSigningSecret()
	}
	rows, err := s.workingSecrets(ctx, tx, k.ID)
	if err != nil {
		return seal.Secret{}, err
	}
	for i := range rows {
		next := rows[i]
		if next.signing, err = s.sealSigning(&next, signing); err != nil {
			return seal.Secret{}, err
		}
		if err := s.update(ctx, tx, &rows[i], next); err != nil {
			return seal.Secret{}, err
		}
	}
	return signing, nil
}
