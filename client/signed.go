package client

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

func (c *Client) signs(op *operation) bool { return !op.public && !c.signing.empty() }

// sign signs r, whose body is given: docs/keys.md has the form.
func (c *Client) sign(r *http.Request, body []byte) {
	stamp := strconv.FormatInt(time.Now().Unix(), 10)
	mac := hmac.New(sha256.New, []byte(c.signing.reveal()))
	fmt.Fprintf(mac, "%s\n%s\n%s\n%s", r.Method, r.URL.RequestURI(), stamp, body)
	r.Header.Set("X-Timestamp", stamp)
	r.Header.Set("X-Signature", hex.EncodeToString(mac.Sum(nil)))
}

// distinct returns body, which is JSON, with white space after it that no other
// body has. A signature is taken once, and is made of the second in which it is
// made, so without it the same call twice in a second would be refused.
func distinct(body []byte) []byte {
	var chance [16]byte
	_, _ = rand.Read(chance[:]) // it never fails
	body = append(make([]byte, 0, len(body)+8*len(chance)), body...)
	for _, b := range chance {
		for range 4 {
			body = append(body, " \t\n\r"[b&3])
			b >>= 2
		}
	}
	return body
}
