// Package client is the one place where the JSON of Keyward's /v1 is spelled:
// the server answers with these types, and a Go program reads them.
package client
