// Package cpuid decides what CPUID tells a guest. The decision is
// taken once, when the domain is created, and is plain data from then on, so
// that it can move with the domain; only what depends on the vcpu's state
// (APIC ID, OSXSAVE, XCR0) is put in at each CPUID.
//
// Specifications: Intel SDM vol. 2A, CPUID; AMD APM vol. 3 (24594) appendix E;
// xen/include/public/arch-x86/cpuid.h (MIT) for leaves 0x40000000 and up. Leaf
// 0x40000010 (TSC and APIC bus frequency) is a convention of several
// hypervisors that FreeBSD and others read.
package cpuid

import (
	"fmt"
	"math/bits"

	"nidus/kernel/pvclock"
	"nidus/personalities/devices/lapic"
)

// Regs is what CPUID returns, in the order of the manuals.
type Regs struct{ A, B, C, D uint32 }

// Host executes CPUID on the host.
type Host func(leaf, sub uint32) Regs

// TSCMode is tsc_mode of xl.cfg, as leaf 0x40000003 tells it.
type TSCMode uint8

// The modes (cpuid.h, leaf 4). A guest may take the TSC for its clock only where
// it is never emulated, so that is told also of the default that comes to the same.
const (
	TSCDefault      TSCMode = 0
	TSCAlwaysEmul   TSCMode = 1
	TSCNeverEmulate TSCMode = 2
)

// Config is what a domain's creator chooses.
type Config struct {
	VCPUs        int
	APICIDShift  uint8 // APIC ID of vcpu n is n << APICIDShift: 0, or 1 as Xen's
	DomID        uint16
	PhysBits     uint8 // width of guest physical addresses, 32 to 52
	TSCKHz       uint32
	TSCMode      TSCMode
	TSCEmulated  bool   // RDTSC exits
	TSCReliable  bool   // the host's TSCs agree and never stop nor change their rate
	TSCInvariant bool   // offer the TSC as invariant
	TSCDeadline  bool   // the APIC timer has the mode
	UpcallVector bool   // HVMOP_set_evtchn_upcall_vector is offered (delivery by the APIC, with EOI)
	Hide7B       uint32 // features of leaf 7, EBX, that are not offered although the host has them
	NoXSAVE      bool   // XSAVE and what needs it is not offered although the host has it
	PV, PV32     bool   // the guest is a PV one, and a 32-bit one
	XenMajor     uint16
	XenMinor     uint16
}

// SMEP and SMAP are bits of leaf 7's EBX, for Config.Hide7B.
const (
	SMEP = 1 << 7
	SMAP = 1 << 20
)

// MaxVCPUs is the most vcpus that the topology leaves describe.
const MaxVCPUs = 128

// Version is the version of Policy that this package makes.
const Version = 1

// maxLeaves bounds a policy's table.
const maxLeaves = 64

// Entry is one row: the answer to (Leaf, Sub).
type Entry struct {
	Leaf, Sub uint32
	Regs      Regs
}

// Policy is a domain's CPUID: plain data, the same on every host it moves to.
type Policy struct {
	Version  uint32
	Config   Config
	AMD      bool
	MaxBasic uint32
	MaxExt   uint32
	Count    uint32
	Rows     [maxLeaves]Entry
}

// VCPUInfo is the state of the vcpu that executes CPUID.
type VCPUInfo struct {
	ID          uint32 // vcpu number
	APICEnabled bool   // IA32_APIC_BASE bit 11
	OSXSAVE     bool   // CR4 bit 18
	XCR0        uint64
}

// New makes a domain's policy from the host's CPUID.
func New(host Host, cfg Config) (*Policy, error) {
	switch {
	case cfg.VCPUs < 1 || cfg.VCPUs > MaxVCPUs:
		return nil, fmt.Errorf("cpuid: %d vcpus: 1 to %d are possible", cfg.VCPUs, MaxVCPUs)
	case cfg.APICIDShift > 1:
		return nil, fmt.Errorf("cpuid: APIC ID shift %d: must be 0 or 1", cfg.APICIDShift)
	case cfg.PhysBits < 32 || cfg.PhysBits > 52:
		return nil, fmt.Errorf("cpuid: physical addresses of %d bits: must be 32 to 52", cfg.PhysBits)
	}
	if _, err := pvclock.NewScale(cfg.TSCKHz); err != nil {
		return nil, fmt.Errorf("cpuid: %w", err)
	}
	b := builder{host: host, cfg: cfg, p: &Policy{Version: Version, Config: cfg}}
	if err := b.build(); err != nil {
		return nil, err
	}
	return b.p, nil
}

// Validate checks a policy that came from outside.
func (p *Policy) Validate() error {
	if p.Version != Version || p.Count > maxLeaves || p.Config.VCPUs < 1 || p.Config.VCPUs > MaxVCPUs || p.Config.APICIDShift > 1 {
		return fmt.Errorf("cpuid: a policy of version %d with %d rows for %d vcpus is not one that this version makes", p.Version, p.Count, p.Config.VCPUs)
	}
	if _, err := pvclock.NewScale(p.Config.TSCKHz); err != nil {
		return fmt.Errorf("cpuid: %w", err)
	}
	return nil
}

// APICID is a vcpu's APIC ID.
func (p *Policy) APICID(vcpu uint32) uint32 { return vcpu << p.Config.APICIDShift }

func (p *Policy) row(leaf, sub uint32) *Entry {
	for i := range p.Rows[:min(p.Count, maxLeaves)] {
		if e := &p.Rows[i]; e.Leaf == leaf && e.Sub == sub {
			return e
		}
	}
	return nil
}

// Leaf returns a row as it is in the table, or zeros.
func (p *Policy) Leaf(leaf, sub uint32) Regs {
	if e := p.row(leaf, sub); e != nil {
		return e.Regs
	}
	return Regs{}
}

// hasSub tells whether a leaf's answer depends on ECX.
func hasSub(leaf uint32) bool {
	switch leaf {
	case 4, 7, 0xb, 0xd, 0x8000001d, xenTime:
		return true
	}
	return false
}

// CPUID answers a guest's CPUID with EAX = leaf and ECX = sub. It does not
// allocate. What the policy doesn't know is zeros.
func (p *Policy) CPUID(v VCPUInfo, leaf, sub uint32) (a, b, c, d uint32) {
	s := sub
	if !hasSub(leaf) {
		s = 0
	}
	r := p.Leaf(leaf, s)
	id := p.APICID(v.ID)
	switch leaf {
	case 1:
		r.B |= id << 24
		if !v.APICEnabled {
			r.D &^= edxAPIC
		}
		// A PV kernel takes it for the hypervisor's leave to set CR4.OSXSAVE, as it is Xen's there, and
		// does without XSAVE and AVX otherwise.
		if (v.OSXSAVE || p.Config.PV) && r.C&ecxXSAVE != 0 {
			r.C |= ecxOSXSAVE
		}
	case 0xb:
		if !p.Config.PV {
			r.C |= sub & 0xff
			r.D = id
		}
	case 0xd:
		// EBX is the size for what XCR0 enables (subleaf 0), or for the
		// compacted format (1): the same, as no gap exists below AVX.
		if sub == 0 && r.A != 0 || sub == 1 && r.A&xsaveC != 0 {
			r.B = xsaveSize(v.XCR0 & xcr0Allowed)
		}
	case 0x80000001:
		if p.AMD && !v.APICEnabled {
			r.D &^= edxAPIC
		}
	case 0x8000001e:
		if p.AMD && r.A != 0 {
			r.A, r.B, r.C = id, v.ID&0xff, 0
		}
	case xenHVM:
		if !p.Config.PV {
			r.B = v.ID
		}
	}
	return r.A, r.B, r.C, r.D
}

func xsaveSize(xcr0 uint64) uint32 {
	if xcr0&4 != 0 {
		return xsaveLegacy + xsaveAVX
	}
	return xsaveLegacy
}

// apicBits is the number of APIC ID bits that the package spans.
func (c *Config) apicBits() uint32 {
	return uint32(bits.Len(uint((c.VCPUs - 1) << c.APICIDShift)))
}

const busKHz = lapic.BusKHz
