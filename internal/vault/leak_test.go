package vault_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/dbtest"
	"github.com/keyward/keyward/internal/vault"
)

func TestNothingPrintsASecret(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		const marked = "MARKED-SECRET"
		name := "p"
		in := vault.UpsertRequest{AgentID: "shop", Name: &name, Values: values("username", `"`+marked+`"`), KeepSession: true}
		u := h.upsert(t, h.jane, in)
		in.Token = secret(u.Token)
		o := h.open(t, u.Token)
		defer o.Close()
		if err := o.SaveSession(t.Context(), []byte(`{"s":"`+marked+`"}`)); err != nil {
			t.Fatal(err)
		}
		full := h.open(t, u.Token)
		defer full.Close()

		var out strings.Builder
		for _, log := range []*slog.Logger{slog.New(slog.NewTextHandler(&out, nil)), slog.New(slog.NewJSONHandler(&out, nil))} {
			log.Info("x", "in", in, "values", in.Values, "answer", u, "opened", full, "pair", []any{in, *full})
		}
		for _, v := range []any{in, &in, in.Values, in.Values[0], u, &u, full, *full, struct{ in vault.UpsertRequest }{in}, struct{ v any }{*full}} {
			fmt.Fprintf(&out, "%v %+v %#v %s %q %x\n", v, v, v, v, v, v)
			text, _ := json.Marshal(v)
			out.Write(text)
		}
		for _, secret := range []string{marked, u.Token.Reveal()} {
			for _, form := range encodings(secret) {
				if strings.Contains(out.String(), form) {
					t.Errorf("a secret is printed, as %s", form)
				}
			}
		}
	})
}

func TestNothingReadableReachesTheFiles(t *testing.T) {
	dir := t.TempDir()
	d, err := db.Open(t.Context(), "sqlite:"+filepath.Join(dir, "keyward.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := d.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	h := newHouse(t, d)
	const marked = "MARKED-SECRET"
	u := h.kept(t, `{"s":"`+marked+`"}`, "username", `"`+marked+`"`)
	h.upsert(t, h.jane, vault.UpsertRequest{AgentID: "shop", Token: secret(u.Token), Values: values("password", `"`+marked+`"`)})
	tok := h.rotate(t, u.Token, 0)
	if err := h.try(t, tok); err != nil {
		t.Fatal(err)
	}

	var all bytes.Buffer
	err = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		all.Write(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(all.Bytes(), []byte("username")) {
		t.Fatal("the name of a field is in no file: the test looks in the wrong place")
	}
	for _, secret := range []string{marked, u.Token.Reveal()[20:], tok.Reveal()[20:]} {
		for _, form := range encodings(secret) {
			if bytes.Contains(all.Bytes(), []byte(form)) {
				t.Errorf("a secret is in a file, as %s", form)
			}
		}
	}
	raw, err := base64.RawURLEncoding.DecodeString(tok.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(all.Bytes(), raw[11:20]) {
		t.Error("the secret part of a token is in a file")
	}
}

// encodings returns the forms in which text could stand somewhere.
func encodings(text string) []string {
	b := []byte(text)
	return []string{text, hex.EncodeToString(b), strings.ToUpper(hex.EncodeToString(b)),
		strings.Trim(base64.StdEncoding.EncodeToString(b), "="), fmt.Sprint(b), strings.Trim(fmt.Sprint(b), "[]")}
}
