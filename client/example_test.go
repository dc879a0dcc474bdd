package client_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/keyward/keyward/client"
)

func Example() {
	defer environment()() // a server, and KEYWARD_SERVER and KEYWARD_API_KEY for it

	c, err := client.New()
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	key, err := c.Keys.Create(ctx, client.CreateKey{Name: "monitoring", Scopes: []string{"read"}})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(key.Name, key.Type, key.Secret[:8]) // key.Secret is there this once

	if err := c.Keys.Revoke(ctx, key.ID); err != nil {
		log.Fatal(err)
	}
	revoked, err := c.Keys.Get(ctx, key.ID)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(revoked.Status)
	// Output:
	// monitoring service ra_live_
	// revoked
}

func ExampleError() {
	defer environment()()
	c, err := client.New()
	if err != nil {
		log.Fatal(err)
	}
	_, err = c.Keys.Get(context.Background(), 42)

	var refused *client.Error
	switch {
	case errors.Is(err, client.ErrKeyNotFound):
		fmt.Println("there is no such key")
	case errors.As(err, &refused):
		fmt.Println("refused:", refused.Code, refused.Message, "tell support", refused.RequestID)
	case err != nil:
		fmt.Println("no answer:", err)
	}
	// Output: there is no such key
}

func ExampleKeyCalls_All() {
	defer environment()()
	c, err := client.New()
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	for _, name := range []string{"old", "new"} {
		if _, err := c.Keys.Create(ctx, client.CreateKey{Name: name, Scopes: []string{"run"}, ExternalID: "customer-42"}); err != nil {
			log.Fatal(err)
		}
	}

	for key, err := range c.Keys.All(ctx, client.KeyFilter{ExternalID: "customer-42"}) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(key.Name, key.Status)
	}
	// Output:
	// new active
	// old active
}

func ExampleKeyCalls_Change() {
	defer environment()()
	c, err := client.New()
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	key, err := c.Keys.Create(ctx, client.CreateKey{Name: "production", Scopes: []string{"run"}, ExternalID: "customer-42"})
	if err != nil {
		log.Fatal(err)
	}

	// What is left out stays as it is.
	changed, err := c.Keys.Change(ctx, key.ID, client.ChangeKey{
		AddIPs:     []string{"192.0.2.0/24"},
		Limits:     client.Set(client.ChangeKeyLimits{RequestsPerHour: client.Set(int64(90))}),
		ExternalID: client.Remove[string](),
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(changed.Name, changed.AllowedIPs, changed.Limits.RequestsPerHour, changed.ExternalID == "")
	// Output: production [192.0.2.0/24] 90 true
}

func ExampleKeyCalls_Verify() {
	defer environment()()
	c, err := client.New()
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	customers, err := c.Keys.Create(ctx, client.CreateKey{Name: "customer 42", Scopes: []string{"run"}, ExternalID: "customer-42"})
	if err != nil {
		log.Fatal(err)
	}

	for _, key := range []string{customers.Secret, "something else"} {
		v, err := c.Keys.Verify(ctx, client.VerifyKey{Key: key, Scopes: []string{"agents:run"}})
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(v.Valid, v.Code, v.ExternalID)
	}
	// Output:
	// true VALID customer-42
	// false INVALID_API_KEY
}

func ExampleRunCalls_Stream() {
	// An agent is a web service that Keyward calls. This one answers each run with
	// two parts and a whole.
	agent := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, `{"chunk": "two"}`)
		fmt.Fprintln(w, `{"chunk": "invoices"}`)
		fmt.Fprintln(w, `{"output": {"invoices": ["2024-01", "2024-02"]}}`)
	}))
	defer agent.Close()
	defer environment()()
	c, err := client.New()
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	_, err = c.Agents.Create(ctx, client.AgentDefinition{ID: "invoices", Name: "Invoices", Runner: client.Runner{Type: "http", URL: agent.URL}})
	if err != nil {
		log.Fatal(err)
	}

	for event, err := range c.Runs.Stream(ctx, "invoices", client.RunInput{}) {
		if err != nil {
			log.Fatal(err)
		}
		switch event.Kind {
		case client.EventChunk:
			fmt.Println(event.Text())
		case client.EventDone:
			run, err := event.Run()
			if err != nil {
				log.Fatal(err)
			}
			fmt.Println(run.Status, string(run.Output))
		}
	}
	// Output:
	// two
	// invoices
	// succeeded {"invoices":["2024-01","2024-02"]}
}

func ExampleRunCalls_Invoke() {
	agent := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, `{"error": "the site is closed today"}`)
	}))
	defer agent.Close()
	defer environment()()
	c, err := client.New()
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	_, err = c.Agents.Create(ctx, client.AgentDefinition{
		ID: "invoices", Name: "Invoices", Runner: client.Runner{Type: "http", URL: agent.URL},
		InputArguments: []client.InputArgument{{Name: "months", Type: "number"}},
	})
	if err != nil {
		log.Fatal(err)
	}

	_, err = c.Runs.Invoke(ctx, "invoices", client.RunInput{Parameters: map[string]any{"months": 3}})
	var failed *client.Error
	if errors.Is(err, client.ErrRunFailed) && errors.As(err, &failed) {
		fmt.Println(failed.Message)
	}
	// Output: the site is closed today
}

func ExampleWithSigningSecret() {
	defer environment()()
	owner, err := client.New()
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	key, err := owner.Keys.Create(ctx, client.CreateKey{Name: "signed", RequireSignature: true})
	if err != nil {
		log.Fatal(err)
	}

	signed, err := owner.With(client.WithAPIKey(key.Secret), client.WithSigningSecret(key.SigningSecret), client.WithUserAgent("billing/1.2"))
	if err != nil {
		log.Fatal(err)
	}
	self, err := signed.Keys.Self(ctx)
	fmt.Println(self.Name, err)
	// Output: signed <nil>
}
