package backend

import (
	"fmt"

	"nidus/kernel/evtchn"
	"nidus/kernel/gnttab"
	"nidus/kernel/xenabi"
	"nidus/mm"
)

// Guest is a frontend's domain as backends reach it.
type Guest struct {
	ID     mm.DomID
	Grants *gnttab.Table
	Space  *mm.Space
	// Local is the domain that the backends stand for, 0.
	Local *evtchn.Domain
}

// Grant is a page of the guest that a backend uses. Until Release it stays the guest's,
// whatever the guest does with the grant.
type Grant struct {
	Frame mm.MFN
	ref   uint32
	use   gnttab.Use
}

// GrantError says that a guest's grant can't be used.
type GrantError struct {
	Ref    uint32
	Status xenabi.GnttabStatus // GNTSTOkay: the page is none of memory
	Err    error
}

func (e *GrantError) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("grant %d: %v", e.Ref, e.Err)
	}
	return fmt.Sprintf("grant %d gives no whole page to domain 0 (status %d)", e.Ref, e.Status)
}

func (e *GrantError) Unwrap() error { return e.Err }

// Acquire begins to use the page that grant ref gives, to write it too if write is
// set. An error is a *GrantError.
func (g *Guest) Acquire(ref uint32, write bool) (Grant, error) { return g.AcquireNear(ref, write, nil) }

// AcquireNear is Acquire for who acquires many pages in turn, which are often neighbours.
func (g *Guest) AcquireNear(ref uint32, write bool, near *mm.Near) (Grant, error) {
	use := gnttab.Read
	if write {
		use = gnttab.Write
	}
	a, st := g.Grants.Acquire(ref, g.Local.ID(), use)
	if st != xenabi.GNTSTOkay {
		return Grant{}, &GrantError{Ref: ref, Status: st}
	}
	m, err := g.Space.HoldNear(a.GFN, write, near)
	if err != nil {
		g.Grants.Release(ref, use)
		return Grant{}, &GrantError{Ref: ref, Err: err}
	}
	return Grant{Frame: m, ref: ref, use: use}, nil
}

// Release ends one Acquire.
func (g *Guest) Release(x Grant) {
	g.Space.Drop(x.Frame, x.use&gnttab.Write != 0)
	g.Grants.Release(x.ref, x.use)
}

// Page is the page of x, which the guest can change at any moment.
func (g *Guest) Page(x Grant) mm.Page { return g.Space.Page(x.Frame) }

// Bind connects to the guest's event channel port: fn is called with each event, and
// must not block. It returns our end, which Local sends by and which Unbind closes.
func (g *Guest) Bind(port uint32, fn func()) (uint32, error) {
	local, err := g.Local.BindLocal(g.ID, port, fn)
	if err != nil {
		return 0, fmt.Errorf("event channel %d of domain %d: %w", port, g.ID, err)
	}
	return local, nil
}

// Unbind closes our end of an event channel.
func (g *Guest) Unbind(local uint32) { _ = g.Local.CloseLocal(local) }
