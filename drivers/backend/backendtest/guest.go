// Package backendtest is what tests of backends have in common: a guest, of a domain of the
// real packages, whose frontend the test is.
package backendtest

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"nidus/drivers/backend"
	"nidus/kernel/domain"
	"nidus/kernel/domain/domaintest"
	"nidus/kernel/xenstore"
	"nidus/mm"
)

// Guest is a frontend's domain, and its device.
type Guest struct {
	T     testing.TB
	M     *domaintest.Machine
	D     *domain.Domain
	Store *xenstore.Conn // as the guest
	Dev   *backend.Device
	Kind  string // vbd, vif
	ID    uint32 // of the device

	table mm.Page // of grants
	mu    sync.Mutex
	log   []string
}

// New makes a guest of so many pages. From first on, grant reference n gives frame n to
// domain 0. When the test ends, the domain is destroyed, and nothing may be left of it.
func New(t testing.TB, kind string, id uint32, pages, first int) *Guest {
	g := &Guest{T: t, M: domaintest.New(t, 4096), Kind: kind, ID: id}
	t.Cleanup(func() { g.M.CheckFree(t) }) // after the domain is destroyed
	g.D = g.M.Domain(t, domaintest.Options{Pages: uint64(pages)})
	g.Store = g.M.Host.Store.Open(g.D.ID)
	mfn, err := g.D.Grants.FrameForIndex(0)
	if err != nil {
		t.Fatal(err)
	}
	g.table = g.M.Host.Memory.Page(mfn)
	for ref := first; ref < pages; ref++ {
		g.Grant(ref, 0, uint32(ref), 0)
	}
	return g
}

// Grant fills entry ref: grant_entry_v1.
func (g *Guest) Grant(ref int, dom uint16, frame uint32, flags uint16) {
	g.table.Store64(ref*8, uint64(frame)<<32|uint64(dom)<<16|uint64(flags|1))
}

// Revoke empties entry ref.
func (g *Guest) Revoke(ref int) { g.table.Store64(ref*8, 0) }

// Page is a page of the guest's memory.
func (g *Guest) Page(gfn int) mm.Page {
	m, err := g.D.Space.Hold(mm.GFN(gfn), true)
	if err != nil {
		g.T.Fatal(err)
	}
	g.D.Space.Drop(m, true)
	return g.D.Space.Page(m)
}

// Backend is the guest as backends reach it.
func (g *Guest) Backend() *backend.Guest {
	return &backend.Guest{ID: g.D.ID, Grants: g.D.Grants, Space: g.D.Space, Local: g.M.Host.Dom0}
}

// Start makes the device.
func (g *Guest) Start(b *backend.Guest, d backend.Driver) {
	var err error
	if g.Dev, err = backend.New(backend.Config{Guest: b, Store: g.M.Host.Store, Kind: g.Kind, ID: g.ID, Driver: d, Log: g.Logf}); err != nil {
		g.T.Fatal(err)
	}
}

// Logf takes a line that a person is to see.
func (g *Guest) Logf(format string, args ...any) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.log = append(g.log, fmt.Sprintf(format, args...))
}

// Lines returns what was logged.
func (g *Guest) Lines() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.log
}

// Set writes a node of the frontend's.
func (g *Guest) Set(name, value string) {
	if err := g.Store.Write(fmt.Sprintf("device/%s/%d/%s", g.Kind, g.ID, name), value); err != nil {
		g.T.Fatal(err)
	}
}

// Await waits for a state of the backend.
func (g *Guest) Await(want backend.State) {
	g.T.Helper()
	_, back := backend.Path(g.D.ID, g.Kind, g.ID)
	w, err := g.Store.Watch(back + "/state")
	if err != nil {
		g.T.Fatal(err)
	}
	defer w.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for g.Dev.State() != want {
		if _, err := w.Next(ctx); err != nil {
			g.T.Fatalf("the backend is in state %d, not %d; log %q", g.Dev.State(), want, g.Lines())
		}
	}
}
