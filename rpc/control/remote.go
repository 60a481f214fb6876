package control

import (
	"context"
	"encoding/hex"
	"fmt"
	"strings"
)

// Remote manages who may connect over the network.
type Remote interface {
	// Clients lists the clients that may connect, by name.
	Clients(ctx context.Context) ([]RemoteClient, error)
	// AllowClient lets a client connect, or gives one that may another role, which
	// ends its connections. It lasts until the host ends. ErrBadArgument if c.Check
	// fails, ErrExists (another client's name or key), ErrQuota.
	AllowClient(ctx context.Context, c RemoteClient) error
	// RevokeClient takes that back, and ends the client's connections. ErrNoClient.
	RevokeClient(ctx context.Context, name string) error
}

// Fingerprint tells keys apart: the SHA-256 of a public key in X.509's form
// (RFC 5280, SubjectPublicKeyInfo). The zero Fingerprint is no key's.
type Fingerprint [32]byte

const fingerprintPrefix = "sha256:"

// String returns the form that people compare and type: sha256: and 64 digits.
func (f Fingerprint) String() string { return fingerprintPrefix + hex.EncodeToString(f[:]) }

// MarshalText is String, for JSON.
func (f Fingerprint) MarshalText() ([]byte, error) { return []byte(f.String()), nil }

// ParseFingerprint is String's inverse. ErrBadArgument.
func ParseFingerprint(s string) (Fingerprint, error) {
	var f Fingerprint
	digits, ok := strings.CutPrefix(s, fingerprintPrefix)
	if n, err := hex.Decode(f[:], []byte(digits[:min(len(digits), 2*len(f))])); !ok || err != nil || n != len(f) || len(digits) != 2*len(f) || f == (Fingerprint{}) {
		return Fingerprint{}, Errorf(ErrBadArgument, "%.100q is no fingerprint of a key; one is %s and %d hexadecimal digits, as \"xl cert show\" prints", s, fingerprintPrefix, 2*len(f))
	}
	return f, nil
}

// Role is what a client of the network may do.
type Role uint8

// The roles.
const (
	// RoleReadOnly may look: calls that change nothing, and no console.
	RoleReadOnly Role = iota
	// RoleAdmin may do everything.
	RoleAdmin
)

var roleNames = [...]string{RoleReadOnly: "read-only", RoleAdmin: "admin"}

// String names the role.
func (r Role) String() string {
	if int(r) < len(roleNames) {
		return roleNames[r]
	}
	return fmt.Sprintf("role%d", uint8(r))
}

// MarshalText is String, for JSON.
func (r Role) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// ParseRole is String's inverse. ErrBadArgument.
func ParseRole(s string) (Role, error) {
	for r, name := range roleNames {
		if s == name {
			return Role(r), nil
		}
	}
	return 0, Errorf(ErrBadArgument, "%.100q is no role; use %s", s, strings.Join(roleNames[:], " or "))
}

// RemoteClient is a program elsewhere that may connect.
type RemoteClient struct {
	// Name is what the host's people call it: a domain's name's form, without
	// a # in front.
	Name        string      `json:"name"`
	Fingerprint Fingerprint `json:"fingerprint"`
	Role        Role        `json:"role"`
}

// Check tells whether c can be a client: ErrBadArgument.
func (c RemoteClient) Check() error {
	if err := CheckName(c.Name); err != nil {
		return Errorf(ErrBadArgument, "a client's name: %v", err)
	}
	if c.Name[0] == '#' {
		return Errorf(ErrBadArgument, "a client's name can't begin with #, which begins a comment: %s", c.Name)
	}
	if c.Fingerprint == (Fingerprint{}) {
		return Errorf(ErrBadArgument, "client %s has no key", c.Name)
	}
	if int(c.Role) >= len(roleNames) {
		return Errorf(ErrBadArgument, "client %s: this host knows no %v", c.Name, c.Role)
	}
	return nil
}
