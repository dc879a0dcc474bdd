package keywardtest_test

import (
	"errors"
	"testing"

	"github.com/keyward/keyward/client"
	"github.com/keyward/keyward/keywardtest"
)

func TestTheExampleIsRight(t *testing.T) { testOrders(t) }

func TestClientsAreOfPeopleOfTheirOwn(t *testing.T) {
	s := keywardtest.Start(t)
	one, other, operator := s.Client(t), s.Client(t), s.Operator(t)
	made, err := one.Agents.Create(t.Context(), client.AgentDefinition{ID: "a", Name: "A", Runner: client.Runner{Type: "http", URL: "https://agents.example.com"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []*client.Client{other, operator} {
		if _, err := c.Agents.Get(t.Context(), made.ID); !errors.Is(err, client.ErrAgentNotFound) {
			t.Errorf("somebody else's agent: %v", err)
		}
	}
	public := "public"
	if _, err := one.Agents.Change(t.Context(), made.ID, client.AgentChange{Visibility: &public}); err == nil {
		t.Error("the first client is the operator's")
	}
	if _, err := operator.Agents.Create(t.Context(), client.AgentDefinition{ID: "b", Name: "B", Visibility: "public", Runner: client.Runner{Type: "http", URL: "https://agents.example.com"}}); err != nil {
		t.Errorf("the operator is not: %v", err)
	}
	if _, err := one.Agents.Get(t.Context(), "public/b"); err != nil {
		t.Errorf("a public agent: %v", err)
	}
	who := s.SignUp(t)
	if me, err := who.Client.Auth.Me(t.Context()); err != nil || me.ID != who.ID {
		t.Errorf("who has signed up is %+v, %v", me, err)
	}
}
