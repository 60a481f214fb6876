//go:build tamago

package baremetal

// A timer that is set, fires and is set again takes an emulated CPU some 150 us. The ends of turns and the kicks that wait are mostly over
// before: the thread has slept, the guest has left. While a host thread runs, which enters the kernel often, each entry looks for
// them (due), and the timer may be late.

// leniency is how late, in ns.
const leniency = 3e6

// soon is the time of the earliest of them; 0: there are none.
func (c *pcpu) soon() int64 {
	if c.nlate > 0 && (c.until == 0 || c.lateAt < c.until) {
		return c.lateAt
	}
	return c.until
}

// lenient is when c's timer has to fire for what is due at the time at; 0 is never.
func lenient(c *pcpu, at int64) int64 {
	if at != 0 && losesIRQs && c.cur != c.idle && threadAt(c.cur).kickWord == 0 {
		at += leniency
	}
	return at
}

// due does what is due, in a kernel entry.
func due(c *pcpu) {
	if at := c.soon(); at != 0 {
		if now := Nanotime(); now >= at {
			timeUp(c, now)
		}
	}
}
