// Package spec decides what is done against attacks by speculative execution: what
// the processor tells of itself becomes a policy, and an entry into a guest the
// actions that it needs. Only Actions.Do touches registers.
//
// References: AMD64 APM volume 2, 3.2.9 and volume 3, appendix E (CPUID); AMD
// "Software techniques for managing speculation" (90343) and "Transient scheduler
// attacks" (TSA); Intel SDM volume 4, table 2-2, and Intel's guidance on IBRS, IBPB,
// STIBP, MDS and L1TF.
package spec

import (
	"strings"
	"sync/atomic"
)

// MSRs.
const (
	MSRSpecCtrl = 0x48
	MSRPredCmd  = 0x49
	MSRArchCap  = 0x10a
	MSRFlushCmd = 0x10b

	// PredIBPB in PRED_CMD is an indirect branch prediction barrier.
	PredIBPB = 1 << 0
	// FlushL1D in FLUSH_CMD writes back and invalidates the L1 data cache.
	FlushL1D = 1 << 0
)

// Bits of SPEC_CTRL.
const (
	ctrlIBRS  = 1 << 0
	ctrlSTIBP = 1 << 1
)

// Bits of CPUID 7.0 EDX (Intel), 8000_0008h EBX and 8000_0021h EAX (AMD), and
// ARCH_CAPABILITIES.
const (
	edxMDClear  = 1 << 10
	edxIBRS     = 1 << 26 // and IBPB
	edxSTIBP    = 1 << 27
	edxFlushL1D = 1 << 28
	edxArchCap  = 1 << 29

	ebxIBPB      = 1 << 12
	ebxIBRS      = 1 << 14
	ebxSTIBP     = 1 << 15
	ebxIBRSOn    = 1 << 16 // IBRS is meant to be left on
	ebxSTIBPOn   = 1 << 17 // so is STIBP
	eaxVERWClear = 1 << 5
	eaxAutoIBRS  = 1 << 8

	capNoL1TF    = 1 << 0 // RDCL_NO
	capIBRSAll   = 1 << 1
	capSkipFlush = 1 << 3 // a hypervisor below does it
	capNoMDS     = 1 << 5
	capNoTAA     = 1 << 8
	capFBClear   = 1 << 17
)

// Identity is what the processor tells.
type Identity struct {
	Intel    bool
	Leaf7EDX uint32 // CPUID 7.0 EDX
	Ext8EBX  uint32 // CPUID 8000_0008h EBX
	Ext21EAX uint32 // CPUID 8000_0021h EAX
	ArchCap  uint64 // MSR 10Ah, where CPUID says that it is there
}

// Identify asks the processor by its CPUID and RDMSR instructions. It reads only
// MSRs that CPUID promises.
func Identify(cpuid func(leaf, sub uint32) (a, b, c, d uint32), rdmsr func(msr uint32) uint64) (id Identity) {
	max, b, _, _ := cpuid(0, 0)
	const genu = 0x756e6547
	id.Intel = b == genu
	if max >= 7 {
		_, _, _, id.Leaf7EDX = cpuid(7, 0)
	}
	if id.Leaf7EDX&edxArchCap != 0 {
		id.ArchCap = rdmsr(MSRArchCap)
	}
	switch ext, _, _, _ := cpuid(0x80000000, 0); {
	case ext >= 0x80000021:
		id.Ext21EAX, _, _, _ = cpuid(0x80000021, 0)
		fallthrough
	case ext >= 0x80000008:
		_, id.Ext8EBX, _, _ = cpuid(0x80000008, 0)
	}
	return id
}

// Meltdown tells whether ring 3 can read what is mapped for ring 0 only (CVE-2017-5754):
// Intel's processors that don't say otherwise. AMD's don't.
func (id Identity) Meltdown() bool { return id.Intel && id.ArchCap&capNoL1TF == 0 }

// Policy is what is done.
type Policy struct {
	// SpecCtrl is what every CPU's SPEC_CTRL holds, in the host and in guests, which
	// can't reach it; 0: it isn't written.
	SpecCtrl uint64
	// AutoIBRS sets EFER.AIBRSE.
	AutoIBRS bool
	// OpenIBPB lets guests write PRED_CMD, which harms nobody else; CPUID offers it
	// apart from SPEC_CTRL only in AMD's leaf.
	OpenIBPB bool

	switched Actions // when another domain's vcpu ran here before
	always   Actions // at every entry
}

// Actions is a set of what is to be done before an entry.
type Actions uint8

// The actions.
const (
	Barrier      Actions = 1 << iota // write PredIBPB to PRED_CMD
	FlushCache                       // write FlushL1D to FLUSH_CMD
	ClearBuffers                     // VERW, the last thing
)

// Policy decides.
func (id Identity) Policy() (p Policy) {
	if id.Ext8EBX&ebxIBPB != 0 || id.Leaf7EDX&edxIBRS != 0 {
		p.switched |= Barrier
		p.OpenIBPB = id.Ext8EBX&ebxIBPB != 0
	}
	// IBRS only where the processor wants it left on: elsewhere it would have to be
	// written at each exit.
	if p.AutoIBRS = id.Ext21EAX&eaxAutoIBRS != 0; !p.AutoIBRS {
		if id.Ext8EBX&(ebxIBRS|ebxIBRSOn) == ebxIBRS|ebxIBRSOn || id.Leaf7EDX&edxIBRS != 0 && id.ArchCap&capIBRSAll != 0 {
			p.SpecCtrl |= ctrlIBRS
		}
	}
	// Vcpus of different domains run on sibling threads.
	if id.Ext8EBX&(ebxSTIBP|ebxSTIBPOn) != 0 || id.Leaf7EDX&edxSTIBP != 0 {
		p.SpecCtrl |= ctrlSTIBP
	}
	verw := id.Ext21EAX&eaxVERWClear != 0
	if id.Intel {
		mds := id.ArchCap&(capNoMDS|capNoTAA) != capNoMDS|capNoTAA
		verw = id.Leaf7EDX&edxMDClear != 0 && mds || id.ArchCap&capFBClear != 0
		if id.ArchCap&(capNoL1TF|capSkipFlush) == 0 && id.Leaf7EDX&edxFlushL1D != 0 {
			p.always |= FlushCache
		}
	}
	if verw {
		p.always |= ClearBuffers
	}
	return p
}

// Any tells whether an entry may need something.
func (p *Policy) Any() bool { return p.switched|p.always != 0 }

// ran says of each CPU whose vcpu ran there last, whatever kind of guest it was. Each is alone in
// its cache line.
var ran [MaxCPUs]struct {
	domain uint64
	_      [7]uint64
}

// MaxCPUs is how many CPUs there can be.
const MaxCPUs = 64

var domains atomic.Uint64

// NewDomain returns a number that no other domain ever has.
func NewDomain() uint64 { return domains.Add(1) }

// Enter says what an entry on a CPU needs into a guest of a domain, by its number of NewDomain's.
// Only that CPU calls it, with interrupts off.
//
//go:nosplit
func (p *Policy) Enter(cpu, domain uint64) Actions {
	a := p.always
	if c := &ran[cpu]; c.domain != domain {
		c.domain = domain
		a |= p.switched
	}
	return a
}

// String names what is done, for the log.
func (p Policy) String() string {
	var s []string
	for _, x := range []struct {
		on   bool
		name string
	}{
		{p.switched&Barrier != 0, "IBPB at a change of domain"},
		{p.AutoIBRS, "automatic IBRS"},
		{p.SpecCtrl&ctrlIBRS != 0, "IBRS"},
		{p.SpecCtrl&ctrlSTIBP != 0, "STIBP"},
		{p.always&FlushCache != 0, "L1D flush at entries"},
		{p.always&ClearBuffers != 0, "VERW at entries"},
	} {
		if x.on {
			s = append(s, x.name)
		}
	}
	if s == nil {
		return "nothing: the processor offers none of IBPB, IBRS, STIBP, VERW"
	}
	return strings.Join(s, ", ")
}
