package client_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/keyward/keyward/client"
)

// left are the operations that this SDK does not offer, and why.
var left = map[string]string{
	"createAPIKey": "Keys.Create does the same and more",
	"listAPIKeys":  "Keys.List does the same and more",
	"deleteAPIKey": "Keys.Revoke does the same",

	"signInAtAuthLogin":     "another path of signIn",
	"runAgent":              "Runs.Start and Runs.Invoke do the same and more",
	"runAgentAtApiRunAgent": "another path of runAgent",
	"verifyForGateway":      "for gateways; Protect is for services in Go",
	"jwks":                  "for libraries that check tokens, which are given its address",
	"getDocument":           "the document itself",

	"runAgentArchitecture":  "for RunAgent's SDKs",
	"runAgentExecute":       "for RunAgent's SDKs",
	"runAgentExecuteStream": "for RunAgent's SDKs",
	"runAgentHealth":        "for RunAgent's SDKs",
	"runAgentLimits":        "for RunAgent's SDKs",
	"runAgentProfile":       "for RunAgent's SDKs",
	"runAgentProjects":      "for RunAgent's SDKs",
	"runAgentRun":           "for RunAgent's SDKs",
	"runAgentStatus":        "for RunAgent's SDKs",
	"runAgentStream":        "for RunAgent's SDKs",
	"runAgentValidateToken": "for RunAgent's SDKs",
}

type document struct {
	Paths map[string]map[string]struct {
		OperationID string `yaml:"operationId"`
	}
	Components struct {
		Responses map[string]struct {
			Codes []string `yaml:"x-error-codes"`
		}
	}
}

func openapi(t *testing.T) (d document) {
	t.Helper()
	text, err := os.ReadFile("../openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	return d
}

func TestTheClientOffersTheOperationsOfTheDocument(t *testing.T) {
	offered := client.Offered()
	documented := map[string]string{}
	for path, methods := range openapi(t).Paths {
		for method, o := range methods {
			documented[o.OperationID] = strings.ToUpper(method) + " " + path
		}
	}
	for id, at := range documented {
		switch here, ok := offered[id]; {
		case ok && left[id] != "":
			t.Errorf("%s is offered and left out", id)
		case ok && here != at:
			t.Errorf("%s is at %s, not at %s", id, at, here)
		case !ok && left[id] == "":
			t.Errorf("%s (%s) is neither offered nor left out for a reason", id, at)
		}
	}
	for _, id := range slices.Concat(slices.Collect(maps.Keys(offered)), slices.Collect(maps.Keys(left))) {
		if documented[id] == "" {
			t.Errorf("the document has no %s", id)
		}
	}
	for id := range methods {
		if offered[id] == "" {
			t.Errorf("the behaviour scripts have a method for %s, which is not offered", id)
		}
	}
}

func TestEveryCodeOfTheDocumentHasAName(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "code.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	named := map[string]bool{}
	ast.Inspect(file, func(n ast.Node) bool {
		if text, ok := n.(*ast.BasicLit); ok && text.Kind == token.STRING {
			code, _ := strconv.Unquote(text.Value)
			if named[code] {
				t.Errorf("%s has two names", code)
			}
			named[code] = true
		}
		return true
	})
	form := regexp.MustCompile(`^[A-Z_]+$`)
	for name, r := range openapi(t).Components.Responses {
		for _, code := range r.Codes {
			if !form.MatchString(code) || !named[code] {
				t.Errorf("%s of %s has no name", code, name)
			}
		}
	}
}
