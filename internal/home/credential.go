package home

import (
	"encoding/json"
	"errors"
	"path/filepath"
	"strings"
)

// Credential is what a person calls a server with. He may have signed in, have a
// key, or both.
type Credential struct {
	Address string  `json:"address"`
	APIKey  string  `json:"api_key,omitzero"`
	KeyID   int64   `json:"key_id,omitzero"`
	OfLogin bool    `json:"of_login,omitzero"` // the key was made by a login, and ends with it
	SignIn  *SignIn `json:"sign_in,omitzero"`

	// New says that nobody else has the key yet. It is not kept.
	New bool `json:"-"`
}

// SignIn are the tokens of somebody who has signed in with his password.
type SignIn struct {
	Email        string `json:"email"`
	AccessToken  string `json:"access_token"`
	RefreshToken string `json:"refresh_token"`
}

// IsZero reports whether there is nothing in it.
func (c Credential) IsZero() bool { return c.APIKey == "" && c.SignIn == nil }

type credentials struct {
	Credentials []Credential `json:"credentials"`
}

// Credential returns what is kept for the server at an address, and where: a path,
// or "the system's keychain". There may be none.
func (h *Home) Credential(address string) (Credential, string, error) {
	var all credentials
	if err := h.read(credentialFile, &all); err != nil {
		return Credential{}, "", err
	}
	for _, c := range all.Credentials {
		if c.Address == address {
			return c, filepath.Join(h.dir, credentialFile), nil
		}
	}
	text, err := h.keychain.get(address)
	if errors.Is(err, errSilent) {
		return Credential{}, "", err
	}
	// Where a bus has no such service there is no keychain. One that is locked may
	// have something; the library has no error of its own for that.
	if err != nil && strings.Contains(err.Error(), "unlock") {
		h.closed = err
	}
	if err != nil || text == "" {
		return Credential{}, "", nil
	}
	var c Credential
	if err := json.Unmarshal([]byte(text), &c); err != nil || c.Address != address {
		return Credential{}, "", nil // another program's
	}
	return c, keychainName, nil
}

// Closed returns why the keychain is locked, if it was when a credential was asked
// for, or nil.
func (h *Home) Closed() error { return h.closed }

// ChangeCredential changes what is kept for the server at an address, and returns
// where it is now: "" if change left nothing. Nobody else does at the same time.
func (h *Home) ChangeCredential(address string, change func(*Credential) error) (where string, err error) {
	err = h.locked(func() error {
		c, _, err := h.Credential(address)
		if err != nil {
			return err
		}
		if err := change(&c); err != nil {
			return err
		}
		c.Address = address
		where, err = h.keep(c)
		return err
	})
	return where, err
}

// keep keeps c in the one place that it can be in.
func (h *Home) keep(c Credential) (string, error) {
	var all credentials
	if err := h.read(credentialFile, &all); err != nil {
		return "", err
	}
	var others []Credential
	for _, o := range all.Credentials {
		if o.Address != c.Address {
			others = append(others, o)
		}
	}
	inFile := len(others) < len(all.Credentials)
	where := ""
	switch {
	case c.IsZero():
		if err := h.keychain.remove(c.Address); err != nil {
			return "", err
		}
	case h.keychain.set(c) == nil:
		where = keychainName
	default:
		// There is no keychain, or it is locked, or has no room.
		where, inFile = filepath.Join(h.dir, credentialFile), true
		others = append(others, c)
	}
	if !inFile {
		return where, nil
	}
	return where, h.write(credentialFile, credentials{others})
}
