package xenstore

import (
	"fmt"
	"strconv"

	"nidus/mm"
)

// Access is what a permission allows.
type Access uint8

// The kinds of access.
const (
	AccessNone  Access = 0
	AccessRead  Access = 1
	AccessWrite Access = 2
	AccessBoth  Access = AccessRead | AccessWrite
)

// Perm is one entry of a node's permissions. The first entry of a node names
// its owner, who may do everything, and what domains that no later entry names
// may do.
type Perm struct {
	Dom    mm.DomID
	Access Access
}

const permLetters = "nrwb"

// String returns the wire form: n, r, w or b and the domain in decimal.
func (p Perm) String() string {
	return permLetters[p.Access&AccessBoth:][:1] + strconv.Itoa(int(p.Dom))
}

// ParsePerm reads the wire form of a permission.
func ParsePerm(s string) (Perm, error) {
	if len(s) < 2 || s[1] < '0' || s[1] > '9' {
		return Perm{}, fmt.Errorf("xenstore: permission %q: want n, r, w or b and a domain number: %w", s, EINVAL)
	}
	dom, err := strconv.ParseUint(s[1:], 10, 16)
	if err != nil {
		return Perm{}, fmt.Errorf("xenstore: permission %q: bad domain number: %w", s, EINVAL)
	}
	for i := range permLetters {
		if permLetters[i] == s[0] {
			return Perm{mm.DomID(dom), Access(i)}, nil
		}
	}
	return Perm{}, fmt.Errorf("xenstore: permission %q: want n, r, w or b first: %w", s, EINVAL)
}

// cred is who asks: domain 0 may do everything.
type cred struct {
	dom  mm.DomID
	priv bool
}

// may tells whether c has all of want under perms, which is not empty.
func (c cred) may(perms []Perm, want Access) bool {
	return c.owns(perms) || c.granted(perms)&want == want
}

func (c cred) owns(perms []Perm) bool { return c.priv || perms[0].Dom == c.dom }

func (c cred) granted(perms []Perm) Access {
	for _, p := range perms[1:] {
		if p.Dom == c.dom {
			return p.Access
		}
	}
	return perms[0].Access
}
