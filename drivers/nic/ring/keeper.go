package ring

import (
	"fmt"
	"time"
)

const (
	// tick is how often the keeper looks at a card.
	tick = time.Second
	// patience is for how many ticks a card may do nothing with what it has to send. One
	// without a link never does, and is not waited for so long: guests' pages are in there.
	patience     = 5
	downPatience = 2
	// mostResets is how often one after another a card that has a link is reset for that.
	mostResets = 3
)

// keeper sees that a card sends what it has.
type keeper struct {
	done   uint64 // frames, at the last tick
	stuck  int    // ticks since then without one
	resets int    // since one was sent
}

// keep is the keeper's goroutine.
func (c *Card) keep() {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for {
		select {
		case <-c.ended:
			return
		case <-ticker.C:
			c.Look()
			c.watch()
		}
	}
}

// watch has the card reset if it keeps frames for too long.
func (c *Card) watch() {
	k := &c.keeper
	if n := c.tx.done.Load(); n != k.done {
		*k = keeper{done: n}
		return
	}
	if !c.tx.busy.Load() {
		k.stuck = 0
		return
	}
	up, _ := c.Up()
	if k.stuck++; k.stuck < patience && (up || k.stuck < downPatience) {
		return
	}
	k.stuck = 0
	if up {
		if k.resets++; k.resets > mostResets {
			c.Lose(fmt.Errorf("it sends nothing, and did not after %d resets", mostResets))
			return
		}
		c.o.Log("%s: it has sent nothing for %v; it is reset", c.name, patience*tick)
	}
	if err := c.restart(); err != nil {
		c.Lose(err)
	}
}

// restart resets the card and has it begin anew. What it had to send is dropped.
func (c *Card) restart() error {
	c.run.Lock()
	defer c.run.Unlock()
	if c.gone.Load() {
		return nil
	}
	c.tx.Stop()
	if err := c.chip.Reset(); err != nil {
		return err
	}
	left := c.tx.clear()
	c.rx.again()
	c.chip.Start() // with empty rings: what is sent meanwhile is dropped
	c.tx.Resume()
	c.tx.Abandon(left) // those who wait for these can send again
	return nil
}
