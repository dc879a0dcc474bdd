package client

// Account is a person who can sign in.
type Account struct {
	ID        string `json:"id"`
	Name      string `json:"name"`
	Email     string `json:"email"`
	CreatedAt Time   `json:"created_at"`
	UpdatedAt Time   `json:"updated_at"`
}

// CreateAccount makes an account on somebody's behalf.
type CreateAccount struct {
	Name     string `json:"name" minLength:"1" maxLength:"200"`
	Email    string `json:"email" minLength:"3" maxLength:"254"`
	Password string `json:"password" minLength:"1" maxLength:"1024"`
}

// Organization is what owns keys, agents, profiles and runs.
type Organization struct {
	ID        string `json:"id"`
	Name      string `json:"name"`
	Operator  bool   `json:"operator" doc:"Whether it owns the server"`
	Tier      string `json:"tier" enum:"free,pro,enterprise"`
	Quotas    Quotas `json:"quotas" doc:"Those that differ from the server's settings"`
	CreatedAt Time   `json:"created_at"`
	UpdatedAt Time   `json:"updated_at"`
}

// OrganizationChange changes what of an organization is in it.
type OrganizationChange struct {
	Tier   *string `json:"tier,omitzero" enum:"free,pro,enterprise"`
	Quotas *Quotas `json:"quotas,omitzero" doc:"A quota that is left out goes back to the server's setting"`
}

// Quotas says how many of each thing an organization may have; -1 is unlimited.
type Quotas struct {
	Agents       *int64 `json:"agents,omitzero" minimum:"-1"`
	AuthProfiles *int64 `json:"auth_profiles,omitzero" minimum:"-1"`
	Keys         *int64 `json:"keys,omitzero" minimum:"-1"`
}
