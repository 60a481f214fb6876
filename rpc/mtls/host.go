package mtls

import (
	"crypto/ed25519"
	"fmt"
	"time"
)

// A host's certificate is made anew at each start, and its key is what clients compare: it
// begins before any clock that could be right, and has no end (RFC 5280, 4.1.2.5).
var (
	hostFrom  = time.Date(2020, time.January, 1, 0, 0, 0, 0, time.UTC)
	hostUntil = time.Date(9999, time.December, 31, 23, 59, 59, 0, time.UTC)
)

// HostIdentity makes what a host proves to be, of a key as KeyPEM writes it, or of a new key
// if there is none. If the one that there is can't be read, an error comes beside an
// identity with a new one.
func HostIdentity(keyPEM []byte, name string) (i *Identity, made bool, err error) {
	var key ed25519.PrivateKey
	if keyPEM != nil {
		if key, err = ParseKey(keyPEM); err != nil {
			err = fmt.Errorf("the host's key: %w", err)
		}
	}
	if key == nil {
		made = true
		var kerr error
		if key, kerr = NewKey(); kerr != nil {
			return nil, false, kerr
		}
	}
	i, cerr := Certify(key, name, hostFrom, hostUntil)
	if cerr != nil {
		return nil, false, cerr
	}
	return i, made, err
}
