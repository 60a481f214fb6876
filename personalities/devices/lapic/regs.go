package lapic

// Register offsets in the xAPIC page (table 10-1). The x2APIC MSR of a
// register is 0x800 + offset/16 (table 10-6).
const (
	regID      = 0x20
	regVersion = 0x30
	regTPR     = 0x80
	regAPR     = 0x90
	regPPR     = 0xa0
	regEOI     = 0xb0
	regRRD     = 0xc0
	regLDR     = 0xd0
	regDFR     = 0xe0
	regSVR     = 0xf0
	regISR     = 0x100
	regTMR     = 0x180
	regIRR     = 0x200
	regESR     = 0x280
	regICR     = 0x300
	regICR2    = 0x310
	regTimer   = 0x320
	regThermal = 0x330
	regPerf    = 0x340
	regLINT0   = 0x350
	regLINT1   = 0x360
	regError   = 0x370
	regInitial = 0x380
	regCurrent = 0x390
	regDivide  = 0x3e0
	regSelfIPI = 0x3f0
)

// The local vector table, in the order of its registers.
const (
	lvtTimer = iota
	lvtThermal
	lvtPerf
	lvtLINT0
	lvtLINT1
	lvtError
	lvtCount
)

const (
	// version is an integrated APIC (0x14) with lvtCount entries, without
	// suppression of EOI broadcasts (10.4.8).
	version = 0x14 | (lvtCount-1)<<16

	lvtMasked    = 1 << 16
	lvtVector    = 0xff
	timerMode    = 3 << 17
	timerPeriod  = 1 << 17
	timerTSC     = 2 << 17
	svrEnable    = 1 << 8
	svrWritable  = 0x3ff
	dcrWritable  = 0xb
	dfrFlat      = 0xf
	dfrCluster   = 0
	icrLowMask   = 0x000ccfff
	icrBusy      = 1 << 12
	icrX2Allowed = 0xffffffff_000cdfff // busy is tolerated, as processors do
)

// Errors (10.5.3, ESR).
const (
	errSendIllegal    = 1 << 5
	errReceiveIllegal = 1 << 6
	errIllegalReg     = 1 << 7
)

// lvtWritable are the bits of each entry that a guest can change.
var lvtWritable = [lvtCount]uint32{
	lvtTimer:   lvtVector | lvtMasked | timerMode,
	lvtThermal: lvtVector | 7<<8 | lvtMasked,
	lvtPerf:    lvtVector | 7<<8 | lvtMasked,
	lvtLINT0:   lvtVector | 7<<8 | 1<<13 | 1<<15 | lvtMasked,
	lvtLINT1:   lvtVector | 7<<8 | 1<<13 | 1<<15 | lvtMasked,
	lvtError:   lvtVector | lvtMasked,
}

func (a *APIC) lvtBits(n uint32) uint32 {
	if n == lvtTimer && !a.cfg.TSCDeadline {
		return lvtWritable[n] &^ timerTSC
	}
	return lvtWritable[n]
}

// read returns a register both modes have. ok is false if there is none.
func (a *APIC) read(reg uint32) (v uint32, ok bool) {
	switch reg {
	case regVersion:
		return version, true
	case regTPR:
		return a.tpr, true
	case regPPR:
		return a.ppr(), true
	case regLDR:
		return a.logicalID(), true
	case regSVR:
		return a.svr, true
	case regESR:
		return a.esr, true
	case regICR:
		return uint32(a.icr), true
	case regInitial:
		if a.lvt[lvtTimer]&timerMode == timerTSC {
			return 0, true
		}
		return a.tim.initial, true
	case regCurrent:
		return a.currentCount(), true
	case regDivide:
		return a.dcr, true
	}
	n := reg >> 4 & 7
	switch {
	case reg >= regISR && reg < regTMR:
		return a.isr[n], true
	case reg >= regTMR && reg < regIRR:
		return a.tmr[n].Load(), true
	case reg >= regIRR && reg < regESR:
		return a.irr[n].Load(), true
	case reg >= regTimer && reg <= regError:
		return a.lvt[(reg-regTimer)>>4], true
	}
	return 0, false
}

// write changes a register both modes have. ok is false if there is none or
// it can't be written.
func (a *APIC) write(reg, v uint32) (ok bool) {
	switch reg {
	case regTPR:
		a.tpr = v & 0xff
	case regEOI:
		a.eoi()
	case regSVR:
		a.svr = v & svrWritable
		if !a.softwareEnabled() {
			a.Poll()
			for i := range a.lvt { // 10.4.7.2
				a.lvt[i] |= lvtMasked
			}
			a.rearm()
		}
		a.publish()
	case regESR: // a write latches what was seen since the last one
		a.esr = a.errors.Swap(0)
	case regInitial:
		a.setInitial(v)
	case regDivide:
		a.setDivide(v & dcrWritable)
	case regTimer, regThermal, regPerf, regLINT0, regLINT1, regError:
		a.setLVT((reg-regTimer)>>4, v)
	default:
		return false
	}
	return true
}

func (a *APIC) setLVT(n, v uint32) {
	v &= a.lvtBits(n)
	if !a.softwareEnabled() {
		v |= lvtMasked
	}
	if n == lvtTimer {
		a.setTimerLVT(v)
		return
	}
	a.lvt[n] = v
}

// ReadMMIO reads size bytes at offset off of the xAPIC page. Registers are 32
// bits wide on 16-byte boundaries (10.4.1); a read inside one gives its bytes,
// and anything else reads as zero. In x2APIC mode and while the APIC is
// disabled there is no page: ok is false, and the address is the bus's.
func (a *APIC) ReadMMIO(off uint32, size int) (v uint64, ok bool) {
	if a.base&(baseEnable|baseExtd) != baseEnable || off >= 0x1000 {
		return 0, false
	}
	if size != 1 && size != 2 && size != 4 || off&0xf+uint32(size) > 4 {
		return 0, true
	}
	r := a.readX(off &^ 0xf)
	return uint64(r) >> (off & 3 * 8) & (1<<(8*size) - 1), true
}

func (a *APIC) readX(reg uint32) uint32 {
	switch reg {
	case regID:
		return a.id
	case regAPR, regRRD:
		return 0
	case regEOI: // write-only; reads don't fail on any processor
		return 0
	case regDFR:
		return a.dfr
	case regICR2:
		return uint32(a.icr >> 32)
	}
	v, ok := a.read(reg)
	if !ok {
		a.fail(errIllegalReg)
	}
	return v
}

// WriteMMIO writes to the xAPIC page, in 32-bit registers on 16-byte
// boundaries only; what isn't is ignored. ok is as ReadMMIO's.
func (a *APIC) WriteMMIO(off uint32, size int, val uint64) (ok bool) {
	if a.base&(baseEnable|baseExtd) != baseEnable || off >= 0x1000 {
		return false
	}
	if size != 4 || off&0xf != 0 {
		return true
	}
	v := uint32(val)
	switch off {
	case regID:
		a.id = v & 0xff000000
		a.publish()
	case regLDR:
		a.ldr = v & 0xff000000
		a.publish()
	case regDFR:
		a.dfr = v | 0x0fffffff
		a.publish()
	case regICR:
		a.icr = a.icr&^0xffffffff | uint64(v&icrLowMask)
		a.send(a.icr, a.icr>>56, false)
	case regICR2:
		a.icr = a.icr&0xffffffff | uint64(v&0xff000000)<<32
	case regVersion, regAPR, regPPR, regRRD, regCurrent: // read-only
	default:
		if off >= regISR && off < regESR {
			break
		}
		if !a.write(off, v) {
			a.fail(errIllegalReg)
		}
	}
	return true
}

// fail records an error; Poll (or the next look at the IRR) raises its vector.
func (a *APIC) fail(e uint32) {
	if a.errors.Or(e)&e != e {
		a.raiseLVT(lvtError)
	}
}
