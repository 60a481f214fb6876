package msr

import "nidus/mm"

// Write does WRMSR. With GP nothing has changed.
func (m *File) Write(index uint32, v uint64) Fault {
	switch index {
	case idxP5Addr, idxP5Type:
		return None
	case idxTSC:
		// IA32_TSC_ADJUST moves with the counter (SDM 17.17.3).
		m.S.TSCAdjust += v - m.V.TSC()
		m.V.SetTSC(v)
		return None
	case idxTSCAdjust:
		m.V.SetTSC(m.V.TSC() + v - m.S.TSCAdjust)
		m.S.TSCAdjust = v
		return None
	case idxAPICBase, idxTSCDeadline:
		return gpUnless(m.V.APICWrite(index, v))
	case idxPlatformID, idxFeatureCtl, idxMTRRCap, idxMCGCap:
		return GP // read-only
	case idxUcodeWrite:
		return None // an update is taken, and changes nothing
	case idxUcodeRev:
		return gpUnless(!m.F.AMD) // Intel: cleared before CPUID loads it
	case idxMCGStatus:
		if v&^7 != 0 {
			return GP
		}
		m.S.MCGStatus = v
		return None
	case idxMiscEnable:
		if m.F.AMD {
			break
		}
		// Bits that a guest can't change are ignored, as Linux writes
		// back what it read and what it hopes for.
		m.S.MiscEnable = v & miscWritable
		return None
	case idxMTRRDef:
		if v&^0xcff != 0 || !memType(uint8(v)) {
			return GP
		}
		m.S.MTRRDef = v
		return None
	case idxHypercall:
		return m.hypercall(v)
	}
	if index >= idxX2First && index <= idxX2Last {
		return gpUnless(m.V.APICWrite(index, v))
	}
	if p := m.mtrr(index); p != nil {
		if !m.mtrrValid(index, v) {
			return GP
		}
		*p = v
		return None
	}
	if r, ok := m.hardware(index); ok {
		return m.writeHardware(r, v)
	}
	if m.F.AMD {
		if f, ok := m.writeAMD(index, v); ok {
			return f
		}
	}
	m.unknown(index, true, v)
	return GP
}

func gpUnless(ok bool) Fault {
	if ok {
		return None
	}
	return GP
}

// memType tells whether t is one of the types that MTRRs take (SDM table 11-8).
func memType(t uint8) bool { return t == 0 || t == 1 || t == 4 || t == 5 || t == 6 }

func (m *File) mtrrValid(index uint32, v uint64) bool {
	wide := v>>m.F.PhysBits == 0
	switch {
	case index >= idxMTRRVariable+2*numVariable: // fixed: eight types
		for i := range 8 {
			if !memType(uint8(v >> (8 * i))) {
				return false
			}
		}
		return true
	case index&1 == 0: // PHYSBASE
		return wide && v&0xf00 == 0 && memType(uint8(v))
	default: // PHYSMASK
		return wide && v&0x7ff == 0
	}
}

// patValid tells whether all eight entries are types of the PAT (SDM 11.12.2):
// the MTRRs', and UC- (7).
func patValid(v uint64) bool {
	for i := range 8 {
		if t := uint8(v >> (8 * i)); t != 7 && !memType(t) {
			return false
		}
	}
	return true
}

func (m *File) writeHardware(r Reg, v uint64) Fault {
	switch r {
	case EFER:
		return m.writeEFER(v)
	case LSTAR, CSTAR, FSBase, GSBase, KernelGSBase, SysenterESP, SysenterEIP:
		if !canonical(v) {
			return GP
		}
	case SFMASK:
		// AMD has 32 bits and ignores the rest; Intel faults.
		if v>>32 != 0 && !m.F.AMD {
			return GP
		}
		v &= 0xffffffff
	case TSCAux:
		if v>>32 != 0 && !m.F.AMD {
			return GP
		}
		v &= 0xffffffff
	case SysenterCS:
		v &= 0xffffffff
	case PAT:
		if !patValid(v) {
			return GP
		}
	case DebugCtl:
		// Branch single-step only; last-branch records aren't virtualised,
		// and asking for them is ignored.
		if v&^3 != 0 {
			return GP
		}
		v &= 2
	}
	m.V.Set(r, v)
	return None
}

// writeEFER applies APM vol. 2, 3.1.7: LMA is the processor's, LME can't change
// while paging is on, and what CPUID doesn't offer is reserved.
func (m *File) writeEFER(v uint64) Fault {
	allowed := uint64(0)
	if m.F.SYSCALL {
		allowed |= eferSCE
	}
	if m.F.LongMode {
		allowed |= eferLME | eferLMA
	}
	if m.F.NX {
		allowed |= eferNXE
	}
	if m.F.FFXSR {
		allowed |= eferFFXSR
	}
	old := m.V.Get(EFER)
	if v&^allowed != 0 || (v^old)&eferLME != 0 && m.V.CR0()&cr0PG != 0 {
		return GP
	}
	m.V.Set(EFER, v&^eferLMA|old&eferLMA)
	return None
}

// hypercall writes the hypercall page; the low bits choose one of several, of
// which there is one (cpuid.h, leaf 3).
func (m *File) hypercall(v uint64) Fault {
	if v&mm.PageMask != 0 || v>>m.F.PhysBits != 0 {
		return GP
	}
	g := mm.GuestPhys(v).Frame()
	if !m.V.HypercallPage(g) {
		return GP
	}
	m.S.HypercallGFN = uint64(g)
	return None
}

func (m *File) writeAMD(index uint32, v uint64) (f Fault, ok bool) {
	switch index {
	case idxAMDSyscfg:
		if v&^syscfgBits != 0 {
			return GP, true
		}
		m.S.AMDSyscfg = v
		return None, true
	case idxAMDHwcr:
		if v&^(hwcrWritable|hwcrTscFreq) != 0 {
			return GP, true
		}
		m.S.AMDHwcr = v & hwcrWritable
		return None, true
	case idxAMDPatch, idxAMDNBCfg, idxAMDDECfg, idxAMDIntPending, idxAMDMMIOCfg, idxAMDPState + 1,
		idxAMDLSCfg, idxAMDICCfg, idxAMDDCCfg, idxAMDFPCfg, idxAMDBUCfg2:
		return None, true // workarounds for the host's errata: the host's business
	case idxAMDVMCR, idxAMDTopMem, idxAMDTopMem2, idxAMDPState, idxAMDPState + 2, idxAMDOSVWLen, idxAMDOSVWStat:
		return GP, true
	}
	if index >= idxAMDPerfCtl && index < idxAMDPerfCtl+8 {
		return None, true
	}
	return None, false
}
