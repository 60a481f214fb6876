package pci

import (
	"fmt"
	"slices"
	"sync"
)

// Owner is who has a function: "core", a driver ("virtio-blk"), or a domain ("d3").
type Owner string

// Registry says who owns which function: one at a time. Its zero value is ready, and safe
// for concurrent use.
type Registry struct {
	mu  sync.Mutex
	own map[Address]Owner
}

// BusyError says that a function has another owner.
type BusyError struct {
	At    Address
	Owner Owner
}

func (e *BusyError) Error() string {
	return fmt.Sprintf("PCI function %v belongs to %s already", e.At, e.Owner)
}

// Claim gives a function that nobody has an owner; the error is a *BusyError.
func (r *Registry) Claim(a Address, o Owner) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if was, ok := r.own[a]; ok {
		return &BusyError{a, was}
	}
	if r.own == nil {
		r.own = map[Address]Owner{}
	}
	r.own[a] = o
	return nil
}

// Release takes a function from its owner; nothing happens if that is not o.
func (r *Registry) Release(a Address, o Owner) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.own[a] == o {
		delete(r.own, a)
	}
}

// Owner returns who has a function; ok is false if nobody does.
func (r *Registry) Owner(a Address) (o Owner, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	o, ok = r.own[a]
	return o, ok
}

// Owned lists the functions that have an owner, in order.
func (r *Registry) Owned() []Address {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []Address
	for a := range r.own {
		all = append(all, a)
	}
	slices.SortFunc(all, func(a, b Address) int { return a.number() - b.number() })
	return all
}

func (a Address) number() int { return int(a.Bus)<<8 | int(a.Device)<<3 | int(a.Function) }
