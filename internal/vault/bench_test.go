package vault_test

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/vault"
)

func benchHouse(b *testing.B) *house {
	b.Helper()
	d, err := db.Open(b.Context(), "sqlite:"+filepath.Join(b.TempDir(), "keyward.db"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { d.Close() })
	if err := d.Migrate(b.Context()); err != nil {
		b.Fatal(err)
	}
	return newHouse(b, d)
}

func tenValues() []vault.Value {
	var pairs []string
	for _, name := range arguments[:10] {
		pairs = append(pairs, name, `"correct horse battery staple"`)
	}
	return values(pairs...)
}

// BenchmarkCreateTenValues makes profiles one after the other, each in a
// durable commit of its own.
func BenchmarkCreateTenValues(b *testing.B) {
	h, ten := benchHouse(b), tenValues()
	n := 0
	for b.Loop() {
		n++
		if _, err := h.Create(b.Context(), h.jane, "shop", fmt.Sprint(n), ten); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkOpenTenValues opens a profile, its rows read from the database.
func BenchmarkOpenTenValues(b *testing.B) {
	h := benchHouse(b)
	u, err := h.Create(b.Context(), h.jane, "shop", "p", tenValues())
	if err != nil {
		b.Fatal(err)
	}
	token, agent := secret(u.Token), h.agent("uid-shop")
	for b.Loop() {
		o, err := h.Open(b.Context(), h.jane, agent, token)
		if err != nil {
			b.Fatal(err)
		}
		o.Close()
	}
}
