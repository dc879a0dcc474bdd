package keywardtest_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/keyward/keyward/client"
	"github.com/keyward/keyward/keywardtest"
)

// testOrders is a test of a service that lets in whoever has a key of Keyward.
// Keyward is the real one.
func testOrders(t *testing.T) {
	server := keywardtest.Start(t)
	owner := server.Client(t)

	own, err := owner.Keys.Create(t.Context(), client.CreateKey{Name: "orders", Scopes: []string{"keys:verify"}})
	if err != nil {
		t.Fatal(err)
	}
	orders := httptest.NewServer(client.Protect(http.NotFoundHandler(), client.Guard{Server: server.URL, APIKey: own.Secret}))
	defer orders.Close()

	customer, err := owner.Keys.Create(t.Context(), client.CreateKey{Name: "a customer", Scopes: []string{"run"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := owner.Keys.Revoke(t.Context(), customer.ID); err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, orders.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-API-Key", customer.Secret)
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusUnauthorized {
		t.Errorf("a revoked key was answered %s", answer.Status)
	}
}

// In your package testOrders is TestOrders.
func Example() {
	var TestOrders func(*testing.T) = testOrders
	_ = TestOrders
}
