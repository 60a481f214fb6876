// Package lapic emulates a local APIC: the xAPIC register page, the x2APIC
// MSRs, IA32_APIC_BASE, the timer (one-shot, periodic, TSC-deadline) and the
// interprocessor interrupts of one domain.
//
// Specifications: Intel SDM vol. 3 chapter 10 (Advanced Programmable Interrupt
// Controller), section 10.12 for x2APIC; AMD APM vol. 2 (24593) chapter 16.
//
// An APIC's registers belong to the thread of its own vcpu. What others may do
// at any moment is to set a bit of IRR (Post, Deliver), to match a destination
// and to read the timer's deadline; all of that is atomic.
package lapic

import (
	"fmt"
	"math"
	"sync/atomic"
)

// The APIC timer's input clock. It is the same for every domain on every host,
// and told to the guest by CPUID (leaves 0x15 and 0x40000010).
const (
	BusKHz     = 100_000
	busCycleNS = 1_000_000 / BusKHz
)

// DefaultBase is where the register page is. A guest can't move it.
const DefaultBase = 0xfee00000

// MaxVCPUs bounds the vcpus of one bus.
const MaxVCPUs = 128

// None is the deadline of a timer that isn't armed.
const None = uint64(math.MaxUint64)

// Clock is a vcpu's time. Both methods are called by the vcpu's own thread.
type Clock interface {
	// Now is the domain's monotonic time in nanoseconds.
	Now() uint64
	// TSCDeadline says what Now will be when the guest's TSC reaches tsc;
	// any value up to Now means that it has.
	TSCDeadline(tsc uint64) uint64
}

// VCPUs are what a domain's APICs act on. The methods are called by the thread
// of any vcpu, and vcpu is always one of the bus.
type VCPUs interface {
	// Kick says that the vcpu's IRR got a new bit: wake it, or make it exit.
	Kick(vcpu int)
	// NMI makes an NMI pending.
	NMI(vcpu int)
	// INIT asks the vcpu to reset itself (its own thread calls Reset) and
	// to wait for a SIPI.
	INIT(vcpu int)
	// SIPI starts a vcpu that waits for it at vector << 12; others ignore it.
	SIPI(vcpu int, vector uint8)
	// EOI says that vcpu ended the level-triggered interrupt of vector.
	EOI(vcpu int, vector uint8)
}

// Config is what is fixed for an APIC when its domain is created.
type Config struct {
	ID          uint32 // the initial APIC ID
	BSP         bool   // the boot processor: IA32_APIC_BASE bit 8
	X2APIC      bool   // starts in x2APIC mode (else xAPIC)
	TSCDeadline bool   // the TSC-deadline mode exists
	Clock       Clock
}

// APIC is one vcpu's local APIC.
type APIC struct {
	// Set by anyone.
	irr      [8]atomic.Uint32
	tmr      [8]atomic.Uint32
	errors   atomic.Uint32 // errors seen, not yet latched into ESR
	dest     atomic.Uint64 // how a destination matches, see destination
	deadline atomic.Uint64 // when Poll has something to do, or None

	// Touched by the own vcpu only.
	base uint64
	id   uint32 // the xAPIC ID register, bits 31:24
	tpr  uint32
	ldr  uint32
	dfr  uint32
	svr  uint32
	esr  uint32
	icr  uint64
	isr  [8]uint32
	lvt  [lvtCount]uint32
	dcr  uint32
	tim  timer

	cfg   Config
	index int
	bus   *Bus
}

// Bus connects the APICs of one domain.
type Bus struct {
	apics []*APIC
	vcpus VCPUs
	turn  atomic.Uint32 // where the search for lowest priority starts
}

// NewBus makes the APICs of a domain, one for each config, in reset state.
func NewBus(vcpus VCPUs, configs []Config) (*Bus, error) {
	if vcpus == nil || len(configs) == 0 || len(configs) > MaxVCPUs {
		return nil, fmt.Errorf("lapic: %d vcpus: need 1 to %d, and somebody to act on them", len(configs), MaxVCPUs)
	}
	b := &Bus{vcpus: vcpus, apics: make([]*APIC, len(configs))}
	for i, c := range configs {
		if c.Clock == nil {
			return nil, fmt.Errorf("lapic: vcpu %d has no clock", i)
		}
		if c.ID > 0xfe && !c.X2APIC {
			return nil, fmt.Errorf("lapic: vcpu %d: APIC ID %d needs x2APIC mode", i, c.ID)
		}
		for j := range i {
			if configs[j].ID == c.ID {
				return nil, fmt.Errorf("lapic: vcpus %d and %d have the same APIC ID %d", j, i, c.ID)
			}
		}
		a := &APIC{cfg: c, index: i, bus: b}
		a.base = DefaultBase | baseEnable
		if c.BSP {
			a.base |= baseBSP
		}
		if c.X2APIC {
			a.base |= baseExtd
		}
		a.Reset()
		b.apics[i] = a
	}
	return b, nil
}

// APIC returns the APIC of a vcpu of this bus.
func (b *Bus) APIC(vcpu int) *APIC { return b.apics[vcpu] }

// Reset is what INIT does (10.4.7.3): every register but IA32_APIC_BASE and
// the ID goes back to its first value.
//
// Preconditions: the caller is the vcpu's own thread, or the vcpu doesn't run.
func (a *APIC) Reset() {
	for i := range a.irr {
		a.irr[i].Store(0)
		a.tmr[i].Store(0)
		a.isr[i] = 0
	}
	a.errors.Store(0)
	a.id = a.cfg.ID << 24
	a.tpr, a.ldr, a.esr, a.icr, a.dcr = 0, 0, 0, 0, 0
	a.dfr = ^uint32(0)
	a.svr = 0xff
	for i := range a.lvt {
		a.lvt[i] = lvtMasked
	}
	a.tim = timer{}
	a.publish()
	a.rearm()
}

// X2Mode tells whether the APIC is in x2APIC mode.
func (a *APIC) X2Mode() bool { return a.base&baseExtd != 0 }

// HardwareEnabled is IA32_APIC_BASE's global enable, which CPUID leaf 1 EDX
// bit 9 mirrors.
func (a *APIC) HardwareEnabled() bool { return a.base&baseEnable != 0 }

func (a *APIC) softwareEnabled() bool { return a.svr&svrEnable != 0 }
