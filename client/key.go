package client

// CreateKey asks for an API key.
type CreateKey struct {
	Name             string     `json:"name" minLength:"1" maxLength:"64" doc:"What people call the key; unique among the organization's keys that are not revoked" example:"production-2024"`
	Type             string     `json:"type,omitzero" enum:"personal,service,temporary" doc:"personal: lives as long as its account, and may do all that it may unless it names scopes. service: belongs to the organization and lives on without the account; it names its scopes, and can have neither keys:read nor keys:write. temporary: a personal key that expires. Left out: personal, or service if the key names scopes or agents"`
	Scopes           []string   `json:"scopes,omitzero" minItems:"1" maxItems:"100" doc:"agents:read agents:write agents:run profiles:read profiles:write keys:read keys:write keys:verify usage:read audit:read; or read (every :read), write (every :write), run (agents:run), * (all): a short form means what the type may have of it. Left out: all; for a key that is for certain agents agents:read, agents:run, profiles:read and profiles:write"`
	AgentIDs         []string   `json:"agent_ids,omitzero" minItems:"1" maxItems:"100" doc:"The only agents that the key is for; one of the operator's public agents as public/ID. Left out: all"`
	AllowedIPs       []string   `json:"allowed_ips,omitzero" minItems:"1" maxItems:"100" doc:"The only addresses that the key may be used from: IPv4 and IPv6 addresses, and networks like 192.0.2.0/24. Left out: any"`
	ExpiresIn        int64      `json:"expires_in,omitzero" minimum:"1" maximum:"315360000" doc:"Seconds until the key expires. A temporary key has 3600 if it is left out and at most 2592000 (30 days); any other never expires if it is left out" example:"86400"`
	Limits           *KeyLimits `json:"limits,omitzero" doc:"How often the key may be used. They can only lower what the organization's tier gives"`
	RequireSignature bool       `json:"require_signature,omitzero" doc:"Whether each request with the key must be signed. The secret for that is in the answer, this once"`
	Enabled          *bool      `json:"enabled,omitzero" doc:"Left out: true"`
	ExternalID       string     `json:"external_id,omitzero" minLength:"1" maxLength:"128" doc:"What you call whoever holds the key; a check of the key returns it, and keys can be listed by it" example:"customer-42"`
	Metadata         Object     `json:"metadata,omitzero" doc:"Whatever you want to have with the key, at most 4096 bytes; a check of the key returns it"`
}

// KeyLimits says how often a key may be used. What is left out is not limited.
type KeyLimits struct {
	RequestsPerHour  int64 `json:"requests_per_hour,omitzero" minimum:"1" maximum:"1000000000000" doc:"In a window of an hour that opens with its first request"`
	Burst            int64 `json:"burst,omitzero" minimum:"1" maximum:"1000000000000" doc:"In any one second"`
	RequestsPerMonth int64 `json:"requests_per_month,omitzero" minimum:"1" maximum:"1000000000000" doc:"In a calendar month, UTC"`
}

// ChangeKey changes what of a key is in it; what is left out stays. Lists are
// replaced; null removes a setting.
type ChangeKey struct {
	Name             *string               `json:"name,omitzero" minLength:"1" maxLength:"64"`
	Scopes           Edit[[]string]        `json:"scopes,omitzero" nullable:"true" minItems:"1" maxItems:"100" doc:"Replaces all of them. null: as if the key had been made without"`
	AgentIDs         Edit[[]string]        `json:"agent_ids,omitzero" nullable:"true" minItems:"1" maxItems:"100" doc:"Replaces all of them; a key without scopes gets those of a key for certain agents. null: all agents"`
	AllowedIPs       Edit[[]string]        `json:"allowed_ips,omitzero" nullable:"true" minItems:"1" maxItems:"100" doc:"Replaces all of them; not together with add_ips or remove_ips. null: from anywhere"`
	AddIPs           []string              `json:"add_ips,omitzero" minItems:"1" maxItems:"100" doc:"Adds to allowed_ips. A key without any can be used from these alone"`
	RemoveIPs        []string              `json:"remove_ips,omitzero" minItems:"1" maxItems:"100" doc:"Takes away from allowed_ips, but not the last one"`
	ExpiresIn        Edit[int64]           `json:"expires_in,omitzero" nullable:"true" minimum:"1" maximum:"315360000" doc:"Seconds from now. null: never, which a temporary key can't"`
	Limits           Edit[ChangeKeyLimits] `json:"limits,omitzero" doc:"What is left out in it stays. null: no limits of the key's own"`
	RequireSignature *bool                 `json:"require_signature,omitzero" doc:"If it was false and becomes true, a new secret to sign with is in the answer, this once"`
	Enabled          *bool                 `json:"enabled,omitzero" doc:"false: requests with the key are refused with DISABLED_API_KEY until it is true again"`
	ExternalID       Edit[string]          `json:"external_id,omitzero" nullable:"true" minLength:"1" maxLength:"128" doc:"null: none"`
	Metadata         Edit[Object]          `json:"metadata,omitzero" nullable:"true" doc:"Replaces all of it. null: none"`
}

// ChangeKeyLimits changes what of a key's limits is in it; null removes a limit.
type ChangeKeyLimits struct {
	RequestsPerHour  Edit[int64] `json:"requests_per_hour,omitzero" nullable:"true" minimum:"1" maximum:"1000000000000"`
	Burst            Edit[int64] `json:"burst,omitzero" nullable:"true" minimum:"1" maximum:"1000000000000"`
	RequestsPerMonth Edit[int64] `json:"requests_per_month,omitzero" nullable:"true" minimum:"1" maximum:"1000000000000"`
}

// RotateKey asks for a new value of a key.
type RotateKey struct {
	GracePeriod int64 `json:"grace_period,omitzero" minimum:"0" maximum:"2592000" doc:"Seconds for which the values that the key has go on working; an earlier grace is not made longer. Left out or 0: they are refused as soon as this answers"`
}

// Key is an API key as its owner sees it. The key itself is never in it.
type Key struct {
	ID               int64      `json:"id" doc:"Below 2^53" example:"5123456789012345"`
	Name             string     `json:"name" example:"production-2024"`
	Hint             string     `json:"hint" doc:"How the key begins, and its last four characters" example:"ra_live_…a1b2"`
	Type             string     `json:"type" enum:"personal,service,temporary"`
	Tier             string     `json:"tier" doc:"The tier of its organization" enum:"free,pro,enterprise"`
	Status           string     `json:"status" enum:"active,disabled,expired,revoked"`
	Scopes           []string   `json:"scopes" doc:"All that it has, each by its full name"`
	AgentIDs         []string   `json:"agent_ids,omitzero" doc:"The only agents that it is for. Left out: all"`
	AllowedIPs       []string   `json:"allowed_ips,omitzero" doc:"Where it may be used from. Left out: anywhere"`
	Limits           *KeyLimits `json:"limits,omitzero" nullable:"false" doc:"Its own limits, which lower what the organization's tier gives. Left out: none"`
	RequireSignature bool       `json:"require_signature"`
	Enabled          bool       `json:"enabled"`
	ExternalID       string     `json:"external_id,omitzero"`
	Metadata         Object     `json:"metadata,omitzero"`
	MadeBy           MadeBy     `json:"made_by"`
	CreatedAt        Time       `json:"created_at"`
	UpdatedAt        Time       `json:"updated_at"`
	ExpiresAt        Time       `json:"expires_at,omitzero" doc:"Left out: never"`
	RevokedAt        Time       `json:"revoked_at,omitzero" doc:"Left out: not revoked"`
	LastUsedAt       Time       `json:"last_used_at,omitzero" doc:"Left out: not used yet"`
	LastUsedIP       string     `json:"last_used_ip,omitzero"`
}

// MadeBy says who made something: an account, and the key that it used if it
// used one.
type MadeBy struct {
	AccountID string `json:"account_id"`
	KeyID     int64  `json:"key_id,omitzero"`
}

// IssuedKey is a key that was just made or rotated, with the key itself: it is
// shown this once.
type IssuedKey struct {
	Key
	Secret        string `json:"key" doc:"The API key itself. It is shown this once and can't be had again" example:"ra_live_…"`
	SigningSecret string `json:"signing_secret,omitzero" doc:"What requests with the key are signed with, if they must be. It is shown this once and can't be had again" example:"rs_…"`
}

// ChangedKey is a key that was just changed.
type ChangedKey struct {
	Key
	SigningSecret string `json:"signing_secret,omitzero" doc:"What requests with the key are signed with, if they must be from now on. It is shown this once and can't be had again" example:"rs_…"`
}
