// Package authorized is the list of the clients that may connect over the network,
// each known by its key's fingerprint, and what each of them may do. The list lives in
// memory; as text it is a file, certs/authorized, that a host reads when it starts:
//
//	# who may connect
//	admin sha256:0123… anna
//	read-only sha256:4567… graphs
package authorized

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"sync"

	"nidus/rpc/control"
)

// Limits of a list.
const (
	// MaxClients is how many clients there may be.
	MaxClients = 256
	// MaxFile is the longest file, in bytes.
	MaxFile = 64 << 10
)

// Parse reads a file's text; name is the file's, for errors: ErrBadConfig, ErrTooBig.
// A file with a defect allows nobody.
func Parse(name string, text []byte) ([]control.RemoteClient, error) {
	if len(text) > MaxFile {
		return nil, control.Errorf(control.ErrTooBig, "%s has %d bytes, more than the %d that a list of clients can have", name, len(text), MaxFile)
	}
	var l List
	n := 0
	for line := range bytes.Lines(text) {
		n++
		words := strings.Fields(string(line))
		if i := slices.IndexFunc(words, func(w string) bool { return w[0] == '#' }); i >= 0 {
			words = words[:i]
		}
		if len(words) == 0 {
			continue
		}
		c, err := parseLine(words)
		if err == nil {
			err = l.Allow(c)
		}
		if err != nil {
			return nil, &control.Error{Code: control.ErrBadConfig, Msg: fmt.Sprintf("%s:%d: %v", name, n, err), File: name, Line: n}
		}
	}
	return l.Clients(), nil
}

func parseLine(words []string) (c control.RemoteClient, err error) {
	if len(words) != 3 {
		return c, control.Errorf(control.ErrBadConfig, "a line is ROLE FINGERPRINT NAME, and this one has %d words", len(words))
	}
	if c.Role, err = control.ParseRole(words[0]); err != nil {
		return c, err
	}
	c.Fingerprint, err = control.ParseFingerprint(words[1])
	c.Name = words[2]
	return c, err
}

// Format is Parse's inverse.
func Format(clients []control.RemoteClient) []byte {
	var b bytes.Buffer
	for _, c := range clients {
		fmt.Fprintf(&b, "%v %v %s\n", c.Role, c.Fingerprint, c.Name)
	}
	return b.Bytes()
}

// List is who may connect. The zero List is nobody. Any number of goroutines may use
// one.
type List struct {
	mu      sync.Mutex
	clients []control.RemoteClient // sorted by name
	live    map[*Session]func()    // what ends each
}

// New makes a list of clients that Parse returned.
func New(clients []control.RemoteClient) *List { return &List{clients: slices.Clone(clients)} }

// Clients returns all clients, by name.
func (l *List) Clients() []control.RemoteClient {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.clients)
}

func (l *List) named(name string) (int, bool) {
	return slices.BinarySearchFunc(l.clients, name, func(c control.RemoteClient, name string) int { return strings.Compare(c.Name, name) })
}

func (l *List) keyed(f control.Fingerprint) int {
	return slices.IndexFunc(l.clients, func(c control.RemoteClient) bool { return c.Fingerprint == f })
}

// Allow adds a client, or changes its role, as control.Remote's AllowClient.
func (l *List) Allow(c control.RemoteClient) error {
	if err := c.Check(); err != nil {
		return err
	}
	l.mu.Lock()
	i, there := l.named(c.Name)
	if k := l.keyed(c.Fingerprint); k >= 0 && l.clients[k].Name != c.Name {
		defer l.mu.Unlock()
		return control.Errorf(control.ErrExists, "that key is client %s's already; revoke it to give the key another name", l.clients[k].Name)
	}
	var end []func()
	switch {
	case there && l.clients[i].Fingerprint != c.Fingerprint:
		defer l.mu.Unlock()
		return control.Errorf(control.ErrExists, "client %s has another key, %v; revoke that first, or take another name", c.Name, l.clients[i].Fingerprint)
	case there && l.clients[i].Role != c.Role:
		l.clients[i].Role = c.Role
		end = l.cut(c.Fingerprint)
	case !there && len(l.clients) >= MaxClients:
		defer l.mu.Unlock()
		return control.Errorf(control.ErrQuota, "%d clients may connect, as many as a host knows; revoke one", MaxClients)
	case !there:
		l.clients = slices.Insert(l.clients, i, c)
	}
	l.mu.Unlock()
	for _, f := range end {
		f()
	}
	return nil
}

// Revoke takes a client off the list, as control.Remote's RevokeClient.
func (l *List) Revoke(name string) error {
	l.mu.Lock()
	i, there := l.named(name)
	if !there {
		defer l.mu.Unlock()
		return control.Errorf(control.ErrNoClient, "there is no client %q; \"cert list\" shows those that may connect", name)
	}
	end := l.cut(l.clients[i].Fingerprint)
	l.clients = slices.Delete(l.clients, i, i+1)
	l.mu.Unlock()
	for _, f := range end {
		f()
	}
	return nil
}

// cut returns what ends a client's connections. l.mu is held.
func (l *List) cut(f control.Fingerprint) (end []func()) {
	for s, stop := range l.live {
		if s.Fingerprint == f {
			end = append(end, stop)
		}
	}
	return end
}

// Session is one connection of a client.
type Session struct {
	control.RemoteClient
	list *List
}

// Admit begins a connection of the client that has a key; end is called when the
// client's rights change, from any goroutine and maybe more than once. ErrDenied if no
// client has that key. Leave must follow.
func (l *List) Admit(f control.Fingerprint, end func()) (*Session, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := l.keyed(f)
	if i < 0 {
		return nil, control.Errorf(control.ErrDenied, "the host does not know the key %v, or no longer does; who administers it allows it with: xl cert allow %v NAME", f, f)
	}
	s := &Session{l.clients[i], l}
	if l.live == nil {
		l.live = map[*Session]func(){}
	}
	l.live[s] = end
	return s, nil
}

// Leave says that the connection has ended.
func (s *Session) Leave() {
	s.list.mu.Lock()
	defer s.list.mu.Unlock()
	delete(s.list.live, s)
}

// May tells whether the client may do what, a call or a part of one, which may change
// something: ErrDenied. It may have changed since the connection began.
func (s *Session) May(what string, changes bool) error {
	s.list.mu.Lock()
	i := s.list.keyed(s.Fingerprint)
	role := control.RoleReadOnly
	if i >= 0 {
		role = s.list.clients[i].Role
	}
	s.list.mu.Unlock()
	switch {
	case i < 0:
		return control.Errorf(control.ErrDenied, "client %s was revoked", s.Name)
	case changes && role != control.RoleAdmin:
		return control.Errorf(control.ErrDenied, "client %s may only look (its role is %v), and %s takes the role %v; who administers the host gives it with: xl cert allow -r %v %v %s",
			s.Name, role, what, control.RoleAdmin, control.RoleAdmin, s.Fingerprint, s.Name)
	}
	return nil
}
