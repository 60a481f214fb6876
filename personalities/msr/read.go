package msr

// Read does RDMSR.
func (m *File) Read(index uint32) (v uint64, f Fault) {
	switch index {
	case idxP5Addr, idxP5Type, idxPlatformID, idxMCGCap:
		return 0, None
	case idxTSC:
		return m.V.TSC(), None
	case idxAPICBase, idxTSCDeadline:
		return m.apic(index)
	case idxFeatureCtl:
		if m.F.AMD {
			break
		}
		return 1, None // locked, VMX off
	case idxTSCAdjust:
		return m.S.TSCAdjust, None
	case idxUcodeRev:
		if m.F.AMD {
			return uint64(m.F.Patch), None
		}
		return uint64(m.F.Patch) << 32, None
	case idxMTRRCap:
		return mtrrCap, None
	case idxMTRRDef:
		return m.S.MTRRDef, None
	case idxMCGStatus:
		return m.S.MCGStatus, None
	case idxMiscEnable:
		if m.F.AMD {
			break
		}
		return m.S.MiscEnable | miscNoPEBS, None
	case idxLastBranchTo - 1, idxLastBranchTo, idxLastBranchTo + 1, idxLastBranchTo + 2:
		return 0, None
	case idxHypercall:
		return 0, GP // write-only
	}
	if index >= idxX2First && index <= idxX2Last {
		return m.apic(index)
	}
	if p := m.mtrr(index); p != nil {
		return *p, None
	}
	if r, ok := m.hardware(index); ok {
		return m.V.Get(r), None
	}
	if m.F.AMD {
		if v, ok := m.readAMD(index); ok {
			return v, None
		}
	}
	m.unknown(index, false, 0)
	return 0, GP
}

func (m *File) apic(index uint32) (uint64, Fault) {
	v, ok := m.V.APICRead(index)
	if !ok {
		return 0, GP
	}
	return v, None
}

// hardware maps an index to a register of the hardware.
func (m *File) hardware(index uint32) (r Reg, ok bool) {
	switch index {
	case idxEFER:
		return EFER, true
	case idxSTAR:
		return STAR, m.F.SYSCALL
	case idxLSTAR:
		return LSTAR, m.F.LongMode
	case idxCSTAR:
		return CSTAR, m.F.LongMode
	case idxSFMASK:
		return SFMASK, m.F.SYSCALL
	case idxFSBase:
		return FSBase, m.F.LongMode
	case idxGSBase:
		return GSBase, m.F.LongMode
	case idxKernelGSBase:
		return KernelGSBase, m.F.LongMode
	case idxTSCAux:
		return TSCAux, m.F.RDTSCP
	case idxSysenterCS:
		return SysenterCS, true
	case idxSysenterESP:
		return SysenterESP, true
	case idxSysenterEIP:
		return SysenterEIP, true
	case idxPAT:
		return PAT, true
	case idxDebugCtl:
		return DebugCtl, true
	}
	return 0, false
}

// mtrr returns where an MTRR is stored, or nil.
func (m *File) mtrr(index uint32) *uint64 {
	switch {
	case index >= idxMTRRVariable && index < idxMTRRVariable+2*numVariable:
		return &m.S.MTRRVariable[index-idxMTRRVariable]
	case index == idxMTRRFix64K:
		return &m.S.MTRRFixed[0]
	case index == idxMTRRFix16K || index == idxMTRRFix16K+1:
		return &m.S.MTRRFixed[1+index-idxMTRRFix16K]
	case index >= idxMTRRFix4K && index < idxMTRRFix4K+8:
		return &m.S.MTRRFixed[3+index-idxMTRRFix4K]
	}
	return nil
}

func (m *File) readAMD(index uint32) (v uint64, ok bool) {
	switch index {
	case idxAMDSyscfg:
		return m.S.AMDSyscfg, true
	case idxAMDHwcr:
		return m.S.AMDHwcr | hwcrTscFreq, true
	case idxAMDNBCfg:
		return nbCfg, true
	case idxAMDVMCR:
		return vmcrSVMDis | vmcrLock, true
	case idxAMDDECfg:
		return lfenceSerial, true
	case idxAMDTopMem, idxAMDTopMem2, idxAMDIntPending, idxAMDMMIOCfg,
		idxAMDPState, idxAMDPState + 1, idxAMDPState + 2, idxAMDOSVWLen, idxAMDOSVWStat,
		idxAMDLSCfg, idxAMDICCfg, idxAMDDCCfg, idxAMDFPCfg, idxAMDBUCfg2:
		return 0, true
	}
	if index >= idxAMDPerfCtl && index < idxAMDPerfCtl+8 {
		return 0, true // no PMU: Linux finds that counters don't keep a value
	}
	return 0, false
}
