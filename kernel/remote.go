//go:build tamago

package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"nidus/kernel/baremetal"
	"nidus/kernel/console"
	"nidus/rpc/control"
	"nidus/rpc/ring"
	"nidus/rpc/server"
)

// remote is what serves the programs that attach to the shared memory, or connect by the
// network.
type remote struct {
	mu  sync.Mutex
	all map[*serving]bool
}

// serving is one who serves.
type serving struct {
	goodbye func() // tells the programs that the host ends
	end     context.CancelFunc
	done    chan struct{} // closed when it has ended
}

// findShared finds the memory through which programs beside QEMU reach the control
// plane. Without it nothing listens.
func (h *host) findShared() {
	var err error
	if h.shared, err = h.Machine.Shared(uint64(ring.Size(0, 0))); err != nil {
		h.log.Printf(console.LevelError, "%v; the control plane can't be reached through it", err)
	}
}

// serveShared serves one control plane, through its life, to who attaches to the
// shared memory. Each life lays the memory out anew, and its clients see that.
func (h *host) serveShared(ctx context.Context, p control.Plane) {
	complain, client := h.complaints("shared memory")
	l, err := ring.Listen(h.shared, ring.Options{Dropped: func(slot int, why error) { client("slot %d: %v", slot, why) }})
	if err == nil {
		var ended func()
		ctx, ended = h.remote.begin(ctx, l.HostEnds)
		defer ended()
		err = server.New(p, server.Options{Name: "Nidus", Log: client}).Serve(ctx, l)
	}
	if err != nil {
		complain("%v; no program can attach until the control plane starts again", err)
	}
}

// complaints are what logs the troubles of a way to the control plane, and what logs those
// that clients make, which they may do without end.
func (h *host) complaints(way string) (own, client func(format string, args ...any)) {
	own = func(format string, args ...any) {
		h.log.Printf(console.LevelWarning, "%s: %s", way, fmt.Sprintf(format, args...))
	}
	return own, console.Limited(console.NewBucket(5, 20, func() time.Duration { return time.Duration(baremetal.Nanotime()) }), own)
}

// begin notes who serves, until ended is called.
func (r *remote) begin(ctx context.Context, goodbye func()) (_ context.Context, ended func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := &serving{goodbye: goodbye, done: make(chan struct{})}
	ctx, s.end = context.WithCancel(ctx)
	if r.all == nil {
		r.all = map[*serving]bool{}
	}
	r.all[s] = true
	return ctx, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.all, s)
		s.end()
		close(s.done)
	}
}

// farewell tells the programs that the host ends, and waits until they can know it; not
// longer than most, for one may be stuck.
func (r *remote) farewell(most time.Duration) {
	r.mu.Lock()
	all := slices.Collect(maps.Keys(r.all))
	r.mu.Unlock()
	for _, s := range all {
		go func() {
			s.goodbye()
			s.end()
		}()
	}
	late := time.After(most)
	for _, s := range all {
		select {
		case <-s.done:
		case <-late:
			return
		}
	}
}

// farewellTime is how long the programs that are connected may hold up the host's end.
const farewellTime = time.Second

// PowerOff implements plane.Machine.
func (h *host) PowerOff() error {
	h.remote.farewell(farewellTime)
	err := h.Machine.PowerOff()
	renewPlane("power-off failed") // what served programs has ended
	return err
}

// Reboot implements plane.Machine.
func (h *host) Reboot() error {
	h.remote.farewell(farewellTime)
	return h.Machine.Reboot()
}
