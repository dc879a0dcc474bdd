package client_test

import (
	"encoding/json"
	"testing"

	"github.com/keyward/keyward/client"
)

func TestAChangeTellsLeftOutFromRemoved(t *testing.T) {
	for _, text := range []string{
		`{}`,
		`{"scopes":["read"],"expires_in":60,"external_id":"a","metadata":{"b":[1,2.50]}}`,
		`{"scopes":null,"agent_ids":null,"expires_in":null,"limits":null,"external_id":null,"metadata":null}`,
		`{"limits":{"requests_per_hour":5,"burst":null}}`,
	} {
		var c client.ChangeKey
		if err := json.Unmarshal([]byte(text), &c); err != nil {
			t.Fatal(err)
		}
		if got, err := json.Marshal(c); err != nil || string(got) != text {
			t.Errorf("%s came back as %s (%v)", text, got, err)
		}
	}
	c := client.ChangeKey{Scopes: client.Set([]string{"read"}), ExternalID: client.Remove[string]()}
	switch {
	case c.AgentIDs.To() != nil:
		t.Error("what was left out is set")
	case len(*c.Scopes.To()) != 1:
		t.Error("what was set is not")
	case *c.ExternalID.To() != "":
		t.Error("what was removed is not")
	}
}
