package core

import (
	"cmp"
	"sync"
	"time"

	"nidus/rpc/control"
)

// Ending is the end of the host, from the request on. It is kept here, so that a
// control plane that is made anew goes on with it.
type Ending struct {
	hurry chan struct{} // closed by the second request, or one with force

	mu      sync.Mutex
	reboot  bool
	hurried bool
	limit   time.Duration
	until   map[*Entry]time.Time // of the domains that were asked
}

var errEnding = control.Errorf(control.ErrBadState, "the host is shutting down: no domain can be created any more")

// End makes the host end: from now on no domain can be created, those that are being
// created are not. If its end has begun before, what is left of it is hurried.
func (c *Core) End(reboot bool, opt control.HostEndOptions) *Ending {
	c.mu.Lock()
	defer c.mu.Unlock()
	again := c.ending != nil
	if !again {
		c.ending = &Ending{
			hurry: make(chan struct{}), until: map[*Entry]time.Time{},
			limit: cmp.Or(opt.Limit, c.StopLimit, control.DefaultStopLimit),
		}
	}
	e := c.ending
	e.mu.Lock()
	defer e.mu.Unlock()
	e.reboot = reboot
	if (again || opt.Force) && !e.hurried {
		e.hurried = true
		close(e.hurry)
	}
	return e
}

// Ending returns the host's end that is under way, or nil.
func (c *Core) Ending() *Ending {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ending
}

// EndFailed takes domains again: the host could not end.
func (c *Core) EndFailed() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ending = nil
}

// Reboot tells whether the host is to come back.
func (e *Ending) Reboot() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.reboot
}

// Limit is how long each domain has.
func (e *Ending) Limit() time.Duration { return e.limit }

// Hurry is closed when no domain is to be waited for any more.
func (e *Ending) Hurry() <-chan struct{} { return e.hurry }

// Asked notes that a domain was asked to power off, and until when it has time.
func (e *Ending) Asked(d *Entry, until time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.until[d] = until
}

// Until returns until when a domain that was asked has time.
func (e *Ending) Until(d *Entry) (until time.Time, asked bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	until, asked = e.until[d]
	return until, asked
}
