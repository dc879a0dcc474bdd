package client

// AuditEntry is one thing that was done.
type AuditEntry struct {
	ID        string            `json:"id"`
	Seq       int64             `json:"seq,omitzero" doc:"Its place in the server's chain; left out for up to a second, until it has one"`
	At        Time              `json:"at"`
	Action    string            `json:"action" example:"key.create"`
	AccountID string            `json:"account_id,omitzero"`
	KeyID     int64             `json:"key_id,omitzero"`
	Subject   AuditSubject      `json:"subject"`
	Address   string            `json:"address,omitzero" doc:"Where the request came from"`
	RequestID string            `json:"request_id,omitzero"`
	Notes     map[string]string `json:"notes,omitzero"`
}

// AuditSubject is what something was done to.
type AuditSubject struct {
	Kind string `json:"kind" enum:"account,organization,key,agent,auth_profile,run,server,sign_in,device_login"`
	ID   string `json:"id"`
	Name string `json:"name,omitzero"`
}
