package nvme

import (
	"errors"
	"fmt"
	"time"

	"nidus/drivers/block"
)

// keeper is the goroutine that looks after a controller: it alone resets it or gives it
// up. Interrupts only tell it.
type keeper struct {
	broken chan error // what an interrupt found
	stop   chan struct{}
	done   chan struct{}
	result error // of the end

	resets int
	last   uint64 // tick of the last reset
}

// mostResets is how often in a minute's ticks a controller is reset before it is given up.
const (
	mostResets = 3
	minute     = 60
)

// report tells the keeper that the device does what it should not.
func (c *Controller) report(err error) {
	select {
	case c.keeper.broken <- err:
	default: // it knows
	}
}

func (k *keeper) run(c *Controller) {
	defer close(k.done)
	t := time.NewTicker(c.limits.tick)
	defer t.Stop()
	for {
		var err error
		select {
		case <-k.stop:
			c.shutdown()
			k.result = c.end()
			return
		case err = <-k.broken:
		case <-t.C:
			err = k.look(c)
		}
		if err != nil {
			c.log("%s: %v; it is not used any more", c.name, err)
			if k.result = c.end(); k.result != nil {
				c.log("%s: %v", c.name, k.result)
			}
			return
		}
	}
}

// look sees whether the device is there and ends its commands. The error says why it is of
// no use any more.
func (k *keeper) look(c *Controller) error {
	now := c.ticks.Add(1)
	switch {
	case c.gone():
		return errors.New("it is not there any more")
	case c.regs.Load32(regCSTS)&cstsFatal != 0:
		return k.reset(c, "it reports a fatal error")
	}
	for _, q := range c.queues {
		age, some := q.oldest(now)
		if !some || age <= c.limits.command {
			continue
		}
		if age > c.limits.command+c.limits.abort {
			return k.reset(c, fmt.Sprintf("a command has not ended after %v, nor by its abort", time.Duration(age)*c.limits.tick))
		}
		for _, id := range q.late(now, c.limits.command) {
			c.log("%s: a command has not ended after %v and is aborted", c.name, time.Duration(age)*c.limits.tick)
			if _, err := c.admin.do(&command{op: adminAbort, words: [3]uint32{uint32(q.index) | uint32(id)<<16}}); err != nil {
				return k.reset(c, err.Error())
			}
		}
	}
	return nil
}

// reset starts the controller again; what is in flight gets ErrTimeout.
func (k *keeper) reset(c *Controller, why string) error {
	now := c.ticks.Load()
	if k.resets++; now-k.last > minute {
		k.resets = 1
	}
	k.last = now
	if k.resets > mostResets {
		return fmt.Errorf("%s, for the %dth time in a row", why, k.resets)
	}
	c.log("%s: %s; it is reset", c.name, why)
	for _, q := range c.queues {
		q.set(paused)
	}
	if err := c.disable(); err != nil {
		return err
	}
	for _, q := range c.queues {
		q.abandon(ErrTimeout)
	}
	if err := c.enable(); err != nil {
		return err
	}
	if n, err := c.askQueues(len(c.queues)); err != nil || n < len(c.queues) {
		return fmt.Errorf("%d queues instead of %d after a reset: %w", n, len(c.queues), errors.Join(err, ErrUnusable))
	}
	return c.startQueues()
}

// close ends the keeper, and the controller with it.
func (c *Controller) close() error {
	close(c.keeper.stop)
	<-c.keeper.done
	return c.keeper.result
}

// shutdown has the device write its cache (section 7.6.2). That it does not is no reason
// to go on.
func (c *Controller) shutdown() {
	if c.gone() {
		return
	}
	c.regs.Store32(regCC, c.regs.Load32(regCC)&^ccShutMask|ccShutdown)
	if err := c.until(cstsShut, cstsDone, "shuts down"); err != nil {
		c.log("%s: %v", c.name, err)
	}
}

// end takes everything from the device; what is in flight gets block.ErrGone. If the device
// can't be stopped and is still there, the memory of its queues is not used again, and the
// error says so.
func (c *Controller) end() error {
	for _, q := range c.queues {
		q.set(ended)
	}
	var err error
	if c.regs != nil && !c.gone() {
		err = c.disable()
	}
	// A device that is no master of the bus reaches nothing.
	c.f.SetMaster(false)
	if c.msix != nil {
		c.msix.Close()
	}
	for _, q := range c.queues {
		q.abandon(block.ErrGone)
	}
	c.admin.set(false)
	if err != nil && !c.gone() {
		return fmt.Errorf("it can't be stopped, and keeps %d frames: %w", 3+len(c.queues)*(1+int(c.depth)), err)
	}
	for _, q := range c.queues {
		q.release()
	}
	c.admin.release()
	return nil
}
