// Package python_test runs the tests of the Python SDK against the server of this
// tree.
package python_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"maps"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestThePythonSDKPassesItsTests(t *testing.T) {
	if testing.Short() {
		t.Skip("no Go runs in it that is not tested elsewhere")
	}
	python, err := exec.LookPath("python3")
	if err != nil {
		if os.Getenv("KEYWARD_TEST_REQUIRE") == "all" {
			t.Fatal("python3 is not installed")
		}
		t.Skip("python3 is not installed")
	}
	program := filepath.Join(t.TempDir(), "keyward")
	if out, err := exec.Command("go", "build", "-o", program, "../../cmd/keyward").CombinedOutput(); err != nil {
		t.Fatalf("build keyward: %v\n%s", err, out)
	}
	certificates := t.TempDir()
	writeCertificates(t, certificates)

	modules, err := filepath.Glob("tests/test_*.py")
	if err != nil || len(modules) == 0 {
		t.Fatalf("no tests: %v", err)
	}
	// All at once: most of it is waiting.
	wait := make(map[string]func() ([]byte, error))
	for _, file := range modules {
		module := strings.TrimSuffix(filepath.Base(file), ".py")
		c := exec.CommandContext(t.Context(), python, "-W", "error::ResourceWarning", "-m", "unittest", "tests."+module)
		c.Env = append(os.Environ(), "KEYWARD_PROGRAM="+program, "KEYWARD_TEST_TLS="+certificates, "PYTHONDONTWRITEBYTECODE=1")
		c.WaitDelay = time.Second
		var out bytes.Buffer
		c.Stdout, c.Stderr = &out, &out
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		wait[module] = func() ([]byte, error) {
			err := c.Wait()
			return out.Bytes(), err
		}
	}
	for _, module := range slices.Sorted(maps.Keys(wait)) {
		t.Run(module, func(t *testing.T) {
			out, err := wait[module]()
			t.Logf("%s", out)
			if err != nil {
				t.Error(err)
			}
		})
	}
}

// writeCertificates writes an authority (ca.pem), a certificate of it for this
// machine (cert.pem) and one for another (other.pem).
func writeCertificates(t *testing.T, folder string) {
	authority := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Tests"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	key := newKey(t)
	ca := certificate(t, authority, authority, key, key)
	write(t, filepath.Join(folder, "ca.pem"), "CERTIFICATE", ca)
	for number, c := range []struct {
		name    string
		address net.IP
	}{{"cert", net.IPv4(127, 0, 0, 1)}, {"other", net.IPv4(192, 0, 2, 1)}} {
		own := newKey(t)
		made := certificate(t, &x509.Certificate{
			SerialNumber: big.NewInt(int64(number) + 2), Subject: pkix.Name{CommonName: c.name}, NotBefore: authority.NotBefore, NotAfter: authority.NotAfter,
			IPAddresses: []net.IP{c.address}, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		}, authority, own, key)
		private, err := x509.MarshalPKCS8PrivateKey(own)
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(folder, c.name+".pem"), "CERTIFICATE", made)
		write(t, filepath.Join(folder, c.name+"-key.pem"), "PRIVATE KEY", private)
	}
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func certificate(t *testing.T, of, by *x509.Certificate, key, signer *ecdsa.PrivateKey) []byte {
	made, err := x509.CreateCertificate(rand.Reader, of, by, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func write(t *testing.T, file, kind string, b []byte) {
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}), 0o600); err != nil {
		t.Fatal(err)
	}
}
