package serve

import (
	"path/filepath"
	"slices"
	"testing"

	"github.com/keyward/keyward/internal/audit"
	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/node"
)

// A rotation of the root key renews what is on the list; what is not on it would
// be lost with the old version.
func TestEveryTableUnderTheRootKeyIsRenewedByARotation(t *testing.T) {
	d, err := db.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "keyward.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := d.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	var listed []string
	for _, r := range (&server{audit: &audit.Log{}, fleet: &node.Fleet{}}).rows() {
		listed = append(listed, r.Tables...)
	}
	rows, err := d.Query(t.Context(), `SELECT m.name FROM sqlite_master m JOIN pragma_table_info(m.name) c ON c.name = 'root_version' WHERE m.type = 'table'`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	found := 0
	for rows.Next() {
		var table string
		if err := rows.Scan(&table); err != nil {
			t.Fatal(err)
		}
		if found++; !slices.Contains(listed, table) {
			t.Errorf("%s has a root_version and is renewed by nobody", table)
		}
	}
	if err := rows.Err(); err != nil || found != len(listed) {
		t.Errorf("%d tables have a root_version, %d are listed (%v)", found, len(listed), err)
	}
}
