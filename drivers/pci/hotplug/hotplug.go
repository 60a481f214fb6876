// Package hotplug notices PCI functions that go while the host runs: those that are asked
// to leave, by the button of their slot or what stands in for it, and those that are
// pulled out. It looks at slots and functions from time to time, as neither needs an answer
// at once; so a slot's interrupt isn't used.
//
// What comes is told, but not set up: nothing here gives it memory.
//
// Reference: PCI Express Base Specification 4.0, sections 6.7 and 7.5.3.
package hotplug

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"nidus/drivers/pci"
)

// Why a function is removed.
var (
	ErrPulledOut = errors.New("it was pulled out")
	ErrAsked     = errors.New("its slot is to be emptied")
)

const (
	// Every is how often Look is to be called.
	Every = 250 * time.Millisecond
	// regret is how long after the button was pressed it can be pressed again to keep the
	// device (section 6.7.1.5).
	regret = 5 * time.Second
	// absences is how often a function has to be missing one time after another: one that
	// is busy may not answer once.
	absences = 2
)

// Watcher looks for what goes. It is not safe for concurrent use.
type Watcher struct {
	cfg       pci.Config
	log       func(format string, args ...any)
	slots     []*slot
	functions []*watched // in the order of Watch
}

type watched struct {
	at      pci.Address
	id      uint32
	missing int
	remove  func(why error)
}

// New finds the slots. log takes lines for people.
func New(cfg pci.Config, log func(format string, args ...any)) *Watcher {
	w := &Watcher{cfg: cfg, log: log}
	for f := range pci.Functions(cfg) {
		if s := newSlot(cfg, f); s != nil {
			w.slots = append(w.slots, s)
		}
	}
	return w
}

// Slots is how many there are.
func (w *Watcher) Slots() int { return len(w.slots) }

// Watch has remove called once when a function goes: with ErrPulledOut, or, while it is
// still there, with ErrAsked; when it returns, the device may lose its power.
func (w *Watcher) Watch(a pci.Address, remove func(why error)) {
	w.functions = append(w.functions, &watched{at: a, id: w.cfg.Read(a, 0), remove: remove})
}

// Look sees what has gone.
func (w *Watcher) Look(now time.Time) {
	for _, s := range w.slots {
		w.look(s, now)
	}
	w.remove(ErrPulledOut, func(f *watched) bool {
		if f.missing++; w.cfg.Read(f.at, 0) == f.id {
			f.missing = 0
		}
		return f.missing >= absences
	})
}

func (w *Watcher) look(s *slot, now time.Time) {
	v := s.read(regSlotControl)
	if v == ^uint32(0) {
		return // the port is gone
	}
	if v&statusEvents != 0 {
		s.write(v, v&statusEvents)
	}
	there := v&statusPresent != 0
	switch {
	case s.there && !there:
		s.asked = time.Time{}
		w.empty(s, ErrPulledOut)
		s.powerOff()
		w.log("PCI slot %d: it is empty now", s.number)
	case !s.there && there:
		w.log("PCI slot %d: there is a device now; it is not used until the host starts again", s.number)
	case there && v&statusButton != 0 && s.asked.IsZero():
		s.asked = now
		s.light(controlBlink)
		w.log("PCI slot %d: the device is to be removed; the button, pressed again within %v, keeps it", s.number, regret)
	case there && v&statusButton != 0:
		s.asked = time.Time{}
		s.light(controlLightOn)
		w.log("PCI slot %d: the device stays", s.number)
	case !s.asked.IsZero() && now.Sub(s.asked) >= regret:
		s.asked = time.Time{}
		w.empty(s, ErrAsked)
		s.powerOff()
		w.log("PCI slot %d: the device can be taken out", s.number)
	}
	s.there = there
}

// empty removes the functions behind a slot.
func (w *Watcher) empty(s *slot, why error) {
	w.remove(why, func(f *watched) bool { return s.leads(f.at.Bus) })
}

// remove removes functions, and watches them no more.
func (w *Watcher) remove(why error, which func(f *watched) bool) {
	w.functions = slices.DeleteFunc(w.functions, func(f *watched) bool {
		gone := which(f)
		if gone {
			f.remove(fmt.Errorf("PCI function %v: %w", f.at, why))
		}
		return gone
	})
}
