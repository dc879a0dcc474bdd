package keywardtest

import (
	"crypto/rand"
	"strings"
	"testing"

	"github.com/keyward/keyward/client"
)

// Person is somebody who has an account on the server.
type Person struct {
	client.RegisteredAccount
	Password string

	// Client is signed in as that person.
	Client *client.Client
}

// Client returns a client of a new account, with an organization of its own. Its
// API key may do all that the account may.
func (s *Server) Client(t testing.TB) *client.Client {
	t.Helper()
	return s.withKey(t, s.SignUp(t))
}

// Operator returns a client of the operator, whose agents may be public. It can be
// asked for once: the server has one setup code. What only a sign-in may do, such
// as to change the limits of an organization, is for [Server.SignUpOperator].
func (s *Server) Operator(t testing.TB) *client.Client {
	t.Helper()
	return s.withKey(t, s.SignUpOperator(t))
}

func (s *Server) withKey(t testing.TB, p Person) *client.Client {
	t.Helper()
	key, err := p.Client.Keys.Create(t.Context(), client.CreateKey{Name: "keywardtest"})
	if err != nil {
		t.Fatalf("make a key: %v", err)
	}
	return s.connect(t, client.WithAPIKey(key.Secret))
}

// SignUp makes an account with an organization of its own, and signs it in.
func (s *Server) SignUp(t testing.TB) Person {
	t.Helper()
	return s.signUp(t, "")
}

// SignUpOperator is SignUp for the operator. It can be asked for once.
func (s *Server) SignUpOperator(t testing.TB) Person {
	t.Helper()
	return s.signUp(t, s.SetupCode(t))
}

func (s *Server) signUp(t testing.TB, code string) Person {
	t.Helper()
	c := s.connect(t, client.WithoutCredentials())
	in := client.Registration{Name: "Jane", Email: strings.ToLower(rand.Text()) + "@example.com", Password: rand.Text(), SetupCode: code}
	made, err := c.Auth.Register(t.Context(), in)
	if err != nil {
		t.Fatalf("sign up: %v", err)
	}
	tokens, err := c.Auth.SignIn(t.Context(), in.Email, in.Password)
	if err != nil {
		t.Fatalf("sign in: %v", err)
	}
	return Person{made, in.Password, s.connect(t, client.WithSignIn(tokens, nil))}
}

func (s *Server) connect(t testing.TB, who client.Option) *client.Client {
	t.Helper()
	c, err := client.New(client.WithServer(s.URL), who)
	if err != nil {
		t.Fatal(err)
	}
	return c
}
