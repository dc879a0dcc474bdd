package deploy_test

import (
	"os"
	"path/filepath"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/keyward/keyward/keywardtest"
)

func TestKeywardTakesItsExampleSettings(t *testing.T) {
	text, err := os.ReadFile("keyward.yaml")
	if err != nil {
		t.Fatal(err)
	}
	keywardtest.Start(t, keywardtest.Options{File: string(text)})
}

// Traefik is not run here: its middleware must name what Keyward needs and all
// that a client must not be able to claim.
func TestTraefikIsToldAllOfIt(t *testing.T) {
	for file, into := range map[string]any{"keyward.yml": &dynamic, "traefik.yml": &struct{}{}} {
		text, err := os.ReadFile(filepath.Join("traefik", file))
		if err != nil {
			t.Fatal(err)
		}
		if err := yaml.Unmarshal(text, into); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
	f := dynamic.HTTP.Middlewares["keyward"].ForwardAuth
	if f.Trust == nil || *f.Trust || f.Address == "" {
		t.Errorf("the address is %q, and what clients say of theirs may be believed", f.Address)
	}
	for _, c := range []struct{ has, want []string }{
		{f.Request, []string{"Authorization", "X-API-Key"}},
		{f.Response, []string{"X-Key-Id", "X-Key-Name", "X-Organization-Id", "X-Account-Id", "X-Key-Scopes"}},
	} {
		named := map[string]bool{}
		for _, name := range c.has {
			named[name] = true
		}
		for _, name := range c.want {
			if !named[name] {
				t.Errorf("%s is not named", name)
			}
		}
	}
}

var dynamic struct {
	HTTP struct {
		Middlewares map[string]struct {
			ForwardAuth struct {
				Address  string
				Trust    *bool    `yaml:"trustForwardHeader"`
				Request  []string `yaml:"authRequestHeaders"`
				Response []string `yaml:"authResponseHeaders"`
			} `yaml:"forwardAuth"`
		}
	}
}
