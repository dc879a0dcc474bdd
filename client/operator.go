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
	ID              string             `json:"id"`
	Name            string             `json:"name"`
	Operator        bool               `json:"operator" doc:"Whether it owns the server"`
	Tier            string             `json:"tier" enum:"free,pro,enterprise"`
	Limits          OrganizationLimits `json:"limits" doc:"Those that differ from the tier's; -1 is unlimited"`
	EffectiveLimits OrganizationLimits `json:"effective_limits" doc:"What each of its keys has, if the key has no lower ones. One that is left out is unlimited"`
	Quotas          Quotas             `json:"quotas" doc:"Those that differ from the server's settings"`
	CreatedAt       Time               `json:"created_at"`
	UpdatedAt       Time               `json:"updated_at"`
}

// OrganizationChange changes what of an organization is in it.
type OrganizationChange struct {
	Tier   *string             `json:"tier,omitzero" enum:"free,pro,enterprise"`
	Limits *OrganizationLimits `json:"limits,omitzero" doc:"A limit that is left out goes back to the tier's; -1 is unlimited"`
	Quotas *Quotas             `json:"quotas,omitzero" doc:"A quota that is left out goes back to the server's setting"`
}

// OrganizationLimits says how often each key of an organization may be used.
type OrganizationLimits struct {
	RequestsPerHour  *int64 `json:"requests_per_hour,omitzero" minimum:"-1" maximum:"1000000000" doc:"In a window that opens with its first request"`
	Burst            *int64 `json:"burst,omitzero" minimum:"-1" maximum:"1000000000" doc:"In any one second"`
	RequestsPerMonth *int64 `json:"requests_per_month,omitzero" minimum:"-1" maximum:"1000000000000" doc:"In a calendar month, UTC"`
}

// Quotas says how many of each thing an organization may have; -1 is unlimited.
type Quotas struct {
	Agents       *int64 `json:"agents,omitzero" minimum:"-1"`
	AuthProfiles *int64 `json:"auth_profiles,omitzero" minimum:"-1"`
	Keys         *int64 `json:"keys,omitzero" minimum:"-1"`
	QueuedRuns   *int64 `json:"queued_runs,omitzero" minimum:"-1" doc:"Started without waiting for them, and not ended"`
}
