package client_test

import (
	"context"
	"log"
	"os"
	"testing"

	"github.com/keyward/keyward/client"
	"github.com/keyward/keyward/keywardtest"
)

// example is what keywardtest needs of a test, for an example.
type example struct {
	testing.TB
	ends []func()
}

func (e *example) Helper()                           {}
func (e *example) Cleanup(f func())                  { e.ends = append(e.ends, f) }
func (e *example) Failed() bool                      { return false }
func (e *example) Context() context.Context          { return context.Background() }
func (e *example) Fatal(args ...any)                 { log.Panic(args...) }
func (e *example) Fatalf(format string, args ...any) { log.Panicf(format, args...) }
func (e *example) Errorf(format string, args ...any) { log.Panicf(format, args...) }

func (e *example) TempDir() string {
	dir, err := os.MkdirTemp("", "keyward")
	if err != nil {
		log.Panic(err)
	}
	e.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// environment starts a server for an example, and sets KEYWARD_SERVER and
// KEYWARD_API_KEY as somebody who uses it would. What it returns undoes that.
func environment(options ...keywardtest.Options) (end func()) {
	e := &example{}
	s := keywardtest.Start(e, options...)
	who := s.SignUp(e)
	key, err := who.Client.Keys.Create(context.Background(), client.CreateKey{Name: "mine"})
	if err != nil {
		log.Panic(err)
	}
	e.set("KEYWARD_SERVER", s.URL)
	e.set("KEYWARD_API_KEY", key.Secret)
	return func() {
		for i := len(e.ends) - 1; i >= 0; i-- {
			e.ends[i]()
		}
	}
}

func (e *example) set(name, value string) {
	before, was := os.LookupEnv(name)
	os.Setenv(name, value)
	e.Cleanup(func() {
		if os.Unsetenv(name); was {
			os.Setenv(name, before)
		}
	})
}
