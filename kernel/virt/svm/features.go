package svm

import (
	"errors"

	"nidus/kernel/virt"
	"nidus/kernel/virt/spec"
)

// Errors of a processor that can't run guests here.
var (
	ErrNoSVM    = errors.New("this processor has no SVM (CPUID 8000_0001h ECX bit 2); with QEMU use -cpu EPYC,+svm,+npt")
	ErrDisabled = errors.New("SVM is switched off by the firmware (VM_CR.SVMDIS); switch it on in the BIOS setup")
	ErrNoNested = errors.New("this processor has no nested paging (CPUID 8000_000Ah EDX bit 0); with QEMU add +npt")
	ErrNoASIDs  = errors.New("this processor has fewer than two ASIDs")
	ErrTooMany  = errors.New("this CPU's number is beyond those that the machine was made for")
	ErrFPUSize  = errors.New("the processor's XSAVE image doesn't fit its page; enable fewer components in the host's XCR0")
)

// Bits of CPUID 8000_000Ah EDX (APM vol. 3, appendix E.4.9).
const (
	cpuNP          = 1 << 0
	cpuNRIP        = 1 << 3
	cpuTSCRate     = 1 << 4
	cpuClean       = 1 << 5
	cpuFlushByASID = 1 << 6
	cpuDecode      = 1 << 7
	cpuPauseFilter = 1 << 10
)

// identity is what decides about the features: CPUID's words and XCR0.
type identity struct {
	maxExt                 uint32 // 8000_0000h EAX
	ext1ECX, ext1EDX       uint32 // 8000_0001h
	svmEAX, svmEBX, svmEDX uint32 // 8000_000Ah
	osxsave                bool   // CR4.OSXSAVE is on
	xcr0                   uint64
	xsaveSize              uint32 // 0Dh EBX: for the components in xcr0
	spec                   spec.Identity
	tcg                    bool // emulated by QEMU's TCG, by the hypervisor's CPUID leaf
}

func (id identity) features() (virt.Features, error) {
	switch {
	case id.maxExt < 0x8000000a || id.ext1ECX&(1<<2) == 0:
		return virt.Features{}, ErrNoSVM
	case id.svmEDX&cpuNP == 0:
		return virt.Features{}, ErrNoNested
	case id.svmEBX < 2:
		return virt.Features{}, ErrNoASIDs
	case id.osxsave && id.xsaveSize > maxFPU:
		return virt.Features{}, ErrFPUSize
	}
	f := virt.Features{
		Name:        "SVM",
		Nested:      virt.FormatAMD64,
		Tags:        id.svmEBX,
		NextRIP:     id.svmEDX&cpuNRIP != 0,
		DecodeBits:  id.svmEDX&cpuDecode != 0,
		CleanBits:   id.svmEDX&cpuClean != 0,
		FlushByTag:  id.svmEDX&cpuFlushByASID != 0,
		TSCScaling:  id.svmEDX&cpuTSCRate != 0,
		PauseFilter: id.svmEDX&cpuPauseFilter != 0,
		TSCAux:      id.ext1EDX&(1<<27) != 0,
	}
	if id.osxsave {
		f.XCR0 = id.xcr0
	}
	return f, nil
}
