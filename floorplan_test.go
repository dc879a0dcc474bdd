package keyward_test

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/keyward/keyward/"

// floorplan says which of our packages each may import. A new arrow is a
// decision: draw it here first, and say why in docs/decisions. Arrows run down
// only: cmd → serve → faces → flows → nouns → ground.
var floorplan = map[string]string{
	// What users of Keyward import.
	"client": "",

	// Tests of the SDKs for other languages, which run there.
	"sdk/python":     "",
	"sdk/typescript": "",

	// Tests of the examples in it.
	"deploy": "",

	// Ground.
	"internal/fault":    "",
	"internal/seal":     "",
	"internal/folder":   "",
	"internal/db":       "",
	"internal/config":   "internal/seal",
	"internal/egress":   "internal/fault",
	"internal/confine":  "",
	"internal/access":   "internal/db internal/fault internal/seal",
	"internal/quota":    "internal/db internal/fault",
	"internal/password": "internal/fault internal/seal",
	"internal/throttle": "",
	"internal/metrics":  "",
	"internal/webhook":  "internal/seal",
	"internal/mail":     "internal/seal",
	"internal/dbtest":   "internal/db",

	"internal/mail/mailtest": "",

	// Ground of the commands: what a person's machine is.
	"internal/terminal": "",
	"internal/home":     "",

	// Nouns: ground alone.
	"internal/account": "internal/access internal/db internal/fault internal/password internal/seal internal/throttle",
	"internal/signing": "internal/access internal/db internal/seal",
	"internal/apikey":  "internal/access internal/db internal/fault internal/quota internal/seal",
	"internal/agent":   "internal/access internal/db internal/egress internal/fault internal/quota internal/seal internal/webhook",
	"internal/vault":   "internal/access internal/db internal/fault internal/quota internal/seal",
	"internal/audit":   "internal/access internal/db internal/seal",
	"internal/alert":   "internal/access internal/db internal/egress internal/fault internal/mail internal/seal internal/throttle internal/webhook",
	"internal/limit":   "internal/access internal/db",
	"internal/usage":   "internal/access internal/db internal/fault",
	"internal/node":    "internal/db internal/seal",
	"internal/rootkey": "internal/access internal/db internal/seal",
	"internal/runkey":  "internal/seal",
	"internal/device":  "internal/access internal/db internal/fault internal/seal internal/throttle",

	// Flows: nouns and ground.
	"internal/gate": "internal/access internal/account internal/apikey internal/db internal/fault internal/limit internal/metrics internal/seal internal/throttle internal/usage",
	"internal/run":  "internal/access internal/agent internal/confine internal/db internal/egress internal/fault internal/quota internal/seal internal/webhook",

	// Asks the nouns for the form of what it finds.
	"internal/scan": "internal/apikey internal/seal",

	// Faces: HTTP in, one call down, HTTP out.
	"internal/api":          "client internal/access internal/fault internal/seal",
	"internal/api/apitest":  "",
	"internal/api/auth":     "client internal/access internal/account internal/api internal/apikey internal/fault internal/seal",
	"internal/api/v1":       "client internal/access internal/account internal/agent internal/alert internal/api internal/apikey internal/audit internal/fault internal/run internal/seal internal/usage internal/vault",
	"internal/api/verify":   "client internal/access internal/api internal/apikey internal/fault internal/gate",
	"internal/api/runagent": "client internal/access internal/account internal/agent internal/api internal/device internal/fault internal/run internal/seal internal/vault",
	"internal/dashboard":    "internal/access internal/account internal/api internal/device internal/fault internal/run internal/seal",
	"internal/api/profiles": "internal/access internal/agent internal/api internal/fault internal/run internal/seal internal/vault",

	// The composition root, and what starts it.
	"internal/serve": "*",
	"keywardtest":    "client internal/serve internal/config",
	"internal/demo":  "examples/invoices-agent examples/portal internal/config internal/serve",
	"cmd/keyward":    "client internal/config internal/demo internal/folder internal/home internal/scan internal/serve internal/terminal",
}

func TestArrowsRunAsDrawn(t *testing.T) {
	for _, p := range packages(t) {
		name := strings.TrimPrefix(p.ImportPath, module)
		if name == p.ImportPath || strings.HasPrefix(name, "examples/") || strings.HasPrefix(name, "bench/") {
			// Examples and measurements stand outside of the house; nothing in
			// it but the demo may import them, which is checked below.
			continue
		}
		allowed, drawn := floorplan[name]
		if !drawn {
			t.Errorf("%s is not on the floor plan", name)
			continue
		}
		for _, imported := range p.Imports {
			arrow, ours := strings.CutPrefix(imported, module)
			if ours && allowed != "*" && !slices.Contains(strings.Fields(allowed), arrow) {
				t.Errorf("%s imports %s: that arrow is not on the floor plan", name, arrow)
			}
		}
	}
}

// An arrow that nobody walks any more comes off the plan.
func TestEveryDrawnArrowIsWalked(t *testing.T) {
	found := map[string][]string{}
	for _, p := range packages(t) {
		found[strings.TrimPrefix(p.ImportPath, module)] = p.Imports
	}
	for name, allowed := range floorplan {
		imports, there := found[name]
		if !there {
			t.Errorf("%s is on the floor plan and is no package", name)
			continue
		}
		for arrow := range strings.FieldsSeq(allowed) {
			if arrow != "*" && !slices.Contains(imports, module+arrow) {
				t.Errorf("%s may import %s and does not: take the arrow off the plan", name, arrow)
			}
		}
	}
}

type goPackage struct {
	ImportPath string
	Imports    []string
}

func packages(t *testing.T) []goPackage {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", "./...").Output()
	if err != nil {
		t.Fatal(err)
	}
	var all []goPackage
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p goPackage
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}
