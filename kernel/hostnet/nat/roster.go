package nat

import (
	"slices"
	"sync"

	"nidus/drivers/link"
)

// Roster is Guests for a network whose interfaces come and go.
type Roster struct {
	mu  sync.Mutex
	all []*interfaceOf
}

// interfaceOf is an interface and whose it is. Domains can be renamed.
type interfaceOf struct {
	mac  link.MAC
	name func() string
}

// Join adds an interface, which left takes away again; last tells whether no other has its
// address.
func (r *Roster) Join(m link.MAC, name func() string) (left func() (last bool)) {
	i := &interfaceOf{m, name}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, i)
	return func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.all = slices.DeleteFunc(r.all, func(o *interfaceOf) bool { return o == i })
		return !slices.ContainsFunc(r.all, func(o *interfaceOf) bool { return o.mac == m })
	}
}

// Guest implements Guests.
func (r *Roster) Guest(m link.MAC) (string, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, i := range r.all {
		if i.mac == m {
			return i.name(), true
		}
	}
	return "", false
}

// Interfaces implements Guests.
func (r *Roster) Interfaces(name string) (out []link.MAC) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, i := range r.all {
		if i.name() == name {
			out = append(out, i.mac)
		}
	}
	return out
}
