//go:build tamago

package svm

import (
	_ "unsafe" // for go:linkname

	"nidus/kernel/baremetal"
	"nidus/kernel/cpu"
	"nidus/kernel/virt"
	"nidus/kernel/virt/spec"
)

// MSRs of SVM (APM vol. 2, 15.30).
const (
	msrEFER   = 0xc0000080
	msrVMCR   = 0xc0010114
	msrHSave  = 0xc0010117
	vmcrSVMEN = 1 << 4 // SVMDIS
)

// In enter_amd64.s.

func interruptsOff() uint64
func interruptsOn()
func enter(c *context)
func setSavePage(pa uint64)
func setDR7(x uint64)

//go:nosplit
func writeMSR(msr uint32, v uint64) { cpu.WriteMSR(msr, v) }

//go:nosplit
func setTSCAux(v uint64) { baremetal.SetTSCAux(v) }

//go:nosplit
func clearBuffers() { cpu.ClearBuffers() }

//go:linkname entersyscall runtime.entersyscall
func entersyscall()

//go:linkname exitsyscall runtime.exitsyscall
func exitsyscall()

func identify() (id identity) {
	id.maxExt, _, _, _ = cpu.CPUID(0x80000000, 0)
	if id.maxExt < 0x8000000a {
		return id
	}
	_, _, id.ext1ECX, id.ext1EDX = cpu.CPUID(0x80000001, 0)
	id.spec = spec.Identify(cpu.CPUID, cpu.ReadMSR)
	id.svmEAX, id.svmEBX, _, id.svmEDX = cpu.CPUID(0x8000000a, 0)
	id.tcg = cpu.UnderTCG()
	id.xcr0 = cpu.HostXCR0()
	if id.osxsave = id.xcr0 != 0; id.osxsave {
		_, id.xsaveSize, _, _ = cpu.CPUID(0xd, 0)
	}
	return id
}

func mxcsrMask() uint32 { return cpu.MXCSRMask() }

// Enable implements virt.Machine (15.4).
func (m *Machine) Enable() error {
	if cpu.ReadMSR(msrVMCR)&vmcrSVMEN != 0 {
		return ErrDisabled
	}
	n := interruptsOff()
	defer interruptsOn()
	if n >= uint64(len(m.cpus)) {
		return ErrTooMany
	}
	p := &m.cpus[n]
	cpu.WriteMSR(msrEFER, cpu.ReadMSR(msrEFER)|virt.EFERSVME)
	m.spec.Set()
	cpu.WriteMSR(msrHSave, p.hsavePA)
	setSavePage(p.savePA)
	if m.tcg {
		setDR7(emulatorDR7)
	}
	p.tags.generation++ // whatever the TLB holds from before, it is flushed
	p.tags.next = p.tags.max + 1
	p.loaded = 0
	return nil
}

// Disable implements virt.Machine.
func (m *Machine) Disable() {
	cpu.WriteMSR(msrHSave, 0)
	cpu.WriteMSR(msrEFER, cpu.ReadMSR(msrEFER)&^virt.EFERSVME)
}

// NewVCPU implements virt.Machine.
func (m *Machine) NewVCPU(cfg virt.Config) (virt.VCPU, error) { return m.newVCPU(cfg) }

// Run implements virt.VCPU.
func (v *vcpu) Run(e *virt.Exit) { v.finish(v.guest(), e) }

// guest is loop as a system call: the collector needn't wait for it.
//
//go:nosplit
//go:noinline
func (v *vcpu) guest() stop {
	entersyscall()
	why := v.loop()
	exitsyscall()
	return why
}
