package lapic

// MSRs that belong to the local APIC.
const (
	MSRAPICBase    = 0x1b
	MSRTSCDeadline = 0x6e0
	MSRX2First     = 0x800
	MSRX2Last      = 0x8ff
)

// IA32_APIC_BASE (10.4.4, 10.12.1).
const (
	baseBSP    = 1 << 8
	baseExtd   = 1 << 10
	baseEnable = 1 << 11
)

// ReadMSR reads one of the local APIC's MSRs. ok false means #GP(0).
func (a *APIC) ReadMSR(index uint32) (v uint64, ok bool) {
	switch {
	case index == MSRAPICBase:
		return a.base, true
	case index == MSRTSCDeadline:
		if !a.cfg.TSCDeadline {
			return 0, false
		}
		a.Poll()
		return a.tim.tsc, true
	case index < MSRX2First || index > MSRX2Last || !a.X2Mode():
		return 0, false
	}
	switch reg := (index - MSRX2First) << 4; reg {
	case regID:
		return uint64(a.cfg.ID), true
	case regICR:
		return a.icr, true
	default: // EOI, SELF IPI, DFR and ICR2 aren't in read
		r, ok := a.read(reg)
		return uint64(r), ok
	}
}

// WriteMSR writes one of the local APIC's MSRs. ok false means #GP(0), and
// that nothing changed.
func (a *APIC) WriteMSR(index uint32, v uint64) (ok bool) {
	switch {
	case index == MSRAPICBase:
		return a.setBase(v)
	case index == MSRTSCDeadline:
		if !a.cfg.TSCDeadline {
			return false
		}
		a.setTSCDeadline(v)
		return true
	case index < MSRX2First || index > MSRX2Last || !a.X2Mode():
		return false
	}
	reg := (index - MSRX2First) << 4
	switch reg {
	case regICR:
		if v&^icrX2Allowed != 0 {
			return false
		}
		a.icr = v &^ icrBusy
		a.send(a.icr, v>>32, true)
		return true
	case regSelfIPI:
		if v > 0xff {
			return false
		}
		a.selfIPI(uint8(v))
		return true
	}
	if v&^a.x2Writable(reg) != 0 {
		return false
	}
	return a.write(reg, uint32(v))
}

// x2Writable are the bits that WRMSR may set in a register; the others are
// reserved, and #GP if set (10.12.1.3).
func (a *APIC) x2Writable(reg uint32) uint64 {
	switch reg {
	case regTPR:
		return 0xff
	case regSVR:
		return svrWritable
	case regInitial:
		return 0xffffffff
	case regDivide:
		return dcrWritable
	case regTimer, regThermal, regPerf, regLINT0, regLINT1, regError:
		return uint64(a.lvtBits((reg - regTimer) >> 4))
	}
	return 0 // EOI and ESR take zero only
}

// setBase writes IA32_APIC_BASE. The legal transitions are those of figure
// 10-27. The page stays at DefaultBase: a write that moves it is refused, as
// is one that changes reserved bits. BSP is read-only.
func (a *APIC) setBase(v uint64) (ok bool) {
	const mode = baseEnable | baseExtd
	if v&^(baseBSP|mode) != DefaultBase {
		return false
	}
	from, to := a.base&mode, v&mode
	switch {
	case from == to:
		return true
	case to == baseExtd, // never legal
		from == 0 && to == mode,
		from == mode && to == baseEnable:
		return false
	}
	a.base = a.base&^mode | to
	switch {
	case to == mode: // 10.12.5.1: the rest is preserved
		a.icr &= 0xffffffff
		a.publish()
	default: // disabled, or enabled again: as after power-up (10.4.3)
		a.Reset()
	}
	return true
}
