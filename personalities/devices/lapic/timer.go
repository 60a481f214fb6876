package lapic

// minPeriod bounds how often a periodic timer fires, in nanoseconds: a guest
// that asks for 10 ns gets its counter, but not the host's time.
const minPeriod = 50_000

// timer counts down from count since start; a periodic one reloads initial.
type timer struct {
	initial uint32
	count   uint32
	start   uint64 // Clock.Now when it was count
	running bool   // the current run has not fired
	tsc     uint64 // the TSC deadline; 0 is not armed
	fired   uint64 // when a periodic timer fired last
}

// divisor is the divide configuration's (figure 10-10).
func (a *APIC) divisor() uint64 {
	d := a.dcr&3 | a.dcr>>1&4
	return 1 << ((d + 1) & 7)
}

func (a *APIC) tick() uint64 { return busCycleNS * a.divisor() }

func (a *APIC) mode() uint32 { return a.lvt[lvtTimer] & timerMode }

// setInitial starts the timer; zero stops it (10.5.4).
func (a *APIC) setInitial(v uint32) {
	if a.mode()&timerTSC != 0 {
		return // 10.5.4.1: ignored in TSC-deadline mode
	}
	now := a.cfg.Clock.Now()
	a.tim.initial, a.tim.count, a.tim.start = v, v, now
	a.tim.running, a.tim.fired = v != 0, now
	a.rearm()
}

// setDivide goes on counting from where the counter is.
func (a *APIC) setDivide(v uint32) {
	a.Poll()
	if a.tim.initial != 0 && a.mode()&timerTSC == 0 {
		c := a.currentCount()
		a.tim.count, a.tim.start = c, a.cfg.Clock.Now()
	}
	a.dcr = v
	a.rearm()
}

// setTimerLVT changes the mode; between TSC-deadline and the others it disarms.
func (a *APIC) setTimerLVT(v uint32) {
	a.Poll()
	if (v^a.lvt[lvtTimer])&timerMode != 0 {
		if (v^a.lvt[lvtTimer])&timerTSC != 0 {
			a.tim = timer{}
		} else if a.tim.initial != 0 {
			c := a.currentCount()
			a.tim.count, a.tim.start = c, a.cfg.Clock.Now()
			a.tim.running = c != 0
		}
	}
	a.lvt[lvtTimer] = v
	a.rearm()
}

// setTSCDeadline arms the timer for a value of the guest's TSC; zero disarms.
func (a *APIC) setTSCDeadline(v uint64) {
	if a.mode() != timerTSC {
		return
	}
	a.tim.tsc = v
	a.rearm()
}

// TSCChanged says that the guest's TSC jumped (a write to TSC or TSC_ADJUST).
func (a *APIC) TSCChanged() { a.rearm() }

func (a *APIC) currentCount() uint32 {
	t := &a.tim
	if t.initial == 0 || a.mode()&timerTSC != 0 {
		return 0
	}
	now := a.cfg.Clock.Now()
	if now < t.start {
		return t.count
	}
	gone := (now - t.start) / a.tick()
	if gone < uint64(t.count) {
		return t.count - uint32(gone)
	}
	if a.mode() != timerPeriod {
		return 0
	}
	gone -= uint64(t.count)
	return t.initial - uint32(gone%uint64(t.initial))
}

// NextDeadline is when Poll must run: a value of Clock.Now, or None. Any
// thread may ask.
func (a *APIC) NextDeadline() uint64 { return a.deadline.Load() }

// due computes the time of the next event.
func (a *APIC) due() uint64 {
	t := &a.tim
	switch a.mode() {
	case 0:
		if t.running {
			return t.start + uint64(t.count)*a.tick()
		}
	case timerPeriod:
		if t.initial != 0 {
			return max(t.start+uint64(t.count)*a.tick(), t.fired+minPeriod)
		}
	case timerTSC:
		if t.tsc != 0 {
			return min(a.cfg.Clock.TSCDeadline(t.tsc), None-1)
		}
	}
	return None
}

// rearm publishes the next deadline. A masked timer has none: its end is
// noticed by the Poll of whatever looks at it next.
func (a *APIC) rearm() {
	d := None
	if a.lvt[lvtTimer]&lvtMasked == 0 && a.HardwareEnabled() {
		d = a.due()
	}
	a.deadline.Store(d)
}

// Poll raises the timer's interrupt if its time has come, once however many
// periods were missed, and sets the next deadline. The vcpu's own thread calls
// it after NextDeadline has passed; at other times it does nothing.
func (a *APIC) Poll() {
	due := a.due()
	if due == None {
		return
	}
	now := a.cfg.Clock.Now()
	if now < due {
		return
	}
	t := &a.tim
	switch a.mode() {
	case 0:
		t.running = false
	case timerPeriod:
		// Move start to the last reload, so that nothing drifts.
		t.start += uint64(t.count) * a.tick()
		period := uint64(t.initial) * a.tick()
		t.start += (now - t.start) / period * period
		t.count, t.fired = t.initial, now
	case timerTSC:
		t.tsc = 0
	}
	a.raiseLVT(lvtTimer)
	a.rearm()
}
