package vmx

import (
	"errors"
	"fmt"

	"nidus/kernel/virt"
	"nidus/kernel/virt/spec"
	"nidus/mm"
)

// Errors of a processor that can't run guests here.
var (
	ErrNoVMX    = errors.New("this processor has no VMX (CPUID 1 ECX bit 5)")
	ErrDisabled = errors.New("VMX is locked off by the firmware (IA32_FEATURE_CONTROL); switch it on in the BIOS setup")
	ErrControl  = errors.New("this processor lacks a VMX control that is needed")
	ErrVMXON    = errors.New("VMXON failed: another hypervisor runs here, or CR0 or CR4 has a value that VMX refuses")
)

// Bits of the controls (SDM vol. 3, 25.6 to 25.8).
const (
	pinInterrupt = 1 << 0
	pinNMI       = 1 << 3

	procInterruptWindow = 1 << 2
	procTSCOffset       = 1 << 3
	procHLT             = 1 << 7
	procINVLPG          = 1 << 9
	procMWAIT           = 1 << 10
	procRDPMC           = 1 << 11
	procRDTSC           = 1 << 12
	procCR3Load         = 1 << 15
	procCR8Load         = 1 << 19
	procCR8Store        = 1 << 20
	procMovDR           = 1 << 23
	procIOBitmaps       = 1 << 25
	procMSRBitmaps      = 1 << 28
	procMONITOR         = 1 << 29
	procPAUSE           = 1 << 30
	procSecondary       = 1 << 31

	proc2EPT          = 1 << 1
	proc2RDTSCP       = 1 << 3
	proc2WBINVD       = 1 << 6
	proc2Unrestricted = 1 << 7

	exitSaveDebug = 1 << 2
	exitHost64    = 1 << 9
	exitSavePAT   = 1 << 18
	exitLoadPAT   = 1 << 19
	exitSaveEFER  = 1 << 20
	exitLoadEFER  = 1 << 21

	entryLoadDebug = 1 << 2
	entryGuest64   = 1 << 9
	entryLoadPAT   = 1 << 14
	entryLoadEFER  = 1 << 15
)

// control is what a capability MSR allows (SDM vol. 3, appendix A.3): the low
// half's bits must be 1, bits that are not in the high half must be 0.
type control uint64

// adjust returns the value with want and all that must be set. It fails when a
// bit of want isn't allowed.
func (c control) adjust(name string, want uint32) (uint32, error) {
	must, may := uint32(c), uint32(c>>32)
	if miss := want &^ may; miss != 0 {
		return 0, fmt.Errorf("%w: %s bits %#x", ErrControl, name, miss)
	}
	return want | must, nil
}

// allows tells whether all bits may be set.
func (c control) allows(bits uint32) bool { return bits&^uint32(c>>32) == 0 }

// capability is what the processor tells of itself (SDM vol. 3, appendix A).
type capability struct {
	vmx                           bool
	revision                      uint32
	pin, proc, proc2, exit, entry control
	cr0Fixed0, cr4Fixed0          uint64
	ept                           uint64 // IA32_VMX_EPT_VPID_CAP
	osxsave                       bool
	xcr0                          uint64
	xsaveSize                     uint32
	spec                          spec.Identity
}

// controls is what every vcpu is entered with.
type controls struct{ pin, proc, proc2, exit, entry uint32 }

// eptCap are the bits of IA32_VMX_EPT_VPID_CAP that are needed: 4-level walk,
// write-back tables, INVEPT of all contexts.
const eptCap = 1<<6 | 1<<14 | 1<<20 | 1<<26

func (c *capability) controls() (k controls, err error) {
	if !c.vmx {
		return k, ErrNoVMX
	}
	if c.ept&eptCap != eptCap {
		return k, fmt.Errorf("%w: EPT capabilities %#x lack %#x", ErrControl, c.ept, eptCap&^c.ept)
	}
	for _, x := range []struct {
		to   *uint32
		c    control
		name string
		want uint32
	}{
		{&k.pin, c.pin, "pin-based", pinInterrupt | pinNMI},
		{&k.proc, c.proc, "processor-based", procTSCOffset | procHLT | procMWAIT | procRDPMC | procCR8Load | procCR8Store |
			procMovDR | procIOBitmaps | procMSRBitmaps | procMONITOR | procSecondary},
		{&k.proc2, c.proc2, "secondary", proc2EPT | proc2Unrestricted | proc2WBINVD},
		{&k.exit, c.exit, "exit", exitSaveDebug | exitHost64 | exitSavePAT | exitLoadPAT | exitSaveEFER | exitLoadEFER},
		{&k.entry, c.entry, "entry", entryLoadDebug | entryLoadPAT | entryLoadEFER},
	} {
		if *x.to, err = x.c.adjust(x.name, x.want); err != nil {
			return k, err
		}
	}
	if c.proc2.allows(proc2RDTSCP) {
		k.proc2 |= proc2RDTSCP
	}
	return k, nil
}

func (c *capability) features(k controls) virt.Features {
	f := virt.Features{Name: "VMX", Nested: virt.FormatEPT, NextRIP: true, DecodeBits: true, TSCAux: k.proc2&proc2RDTSCP != 0}
	if c.osxsave {
		f.XCR0 = c.xcr0
	}
	return f
}

// eptp makes an EPT pointer: write-back, 4 levels (SDM vol. 3, 25.6.11).
//
//go:nosplit
func eptp(root mm.MFN) uint64 { return uint64(root)<<mm.PageShift | 6 | 3<<3 }

// attr turns a segment's attributes into access rights (SDM vol. 3, table 25-2).
// Granularity follows the limit, as entry checks it.
//
//go:nosplit
func attr(s *virt.Segment) uint64 {
	if s.Attr&virt.AttrPresent == 0 {
		return 1 << 16 // unusable
	}
	a := uint64(s.Attr&0xff) | uint64(s.Attr>>8&7)<<12
	if s.Limit > 0xfffff {
		a |= 1 << 15
	}
	return a
}

// fromAttr is attr's counterpart.
//
//go:nosplit
func fromAttr(a uint64) uint16 {
	if a&(1<<16) != 0 {
		return uint16(a) & 0x7f
	}
	return uint16(a&0xff) | uint16(a>>12&15)<<8
}
