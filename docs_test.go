package keyward_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Each module that go.mod requires by itself is named, with its reason, in
// docs/decisions/0001-dependencies.md.
func TestEveryDependencyHasItsSentence(t *testing.T) {
	reasons, err := os.ReadFile("docs/decisions/0001-dependencies.md")
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("go", "list", "-m", "-f", "{{if not (or .Main .Indirect)}}{{.Path}}{{end}}", "all").Output()
	if err != nil {
		t.Fatal(err)
	}
	inside := regexp.MustCompile(`^([^/]+/[^/]+(/[^/]+)?)`) // a module may be one of several in its repository
	for module := range strings.FieldsSeq(string(out)) {
		name := inside.FindString(module)
		if !strings.Contains(string(reasons), strings.TrimPrefix(name, "github.com/")) {
			t.Errorf("%s has no sentence", module)
		}
	}
}

// A link to a file of the repository leads to one.
func TestLinksLead(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#\s]+)[^)]*\)`)
	found := 0
	err := filepath.WalkDir(".", func(path string, entry os.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".md" {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			found++
			if _, err := os.Stat(filepath.Join(filepath.Dir(path), m[1])); err != nil {
				t.Errorf("%s has a link to %s, which is not there", path, m[1])
			}
		}
		return nil
	})
	if err != nil || found == 0 {
		t.Errorf("%d links, %v", found, err)
	}
}
