package lapic

import "fmt"

// StateVersion is the version of State that this package writes and reads.
const StateVersion = 1

// State is a local APIC as plain data, for save, migration and restart. Times
// are relative to the moment of export.
type State struct {
	Version                 uint32
	ID                      uint32 // the xAPIC ID register
	Base, ICR               uint64
	TPR, LDR, DFR, SVR, ESR uint32
	Errors, Divide          uint32
	LVT                     [6]uint32
	IRR, ISR, TMR           [8]uint32
	TimerInitial            uint32
	TimerCount              uint32
	TimerRunning            bool
	TimerElapsed            uint64 // ns since the timer was TimerCount
	TSCDeadline             uint64
}

// Export returns the state.
//
// Preconditions: the vcpu is at an exit, and nobody sends it interrupts.
func (a *APIC) Export() State {
	a.Poll()
	s := State{
		Version: StateVersion, ID: a.id, Base: a.base, ICR: a.icr,
		TPR: a.tpr, LDR: a.ldr, DFR: a.dfr, SVR: a.svr, ESR: a.esr,
		Errors: a.errors.Load(), Divide: a.dcr, LVT: a.lvt, ISR: a.isr,
		TimerInitial: a.tim.initial, TimerCount: a.tim.count,
		TimerRunning: a.tim.running, TSCDeadline: a.tim.tsc,
	}
	if now := a.cfg.Clock.Now(); a.tim.initial != 0 && now > a.tim.start {
		s.TimerElapsed = now - a.tim.start
	}
	for i := range s.IRR {
		s.IRR[i], s.TMR[i] = a.irr[i].Load(), a.tmr[i].Load()
	}
	return s
}

// Import sets the state. A state that no guest could have brought about is
// refused, and nothing changed.
func (a *APIC) Import(s *State) error {
	if s.Version != StateVersion {
		return fmt.Errorf("lapic: state has version %d, this is version %d", s.Version, StateVersion)
	}
	if m := s.Base & (baseEnable | baseExtd); m == baseExtd || s.Base&^(baseEnable|baseExtd|baseBSP) != DefaultBase {
		return fmt.Errorf("lapic: state has a bad IA32_APIC_BASE %#x", s.Base)
	}
	bad := s.ID&0xffffff | s.TPR&^0xff | s.LDR&0xffffff | ^s.DFR&0x0fffffff | s.SVR&^svrWritable |
		s.Divide&^dcrWritable | (s.ESR|s.Errors)&^0xff
	bad |= s.IRR[0]&0xffff | s.ISR[0]&0xffff | s.TMR[0]&0xffff
	for i, e := range s.LVT {
		bad |= e &^ a.lvtBits(uint32(i))
		if s.SVR&svrEnable == 0 {
			bad |= ^e & lvtMasked
		}
	}
	if s.ICR&^icrX2Allowed != 0 || s.TimerCount > s.TimerInitial {
		bad |= 1
	}
	now := a.cfg.Clock.Now()
	if bad != 0 || s.TimerElapsed > 1<<62 {
		return fmt.Errorf("lapic: state has bits set that its registers don't have (ID %#x, SVR %#x, LVT %#x, timer %d of %d)",
			s.ID, s.SVR, s.LVT, s.TimerCount, s.TimerInitial)
	}
	a.base = s.Base&^baseBSP | a.base&baseBSP
	a.id, a.icr, a.tpr, a.ldr, a.dfr, a.svr, a.esr = s.ID, s.ICR, s.TPR, s.LDR, s.DFR, s.SVR, s.ESR
	a.errors.Store(s.Errors)
	a.dcr, a.lvt, a.isr = s.Divide, s.LVT, s.ISR
	a.tim = timer{initial: s.TimerInitial, count: s.TimerCount, running: s.TimerRunning,
		tsc: s.TSCDeadline, fired: now}
	a.tim.start = now - min(now, s.TimerElapsed)
	for i := range s.IRR {
		a.irr[i].Store(s.IRR[i])
		a.tmr[i].Store(s.TMR[i])
	}
	a.publish()
	a.rearm()
	return nil
}
