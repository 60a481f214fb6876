//go:build tamago

package baremetal

import "sync/atomic"

// A CPU with nothing to run halts until an interrupt comes. Under an emulator that is slow: by QEMU's
// TCG, to send the interrupt takes 40 to 95 us, to wake the halted CPU 80, and a timer is as late.
// There an idle CPU looks at pcpu.resched and at the time by itself for a while, if that was worth its while
// before, and who has something for it sends no interrupt. The window grows and shrinks
// as that of Linux' cpuidle-haltpoll (Documentation/virt/guest-halt-polling.rst).
//
// The idle thread has no state: each way out of the kernel sets where it begins.

// Windows, in ns.
const (
	pollMax   = 1e6
	pollFirst = 100e3
)

// pollNext chooses how long c, which was idle for ns, polls the next time.
func (c *pcpu) pollNext(ns int64) {
	switch {
	case ns > pollMax:
		if c.pollNS /= 2; c.pollNS < pollFirst {
			c.pollNS = 0
		}
	case ns > c.pollNS:
		c.pollNS = min(max(2*c.pollNS, pollFirst), pollMax)
	}
}

// rest makes c's idle thread look for what comes, or halt. Preconditions: it is what c runs; c
// is not polling, so that who makes it choose again from now on sends an interrupt; interrupts are off.
func rest(c *pcpu) {
	t := threadAt(c.idle)
	now := Nanotime()
	lock(&klock)
	at := timerTarget(c)
	unlock(&klock)
	if losesIRQs {
		end := t.since + c.pollNS
		soon := at != 0 && at <= now+pollMax // sooner than a timer could tell
		if soon {
			end = at
		}
		if soon || now < end {
			if c.armed == unarmed && c.period < repeatIdle { // it would fire again and again meanwhile
				armTimer(c, now+repeatMax, now)
			}
			c.pollEnd = tscAt(max(end, 0))
			// The interrupt that is not sent from here on is not missed: the loop looks at resched first.
			atomic.SwapUint32(&c.polling, 1)
			t.rip, t.rflags = idlePollPC(), interruptOn
			return
		}
	}
	armTimer(c, at, now)
	if losesIRQs {
		lookAgain()
	}
	t.rip, t.rflags = idlePC(), interruptOff // it turns them on with the halt
}

// spinSleep is the longest sleep, in ns, that takes less time than to give the CPU away and get it back. The
// runtime sleeps for 3 us before it takes the goroutine that another P will run next.
const spinSleep = 5e3

// spin waits until now is at, or there is something that c is to choose.
func spin(c *pcpu, at int64) {
	for Nanotime() < at && atomic.LoadUint32(&c.resched) == 0 {
		flushIfWanted(c)
	}
}

// stopPolling has whoever makes c choose again send an interrupt. Afterwards resched is to be looked at.
func (c *pcpu) stopPolling() {
	if c.polling != 0 {
		atomic.SwapUint32(&c.polling, 0)
	}
}
