package pvcpu

import (
	"nidus/kernel/virt"
	"nidus/kernel/virt/pv"
	"nidus/kernel/xenabi"
	"nidus/mm"
	"nidus/personalities/msr"
)

// MSRs (Intel SDM vol. 4; AMD APM vol. 2, appendix A).
const (
	msrTSC          = 0x10
	msrAPICBase     = 0x1b
	msrUcode        = 0x8b
	msrUcodeUpdate  = 0x79
	msrMCGCap       = 0x179
	msrMCGStatus    = 0x17a
	msrMiscEnable   = 0x1a0
	msrPAT          = 0x277
	msrEFER         = 0xc0000080
	msrFSBase       = pv.MSRFSBase
	msrGSBase       = pv.MSRGSBase
	msrKernelGSBase = pv.MSRKernelGSBase
	msrTSCAux       = 0xc0000103
	msrAMDFirst     = 0xc0010000
	msrAMDLast      = 0xc001ffff
)

// apicBase is IA32_APIC_BASE of a processor whose APIC nobody can reach.
const (
	apicBase    = 0xfee00000
	apicEnabled = 1 << 11
	apicBSP     = 1 << 8
)

// rdmsr carries out RDMSR. Few registers are there at all: what a processor has
// for its own kernel, as SYSCALL's entry points and MTRRs, is the hypervisor's.
func (c *CPU) rdmsr() bool {
	r := c.M.Regs()
	index := uint32(r.RCX)
	v, ok := c.readMSR(index)
	if !ok {
		// A kernel that has no handler yet would end here: it is told 0
		// (arch-x86/xen.h, at trap_info).
		if c.Traps[virt.VectorGP].Address != 0 {
			return false
		}
		v = 0
	}
	r.RAX, r.RDX = v&0xffffffff, v>>32
	return true
}

func (c *CPU) readMSR(index uint32) (uint64, bool) {
	switch index {
	case msrAPICBase:
		return c.apicBase(), true
	case msrEFER:
		return c.efer(), true
	case msrPAT:
		return c.M.Get(virt.PAT), true
	case msrFSBase, msrGSBase, msrKernelGSBase:
		if c.Width == xenabi.Guest32 {
			break
		}
		fallthrough
	case msrTSC, msrUcode, msrMiscEnable, msrTSCAux, msrMCGCap, msrMCGStatus:
		v, f := c.MSR.Read(index)
		return v, f == msr.None
	}
	if index >= msrAMDFirst && index <= msrAMDLast {
		v, f := c.MSR.Read(index)
		return v, f == msr.None
	}
	c.M.Unknown(index, false, 0)
	return 0, false
}

// wrmsr carries out WRMSR.
func (c *CPU) wrmsr() bool {
	r := c.M.Regs()
	index, v := uint32(r.RCX), r.RDX<<32|r.RAX&0xffffffff
	switch index {
	case msrAPICBase:
		return v == c.apicBase()
	case msrEFER:
		return v == c.efer()
	case msrPAT: // its entries are the host's: all guests' page tables mean the same
		return v == c.M.Get(virt.PAT)
	case msrTSC:
		return true // has no effect
	case msrFSBase, msrGSBase, msrKernelGSBase:
		if c.Width == xenabi.Guest32 {
			return false
		}
		fallthrough
	case msrUcode, msrUcodeUpdate, msrMiscEnable, msrTSCAux, msrMCGCap, msrMCGStatus:
		return c.MSR.Write(index, v) == msr.None
	}
	if index >= msrAMDFirst && index <= msrAMDLast {
		return c.MSR.Write(index, v) == msr.None
	}
	c.M.Unknown(index, true, v)
	return false
}

func (c *CPU) efer() uint64 {
	e := c.M.Get(virt.EFER)
	if c.Width == xenabi.Guest32 {
		return e & virt.EFERNX
	}
	return e & (virt.EFERNX | virt.EFERLMA | virt.EFERLME | virt.EFERSCE)
}

func (c *CPU) apicBase() uint64 {
	if c.ID == 0 {
		return apicBase | apicEnabled | apicBSP
	}
	return apicBase | apicEnabled
}

// msrs shows a CPU to its MSR table (msr.VCPU).
type msrs struct{ *CPU }

// Get implements msr.VCPU.
func (m msrs) Get(r msr.Reg) uint64 {
	switch r {
	case msr.FSBase:
		return m.M.Segment(virt.FS).Base
	case msr.GSBase:
		return m.M.Segment(virt.GS).Base
	case msr.KernelGSBase:
		return m.M.Get(virt.KernelGSBase)
	case msr.TSCAux:
		return m.M.Get(virt.TSCAux)
	}
	return 0
}

// Set implements msr.VCPU: the table has checked v.
func (m msrs) Set(r msr.Reg, v uint64) {
	switch r {
	case msr.FSBase:
		m.setBase(virt.FS, v)
	case msr.GSBase:
		m.setBase(virt.GS, v)
	case msr.KernelGSBase:
		m.M.Set(virt.KernelGSBase, v)
	case msr.TSCAux:
		m.M.Set(virt.TSCAux, v)
	}
}

// CR0 implements msr.VCPU.
func (m msrs) CR0() uint64 { return m.cr0() }

// TSC implements msr.VCPU.
func (m msrs) TSC() uint64 { return m.M.TSC() }

// SetTSC implements msr.VCPU.
func (m msrs) SetTSC(uint64) {}

// APICRead implements msr.VCPU: there is none.
func (m msrs) APICRead(uint32) (uint64, bool) { return 0, false }

// APICWrite implements msr.VCPU.
func (m msrs) APICWrite(uint32, uint64) bool { return false }

// HypercallPage implements msr.VCPU: a PV guest's is there from the start.
func (m msrs) HypercallPage(mm.GFN) bool { return false }

// Unknown implements msr.VCPU.
func (m msrs) Unknown(i uint32, write bool, v uint64) { m.M.Unknown(i, write, v) }
