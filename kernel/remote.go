//go:build tamago

package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"nidus/kernel/baremetal"
	"nidus/kernel/console"
	"nidus/rpc/control"
	"nidus/rpc/ring"
	"nidus/rpc/server"
)

// remote is what serves the programs that attach to the shared memory.
type remote struct {
	mu   sync.Mutex
	end  context.CancelFunc // nil: nothing does
	done chan struct{}      // closed when it has ended
	l    *ring.Listener
}

// findShared finds the memory through which programs beside QEMU reach the control
// plane. Without it nothing listens.
func (h *host) findShared() {
	var err error
	if h.shared, err = h.Machine.Shared(uint64(ring.Size(0, 0))); err != nil {
		h.log.Printf(console.LevelError, "%v; the control plane can't be reached through it", err)
	}
}

// sayNoNetwork tells who asked for a port that it is not there. When it is, what listens
// is mtls.Listen, over its net.Listener and h.core.Clients, and server.Serve serves that
// as it does the ring. It is left out until then: TLS makes the image a third larger.
func (h *host) sayNoNetwork() {
	if h.Options.RPCPort != 0 {
		h.log.Printf(console.LevelError, "option rpc=tls:%d: there is no network yet; nothing listens, and no client can connect so", h.Options.RPCPort)
	}
}

// serveShared serves one control plane, through its life, to who attaches to the
// shared memory. Each life lays the memory out anew, and its clients see that.
func (h *host) serveShared(ctx context.Context, p control.Plane) {
	complain := func(format string, args ...any) {
		h.log.Printf(console.LevelWarning, "shared memory: %s", fmt.Sprintf(format, args...))
	}
	// What clients do wrong; they may do it without end.
	client := console.Limited(console.NewBucket(5, 20, func() time.Duration { return time.Duration(baremetal.Nanotime()) }), complain)
	l, err := ring.Listen(h.shared, ring.Options{Dropped: func(slot int, why error) { client("slot %d: %v", slot, why) }})
	if err == nil {
		var ended func()
		ctx, ended = h.remote.begin(ctx, l)
		defer ended()
		err = server.New(p, server.Options{Name: "Nidus", Log: client}).Serve(ctx, l)
	}
	if err != nil {
		complain("%v; no program can attach until the control plane starts again", err)
	}
}

// begin notes what serves, until ended is called.
func (r *remote) begin(ctx context.Context, l *ring.Listener) (_ context.Context, ended func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	done := make(chan struct{})
	ctx, r.end = context.WithCancel(ctx)
	r.done, r.l = done, l
	return ctx, func() { close(done) }
}

// farewell tells the programs that the host ends, and waits until they can know it; not
// longer than most, for one may be stuck.
func (r *remote) farewell(most time.Duration) {
	r.mu.Lock()
	end, done, l := r.end, r.done, r.l
	r.mu.Unlock()
	if end == nil {
		return
	}
	l.HostEnds()
	end()
	select {
	case <-done:
	case <-time.After(most):
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
