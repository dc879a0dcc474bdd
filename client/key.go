package client

// CreateKey asks for an API key.
type CreateKey struct {
	Name      string `json:"name" minLength:"1" maxLength:"64" doc:"What people call the key; unique among the organization's keys that are not revoked" example:"production-2024"`
	Type      string `json:"type,omitzero" enum:"personal,service,temporary" doc:"personal: lives as long as its account. temporary: a personal key that expires. service: needs scopes, which this server does not have yet, and is refused. Left out: personal" example:"temporary"`
	ExpiresIn int64  `json:"expires_in,omitzero" minimum:"1" maximum:"315360000" doc:"Seconds until the key expires. A temporary key has 3600 if it is left out and at most 2592000 (30 days); a personal key never expires if it is left out" example:"3600"`
}

// Key is an API key as its owner sees it. The key itself is never in it.
type Key struct {
	ID        int64  `json:"id" doc:"Below 2^53" example:"5123456789012345"`
	Name      string `json:"name" example:"production-2024"`
	Hint      string `json:"hint" doc:"How the key begins, and its last four characters" example:"ra_live_…a1b2"`
	Type      string `json:"type" enum:"personal,service,temporary"`
	Tier      string `json:"tier" doc:"The tier of its organization" enum:"free,pro,enterprise"`
	Status    string `json:"status" enum:"active,disabled,expired,revoked"`
	MadeBy    MadeBy `json:"made_by"`
	CreatedAt Time   `json:"created_at"`
	UpdatedAt Time   `json:"updated_at"`
	ExpiresAt Time   `json:"expires_at,omitzero" doc:"Left out: never"`
	RevokedAt Time   `json:"revoked_at,omitzero" doc:"Left out: not revoked"`
}

// MadeBy says who made something: an account, and the key that it used if it
// used one.
type MadeBy struct {
	AccountID string `json:"account_id"`
	KeyID     int64  `json:"key_id,omitzero"`
}

// IssuedKey is a key that was just made, with the key itself: it is shown this
// once.
type IssuedKey struct {
	Key
	Secret string `json:"key" doc:"The API key itself. It is shown this once and can't be had again" example:"ra_live_…"`
}
