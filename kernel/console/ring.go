package console

import (
	"sync"

	"nidus/mm"
)

// The shared page (console.h, struct xencons_interface).
const (
	inSize     = 1024
	outSize    = 2048
	offIn      = 0
	offOut     = 1024
	offInCons  = 3072
	offInProd  = 3076
	offOutCons = 3080
	offOutProd = 3084
)

// Ring is the backend of a guest's PV console. The guest can write its page at
// any time; the backend's own indexes are kept here and only published there.
// Its methods may be called from any goroutine and allocate nothing.
type Ring struct {
	mu              sync.Mutex
	page            mm.Page
	inProd, outCons uint32
	resyncs         uint64
}

// NewRing returns the backend of the console at page, which goes on where the
// page's indexes stand. The page stays in use until Close.
func NewRing(page mm.Page) *Ring {
	return &Ring{page: page, inProd: page.Load32(offInProd), outCons: page.Load32(offOutCons)}
}

// Close returns when the page is not touched any more, and never will be.
func (r *Ring) Close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.page = mm.Page{}
}

// Resyncs returns how often the guest's indexes made no sense.
func (r *Ring) Resyncs() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.resyncs
}

// Drain takes up to len(dst) bytes of the guest's output and returns how many.
// If it returns any, signal the guest: it may wait for room. Indexes that make
// no sense cost the guest the output that is in the ring.
func (r *Ring) Drain(dst []byte) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.page.IsZero() {
		return 0
	}
	for n < len(dst) {
		prod := r.page.Load32(offOutProd)
		avail := prod - r.outCons
		if avail > outSize {
			r.resyncs++
			r.outCons = prod
			r.page.Store32(offOutCons, prod)
			return n
		}
		at := int(r.outCons % outSize)
		k := min(len(dst)-n, int(avail), outSize-at)
		if k == 0 {
			return n
		}
		r.page.Read(offOut+at, dst[n:n+k])
		n += k
		r.outCons += uint32(k)
		r.page.Store32(offOutCons, r.outCons)
	}
	return n
}

// Push gives the guest input and returns how many bytes there was room for. If
// it returns any, signal the guest.
func (r *Ring) Push(b []byte) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.page.IsZero() {
		return 0
	}
	for n < len(b) {
		cons := r.page.Load32(offInCons)
		used := r.inProd - cons
		if used > inSize {
			r.resyncs++
			r.inProd, used = cons, 0
			r.page.Store32(offInProd, cons)
		}
		at := int(r.inProd % inSize)
		k := min(len(b)-n, inSize-int(used), inSize-at)
		if k == 0 {
			return n
		}
		r.page.Write(offIn+at, b[n:n+k])
		n += k
		r.inProd += uint32(k)
		r.page.Store32(offInProd, r.inProd)
	}
	return n
}
