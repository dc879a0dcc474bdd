package client

// AuthProfile is what may be seen of an auth profile: never a value.
type AuthProfile struct {
	ID                string   `json:"id"`
	Name              string   `json:"name"`
	AgentID           string   `json:"agent_id"`
	Fields            []string `json:"fields" doc:"The names of its values"`
	ShouldSaveSession bool     `json:"should_save_session"`
	HasSession        bool     `json:"has_session" doc:"Whether a session is kept"`
	Destination       string   `json:"destination" doc:"Where its values may go" example:"http https agents.example.com 443"`
	CreatedAt         Time     `json:"created_at"`
	UpdatedAt         Time     `json:"updated_at"`
	LastUsedAt        Time     `json:"last_used_at,omitzero"`
}

// RotateToken asks for a new auth token of a profile.
type RotateToken struct {
	AgentID     string `json:"agent_id" minLength:"1"`
	AuthToken   string `json:"auth_token" minLength:"1" doc:"A token that opens the profile now"`
	GracePeriod int64  `json:"grace_period,omitzero" minimum:"0" maximum:"2592000" doc:"Seconds for which the old token goes on working"`
}

// AuthToken is the new token.
type AuthToken struct {
	AuthToken string `json:"auth_token" doc:"It is shown this once and can't be had again"`
}
