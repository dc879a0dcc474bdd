package serve

import (
	"bytes"
	"flag"
	"os"
	"testing"
)

var update = flag.Bool("update", false, "write openapi.yaml")

func TestOpenAPIDocumentIsFresh(t *testing.T) {
	const path = "../../openapi.yaml"
	now, err := Document()
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(path, now, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	kept, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(kept, now) {
		t.Errorf("openapi.yaml is not what the code says (%v): go test ./internal/serve -update", err)
	}
}
