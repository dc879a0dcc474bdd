package verify

import (
	"strconv"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/keyward/keyward/client"
)

// encode returns v as JSON, the same bytes that package api writes of it. What
// says that a key is good is written by hand, since that is what most answers are.
func encode(v *client.Verification) ([]byte, error) {
	if !v.Valid || v.Metadata != nil {
		return json.Marshal(v, json.Deterministic(true))
	}
	b := make([]byte, 0, 512)
	b = append(b, `{"valid":true,"code":"VALID"`...)
	if v.KeyID != 0 {
		b = append(b, `,"key_id":`...)
		b = strconv.AppendInt(b, v.KeyID, 10)
	}
	var err error
	for _, field := range [...]struct{ name, value string }{
		{`,"name":`, v.Name}, {`,"type":`, v.Type}, {`,"organization_id":`, v.OrganizationID}, {`,"account_id":`, v.AccountID}, {`,"external_id":`, v.ExternalID},
	} {
		if field.value != "" {
			b = append(b, field.name...)
			if b, err = jsontext.AppendQuote(b, field.value); err != nil {
				return nil, err
			}
		}
	}
	for _, field := range [...]struct {
		name   string
		values []string
	}{{`,"scopes":[`, v.Scopes}, {`,"agent_ids":[`, v.AgentIDs}} {
		if field.values == nil {
			continue
		}
		b = append(b, field.name...)
		for i, value := range field.values {
			if i > 0 {
				b = append(b, ',')
			}
			if b, err = jsontext.AppendQuote(b, value); err != nil {
				return nil, err
			}
		}
		b = append(b, ']')
	}
	if !v.ExpiresAt.IsZero() {
		b = append(b, `,"expires_at":"`...)
		b = append(b, v.ExpiresAt.String()...)
		b = append(b, '"')
	}
	if r := v.RateLimit; r != nil {
		b = append(b, `,"ratelimit":{"limit":`...)
		b = strconv.AppendInt(b, r.Limit, 10)
		b = append(b, `,"remaining":`...)
		b = strconv.AppendInt(b, r.Remaining, 10)
		b = append(b, `,"reset":`...)
		b = strconv.AppendInt(b, r.Reset, 10)
		b = append(b, '}')
	}
	return append(b, '}'), nil
}
