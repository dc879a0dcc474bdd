package home

import (
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/zalando/go-keyring"
)

const (
	keychainName    = "the system's keychain"
	keychainService = "keyward"

	// patience is for how long a keychain is waited for: it may ask its owner to open
	// it.
	patience = 30 * time.Second
)

// keychain is where a system keeps secrets.
type keychain interface {
	get(address string) (string, error)
	set(c Credential) error
	remove(address string) error
}

// system returns the keychain of this system, or one that keeps nothing.
func system(lookup func(string) (string, bool)) keychain {
	if use, _ := lookup("KEYWARD_KEYCHAIN"); use == "off" {
		return noKeychain{}
	}
	if runtime.GOOS == "darwin" {
		return ring{}
	}
	// Where no bus is named, to ask would start one.
	if bus, _ := lookup("DBUS_SESSION_BUS_ADDRESS"); bus == "" {
		return noKeychain{}
	}
	return ring{}
}

type noKeychain struct{}

func (noKeychain) get(string) (string, error) { return "", nil }
func (noKeychain) set(Credential) error       { return errors.New("there is no keychain") }
func (noKeychain) remove(string) error        { return nil }

// ring is the keychain of a desktop.
type ring struct{}

func (ring) get(address string) (string, error) {
	text, err := patiently(func() (string, error) { return keyring.Get(keychainService, address) })
	if errors.Is(err, keyring.ErrNotFound) {
		return "", nil
	}
	return text, err
}

func (ring) set(c Credential) error {
	text, err := json.Marshal(c)
	if err != nil {
		return err
	}
	_, err = patiently(func() (string, error) { return "", keyring.Set(keychainService, c.Address, string(text)) })
	return err
}

func (r ring) remove(address string) error {
	switch text, err := r.get(address); {
	case errors.Is(err, errSilent):
		return err
	case err != nil || text == "":
		return nil // there is none, or nothing that can be got from it
	}
	_, err := patiently(func() (string, error) { return "", keyring.Delete(keychainService, address) })
	return err
}

var errSilent = fmt.Errorf("%s did not answer within %v: open it, or set KEYWARD_KEYCHAIN=off to do without", keychainName, patience)

func patiently(do func() (string, error)) (string, error) {
	type answer struct {
		text string
		err  error
	}
	done := make(chan answer, 1)
	go func() {
		text, err := do()
		done <- answer{text, err}
	}()
	select {
	case a := <-done:
		return a.text, a.err
	case <-time.After(patience):
		return "", errSilent
	}
}
