// Package msr decides what RDMSR and WRMSR do in a PVH or HVM guest: one table
// of registers, each with its rules. A register that isn't in the table is
// #GP(0), and reported once.
//
// Specifications: Intel SDM vol. 4 (MSRs) and vol. 3 chapters 10, 11 (MTRR,
// PAT) and 15 (MCA); AMD APM vol. 2 (24593) appendix A, and the BKDG/PPR names
// of the 0xc001xxxx registers; xen/include/public/arch-x86/cpuid.h for the
// hypercall page.
package msr

import "nidus/mm"

// Reg is a register that the hardware keeps for the guest (VMCB, VMCS, or the
// lists that are loaded with them).
type Reg uint8

// The registers of VCPU.Get and VCPU.Set.
const (
	EFER Reg = iota
	STAR
	LSTAR
	CSTAR
	SFMASK
	FSBase
	GSBase
	KernelGSBase
	SysenterCS
	SysenterESP
	SysenterEIP
	PAT
	DebugCtl
	TSCAux
	NumRegs
)

// VCPU is what the table needs of the vcpu whose thread calls it.
type VCPU interface {
	Get(Reg) uint64
	Set(Reg, uint64)
	CR0() uint64
	// TSC is the guest's time-stamp counter now; SetTSC makes it v now.
	TSC() uint64
	SetTSC(v uint64)
	// APICRead and APICWrite are the local APIC's MSRs: IA32_APIC_BASE,
	// IA32_TSC_DEADLINE, 0x800-0x8ff (lapic.APIC's ReadMSR and WriteMSR).
	APICRead(index uint32) (v uint64, ok bool)
	APICWrite(index uint32, v uint64) (ok bool)
	// HypercallPage fills the page at g; false if no memory is there.
	HypercallPage(g mm.GFN) bool
	// Unknown reports an access to a register that isn't in the table.
	Unknown(index uint32, write bool, v uint64)
}

// Features are what the domain's CPUID policy offers, as far as rules depend
// on it.
type Features struct {
	AMD      bool
	PhysBits uint8
	LongMode bool
	NX       bool
	FFXSR    bool // CPUID 0x80000001 EDX bit 25
	RDTSCP   bool // or RDPID
	SYSCALL  bool
	Patch    uint32 // microcode level to show
}

// Fault is what an access ends with.
type Fault uint8

// The faults.
const (
	None Fault = iota
	GP         // inject #GP(0)
)

// Version is the version of State.
const Version = 1

// State is what the table keeps itself, as plain data.
type State struct {
	Version      uint32
	MTRRDef      uint64
	MTRRFixed    [11]uint64
	MTRRVariable [2 * numVariable]uint64
	TSCAdjust    uint64
	MCGStatus    uint64
	MiscEnable   uint64
	AMDSyscfg    uint64
	AMDHwcr      uint64
	HypercallGFN uint64
}

// numVariable is the number of variable MTRR pairs (MTRRCAP's VCNT).
const numVariable = 8

// seenMax bounds the list of unknown registers, and so the log.
const seenMax = 32

// File is one vcpu's MSRs.
type File struct {
	V    VCPU
	F    Features
	S    State
	seen [seenMax]uint32
	n    int
}

// New returns the MSRs of a vcpu in reset state.
func New(v VCPU, f Features) *File {
	f.PhysBits = min(max(f.PhysBits, 32), 52)
	return &File{V: v, F: f, S: State{Version: Version, MiscEnable: miscFast}}
}

// PATReset is the PAT's value after reset.
const PATReset = 0x0007040600070406

// unknown reports an index once; when the list is full, nothing more.
func (m *File) unknown(index uint32, write bool, v uint64) {
	for _, s := range m.seen[:m.n] {
		if s == index {
			return
		}
	}
	if m.n == seenMax {
		return
	}
	m.seen[m.n] = index
	m.n++
	m.V.Unknown(index, write, v)
}

func canonical(v uint64) bool { s := int64(v) >> 47; return s == 0 || s == -1 }
