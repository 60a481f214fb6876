package virt

import "fmt"

// EventKind is how an event enters the guest; both vendors number them so (APM
// vol. 2, 15.20; SDM vol. 3, table 25-17).
type EventKind uint8

// The kinds of events.
const (
	Interrupt     EventKind = 0 // external, maskable
	NMI           EventKind = 2
	Exception     EventKind = 3
	SoftInterrupt EventKind = 4 // INT n: never injected here, the guest repeats it
)

// Exception vectors that are treated specially somewhere.
const (
	VectorDE = 0
	VectorDB = 1
	VectorBP = 3
	VectorOF = 4
	VectorUD = 6
	VectorDF = 8
	VectorTS = 10
	VectorNP = 11
	VectorSS = 12
	VectorGP = 13
	VectorPF = 14
	VectorAC = 17
	VectorMC = 18
)

// Event is something that the processor delivers through the guest's IDT.
type Event struct {
	Kind   EventKind
	Vector uint8
	// HasCode tells whether Code is pushed; it must be what the vector does.
	HasCode bool
	Code    uint32
}

// String is for logs.
func (e Event) String() string {
	switch e.Kind {
	case Interrupt:
		return fmt.Sprintf("interrupt %#x", e.Vector)
	case NMI:
		return "NMI"
	case SoftInterrupt:
		return fmt.Sprintf("INT %#x", e.Vector)
	}
	if e.HasCode {
		return fmt.Sprintf("exception %d error %#x", e.Vector, e.Code)
	}
	return fmt.Sprintf("exception %d", e.Vector)
}

// Fault makes an exception with the error code that its vector has; code is
// dropped if it has none.
//
//go:nosplit
func Fault(vector uint8, code uint32) Event {
	e := Event{Kind: Exception, Vector: vector}
	switch vector {
	case VectorDF, VectorTS, VectorNP, VectorSS, VectorGP, VectorPF, VectorAC, 21, 29, 30:
		e.HasCode, e.Code = true, code
	}
	return e
}

// Pending is the events on their way into a guest: at most one to be delivered
// at the next entry, and one interrupt or NMI held back behind an exception
// that hit while it was being delivered. The zero Pending has none.
type Pending struct {
	next, held       Event
	hasNext, hasHeld bool
}

// class of an exception for the double fault rules (APM vol. 2, 8.2.9).
type class uint8

const (
	benign class = iota
	contributory
	pageFault
	doubleFault
)

//go:nosplit
func classOf(v uint8) class {
	switch v {
	case VectorDE, VectorTS, VectorNP, VectorSS, VectorGP:
		return contributory
	case VectorPF:
		return pageFault
	case VectorDF:
		return doubleFault
	}
	return benign
}

// Inject adds an event, by the processor's rules for two events at once.
//
//go:nosplit
func (p *Pending) Inject(e Event) error {
	switch {
	case !p.hasNext && (e.Kind == Exception || !p.hasHeld):
		p.next, p.hasNext = e, true
	case e.Kind != Exception:
		return ErrEventPending
	case p.next.Kind != Exception:
		if p.hasHeld {
			return ErrEventPending
		}
		p.held, p.hasHeld = p.next, true
		p.next = e
	default:
		a, b := classOf(p.next.Vector), classOf(e.Vector)
		switch {
		case a == doubleFault && b != benign:
			return ErrTripleFault
		case a == contributory && b == contributory, a == pageFault && (b == contributory || b == pageFault):
			p.next = Fault(VectorDF, 0)
		case b == doubleFault || a == benign || b != benign:
			p.next = e
		default: // a fault under way and a benign second one: the fault comes first
			return ErrEventPending
		}
	}
	return nil
}

// Empty tells whether nothing waits.
//
//go:nosplit
func (p *Pending) Empty() bool { return !p.hasNext && !p.hasHeld }

// Next returns the event for the coming entry. A held interrupt or NMI is
// offered only when the guest would take one.
//
//go:nosplit
func (p *Pending) Next(interruptOK, nmiOK bool) (Event, bool) {
	if !p.hasNext && p.hasHeld && (p.held.Kind == NMI && nmiOK || p.held.Kind == Interrupt && interruptOK) {
		p.next, p.hasNext, p.hasHeld = p.held, true, false
	}
	return p.next, p.hasNext
}

// Delivered says that the guest took what Next returned.
//
//go:nosplit
func (p *Pending) Delivered() { p.hasNext = false }

// Again puts back an event whose delivery an exit cut short. INT n, INT3 and
// INTO are not put back: RIP is still at the instruction, which is executed
// again. An interrupt that was to come with the last entry and was not taken yet
// is held back behind the event.
//
//go:nosplit
func (p *Pending) Again(e Event) {
	if e.Kind == SoftInterrupt || e.Kind == Exception && (e.Vector == VectorBP || e.Vector == VectorOF) {
		return
	}
	if p.hasNext && !p.hasHeld {
		p.held, p.hasHeld = p.next, true
	}
	p.next, p.hasNext = e, true
}

// Held tells whether an interrupt waits for the guest to allow it.
//
//go:nosplit
func (p *Pending) Held() bool { return p.hasHeld && !p.hasNext }

// Save and Load move the events to and from a State.
func (p *Pending) Save(s *State) {
	s.Event, s.HasEvent, s.Held, s.HasHeld = p.next, p.hasNext, p.held, p.hasHeld
	if !p.hasNext {
		s.Event = Event{}
	}
	if !p.hasHeld {
		s.Held = Event{}
	}
}

// Load is Save's counterpart; it refuses events that no processor delivers.
func (p *Pending) Load(s *State) error {
	if s.HasEvent {
		if err := s.Event.Check(); err != nil {
			return err
		}
	}
	if s.HasHeld {
		if err := s.Held.Check(); err != nil {
			return err
		}
		if s.Held.Kind != Interrupt && s.Held.Kind != NMI {
			return BadState("held event of kind", uint64(s.Held.Kind), "only interrupts and NMIs are held")
		}
	}
	*p = Pending{next: s.Event, hasNext: s.HasEvent, held: s.Held, hasHeld: s.HasHeld}
	return nil
}

// Check tells whether an event can be injected: the processors refuse to enter
// with one that can't (APM vol. 2, 15.20; SDM vol. 3, 27.2.1.3).
func (e Event) Check() error {
	switch e.Kind {
	case Interrupt:
	case NMI:
		if e.Vector != 2 {
			return BadState("NMI with vector", uint64(e.Vector), "it is 2")
		}
	case Exception:
		if e.Vector > 31 || e.Vector == 2 {
			return BadState("exception", uint64(e.Vector), "exceptions are 0 to 31, without 2")
		}
		if e.HasCode != Fault(e.Vector, 0).HasCode {
			return BadState("exception", uint64(e.Vector), "error code missing or too much")
		}
		return nil
	default:
		return BadState("event of kind", uint64(e.Kind), "not one that can be injected")
	}
	if e.HasCode {
		return BadState("event with vector", uint64(e.Vector), "only exceptions have an error code")
	}
	return nil
}
