package seal

import (
	"bytes"
	"slices"
	"testing"
)

func TestEveryTagIsThatOfEachRootKeyThatIsHeld(t *testing.T) {
	root, _ := NewRoot()
	fields := [][]byte{Text("user code"), Text("BCDFGHJK")}
	_, first := root.Tag(DeviceRow, fields...)
	version, _ := root.AddNew()
	if err := root.SetActive(version); err != nil {
		t.Fatal(err)
	}
	_, second := root.Tag(DeviceRow, fields...)
	has := func(tag []byte) bool {
		return slices.ContainsFunc(root.EveryTag(DeviceRow, fields...), func(one []byte) bool { return bytes.Equal(one, tag) })
	}
	if !has(first) || !has(second) || len(root.EveryTag(DeviceRow, fields...)) != 2 {
		t.Error("the tag of a root key is missing")
	}
	if err := root.Remove(1); err != nil {
		t.Fatal(err)
	}
	if has(first) || !has(second) {
		t.Error("there is the tag of a root key that is not held, or none of one that is")
	}
}
