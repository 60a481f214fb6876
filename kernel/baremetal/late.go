//go:build tamago

package baremetal

// Kicks of guests that may wait (KickSoon): events of devices. Most guests leave by themselves before, to
// send an event of their own or to sleep, and several events are one exit then.

// lateKick is how long they wait, in ns.
const lateKick = 500e3

// late is a kick that waits: addresses of the words of KickSoon.
type late struct{ kick, running, cpu uint64 }

// wanted tells whether it is still of use, and of which CPU.
func (l late) wanted() (cpu uint64, ok bool) {
	cpu = ld64(l.cpu)
	return cpu, ld32(l.kick) != 0 && ld32(l.running) != 0 && cpu < ncpu
}

// kickSoon notes a kick of thread t's for c, on which it runs. Preconditions: interrupts off.
func kickSoon(c *pcpu, t *thread, l late) {
	for _, o := range c.late[:c.nlate] {
		if o == l {
			return
		}
	}
	if t.place != 0 || c.nlate == uint32(len(c.late)) {
		if cpu, ok := l.wanted(); ok {
			kick(pcpuOf(cpu))
		}
		return
	}
	c.late[c.nlate] = l
	if c.nlate++; c.nlate == 1 {
		now := Nanotime()
		c.lateAt = now + lateKick
		armTimer(c, lenient(c, c.lateAt), now)
	}
}

// kickLate kicks what waits on c, of which it is time. Preconditions: klock; unlockAndKick follows.
func kickLate(c *pcpu) {
	for _, l := range c.late[:c.nlate] {
		if cpu, ok := l.wanted(); ok {
			c.kicks |= 1 << cpu
		}
	}
	c.nlate = 0
}
