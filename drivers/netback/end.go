package netback

import "nidus/drivers/backend"

// end is our end of a ring that the guest shares with us, whatever it is for.
type end struct {
	c *conn
	ring
	grant backend.Grant // of the ring's page
	port  uint32        // ours; 0: none yet
	wake  chan struct{}
	shown uint32 // next response, as far as the guest knows
}

func newEnd(c *conn, slot int, slots uint32) end {
	return end{c: c, ring: ring{slot: slot, size: slots}, wake: make(chan struct{}, 1)}
}

// poke says that the guest may have done something.
func (e *end) poke() {
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

// tell shows the guest the responses before prod. One does so at a time.
func (e *end) tell(prod uint32) {
	if e.shown == prod {
		return
	}
	old := e.shown
	e.shown = prod
	if e.show(old, prod) {
		_ = e.c.cfg.Guest.Local.Send(e.port)
	}
}
