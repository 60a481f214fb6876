// Package trace keeps what happened last on each CPU: who was woken, who ran, which
// interrupts came, how guests were entered and left. Debug key t shows it. It is on
// all the time, so an event is a few stores: no lock, no allocation, and nothing that
// needs Go's runtime.
package trace

import (
	"fmt"
	"slices"
	"sync/atomic"
)

// MaxCPUs is how many CPUs have a ring: numbers 0 to MaxCPUs-1.
const MaxCPUs = 64

// Size is how many events a CPU keeps.
const Size = 1024

// Kind is what happened. Who names a thread by its id; 0 is the CPU's idle thread.
type Kind uint8

// The kinds of events.
const (
	None  Kind = iota
	Run        // a CPU runs who from now on
	Block      // who blocks; arg is the time it waits at most, in ns, 0: for ever
	Wake       // who is woken
	Leave      // who's deadline has come: it leaves its guest
	Kick       // an interrupt is sent to CPU arg
	Timer      // the timer's interrupt; arg is how late it is, in ns
	IRQ        // another interrupt; arg is its vector
	Enter      // a guest is entered with an event; arg is its vector, from 256 on by EVENTINJ
	Exit       // a guest's exit goes to Go; arg is its code
)

var names = [...]string{"none", "run", "block", "wake", "leave", "kick", "timer", "irq", "enter", "exit"}

// String is the kind's name.
func (k Kind) String() string {
	if int(k) < len(names) {
		return names[k]
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Event is one event.
type Event struct {
	TSC  uint64
	CPU  int
	Kind Kind
	Who  uint32
	Arg  uint64
}

// String is the event without its time.
func (e Event) String() string {
	s := e.Kind.String()
	if e.Who != 0 {
		s += fmt.Sprintf(" %d", e.Who)
	} else if e.Kind == Run {
		s += " idle"
	}
	switch e.Kind {
	case Block:
		if e.Arg == 0 {
			return s + " for ever"
		}
		return s + fmt.Sprintf(" for %d us", e.Arg/1000)
	case Timer:
		return s + fmt.Sprintf(" late by %d us", int64(e.Arg)/1000)
	case Kick:
		return s + fmt.Sprintf(" CPU %d", e.Arg)
	case IRQ, Enter, Exit:
		return s + fmt.Sprintf(" %#x", e.Arg)
	}
	return s
}

// ring is a CPU's. It has one writer at a time: the CPU, with interrupts off.
type ring struct {
	next  atomic.Uint64 // number of the next event, from 0
	slots [Size]struct{ tsc, what, arg uint64 }
	_     [56]byte // the next ring's counter is on a cache line of its own
}

var rings [MaxCPUs]ring

// Add notes an event of CPU cpu, which is the caller's. Preconditions: interrupts are
// off.
//
// The event is written by plain stores, which are ordered before the counter's: this is on
// the way of each exit, and an exchange costs more than all the rest. Who reads drops what the
// counter says was overwritten meanwhile.
//
//go:nosplit
func Add(cpu uint64, k Kind, who uint32, arg uint64) {
	r := &rings[cpu%MaxCPUs]
	n := r.next.Load()
	s := &r.slots[n%Size]
	s.tsc, s.what, s.arg = tsc(), uint64(k)|uint64(who)<<32, arg
	r.next.Store(n + 1)
}

// Last returns the last n events of all CPUs, or as many as there are, oldest first.
// It may run while events are added.
func Last(n int) []Event {
	var all []Event
	for cpu := range rings {
		all = rings[cpu].read(all, cpu)
	}
	slices.SortStableFunc(all, func(a, b Event) int { return int(int64(a.TSC - b.TSC)) })
	return all[max(0, len(all)-n):]
}

// read adds the ring's events, but those that are overwritten meanwhile.
func (r *ring) read(all []Event, cpu int) []Event {
	have := len(all)
	end := r.next.Load()
	begin := end - min(end, Size)
	for i := begin; i < end; i++ {
		s := &r.slots[i%Size]
		what := atomic.LoadUint64(&s.what)
		all = append(all, Event{atomic.LoadUint64(&s.tsc), cpu, Kind(what), uint32(what >> 32), atomic.LoadUint64(&s.arg)})
	}
	// The event that is being written has no number yet.
	if now := r.next.Load() + 1; now > begin+Size {
		all = slices.Delete(all, have, have+int(min(now-Size-begin, end-begin)))
	}
	return all
}

// tsc reads the time-stamp counter.
func tsc() uint64
