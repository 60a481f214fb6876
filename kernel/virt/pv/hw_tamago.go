//go:build tamago

package pv

import (
	_ "unsafe" // for go:linkname

	"nidus/kernel/baremetal"
	"nidus/kernel/cpu"
	"nidus/kernel/virt"
	"nidus/kernel/virt/spec"
	"nidus/mm"
)

// MSRs of SYSCALL (APM vol. 2, 6.1) and SYSENTER.
const (
	msrEFER        = 0xc0000080
	msrSTAR        = 0xc0000081
	msrLSTAR       = 0xc0000082
	msrCSTAR       = 0xc0000083
	msrSFMask      = 0xc0000084
	msrSysenterCS  = 0x174
	msrSysenterESP = 0x175
	msrSysenterEIP = 0x176

	// What SYSCALL clears: all that the kernel doesn't want to begin with.
	sfMask = 1<<8 | 1<<9 | 1<<10 | 3<<12 | 1<<14 | 1<<16 | 1<<18 // TF IF DF IOPL NT RF AC
)

// In enter_amd64.s.

func interruptsOff() uint64
func interruptsOn()
func enter(c *context)
func setCPU(gdtr uint64)
func newRoot(c *context)
func leaveRoot()

// loadRoot loads page tables. store copies words of from, beginning with the one first,
// to a guest's address, load copies as many from there, and both tell whether that could be
// done; what was written before a fault stays. Preconditions: interrupts are off, the guest's
// page tables are loaded, the addresses are none of the hypervisor's, the words are in frame.

func loadRoot(cr3 uint64)

// invalidate makes the CPU forget the page at an address, of the page tables that are loaded.
func invalidate(va uint64)

//go:noescape
func store(to uint64, from *frame, first, words uint64) bool

//go:noescape
func load(to *frame, from, words uint64) bool

// loadWord is load of one word.
func loadWord(from uint64) (word uint64, ok bool)

// copyIn and copyOut do the same for bytes.

//go:noescape
func copyIn(to []byte, from uint64) bool

//go:noescape
func copyOut(to uint64, from []byte) bool

// rootLoaded returns the page tables that are loaded.
func rootLoaded() uint64
func entries() (trap, fault, iret, syscall, syscall32, flush uint64)
func isolatedEntries() (isolate, syscall, syscall32 uint64)

// isolatedRoot is described at baremetal.Isolated; the root is returned as CR3 has it, too.
//
//go:nosplit
func isolatedRoot(open uint64) (*[512]uint64, uint64) {
	a := baremetal.Isolated(open)
	return rootAt(baremetal.Pointer(a)), a - baremetal.DirectMap
}

// root is the page table that CR3 would have.
//
//go:nosplit
func root(cr3 uint64) *[512]uint64 {
	return rootAt(baremetal.Pointer(baremetal.DirectMap + cr3&cr3Frame))
}

// quickEntry is pvmmu.VCPU.Quick for entry i of the L1 table in frame m.
//
//go:nosplit
func (v *vcpu) quickEntry(m mm.MFN, i int, val uint64, keep bool) bool {
	return v.gate.MMU.Quick((*mm.Table)(root(uint64(m)<<mm.PageShift)), m, i, val, keep)
}

// quickEvent is evtchn.Domain.Quick for a port.
//
//go:nosplit
func (v *vcpu) quickEvent(port uint32) (ok bool) {
	ok, v.polled = v.gate.Events.Quick(port, int32(v.gate.ID))
	return ok
}

// policy is what this host does against attacks by speculation.
func policy() spec.Policy { return spec.Identify(cpu.CPUID, cpu.ReadMSR).Policy() }

//go:nosplit
func act(a spec.Actions) { a.Do() }

// hostFPU returns the components of the FPU's state that XSAVE keeps, 0 without XSAVE, and
// the size of its image.
func hostFPU() (xcr0 uint64, size int) {
	if xcr0 := cpu.HostXCR0(); xcr0 != 0 {
		_, b, _, _ := cpu.CPUID(0xd, 0)
		return xcr0, int(b)
	}
	return 0, virt.FXSize
}

//go:nosplit
func takeInterrupt(vector uint64) { baremetal.TakeInterrupt(vector) }

//go:nosplit
func setTSCAux(v uint64) { baremetal.SetTSCAux(v) }

// hostTSCAux tells whether the processor has RDTSCP (APM vol. 3, CPUID 8000_0001 EDX).
func hostTSCAux() bool {
	_, _, _, d := cpu.CPUID(0x80000001, 0)
	return d>>27&1 != 0
}

//go:linkname entersyscall runtime.entersyscall
func entersyscall()

//go:linkname exitsyscall runtime.exitsyscall
func exitsyscall()

//go:nosplit
func waiting() bool { return baremetal.Waiting() }

//go:nosplit
func now() int64 { return baremetal.Nanotime() }

func mxcsrMask() uint32 { return cpu.MXCSRMask() }

// syncFPU completes the FPU image of a vcpu, whose thread calls, or which is on no CPU.
func syncFPU(v *vcpu) { baremetal.SaveGuestFPU(address(&v.fpu[0])) }

// hostCR4 returns those bits of CR4 that guests may have otherwise.
func hostCR4() uint64 { return cpu.CR4() & cr4Guest }

func hostFSGSBase() bool { return cpu.CR4()&virt.CR4FSGSBASE != 0 }

// Enable implements virt.Machine. SYSENTER has no place to go to: it is #GP (or #UD,
// AMD's in long mode), and the guest's own if it registered one.
func (m *Machine) Enable() error {
	trap, fault, iret, syscall, syscall32, flush := entries()
	if m.cfg.Isolate {
		var isolate uint64
		isolate, syscall, syscall32 = isolatedEntries()
		if err := baremetal.ShowIsolated(isolate, iret, syscall, syscall32); err != nil {
			return err
		}
	}
	baremetal.SetGuestEntry(trap, fault, iret, syscall, syscall32, flush)
	n := interruptsOff()
	defer interruptsOn()
	m.spec.Set()
	if n >= uint64(len(m.gdt)) {
		return virt.BadState("CPU", n, "the machine was made for fewer")
	}
	setCPU(baremetal.GDTR(n))
	cpu.WriteMSR(msrSTAR, SelCode32<<48|cpu.KernelCode<<32)
	cpu.WriteMSR(msrLSTAR, syscall)
	cpu.WriteMSR(msrCSTAR, syscall32)
	cpu.WriteMSR(msrSFMask, sfMask)
	cpu.WriteMSR(msrSysenterCS, 0)
	cpu.WriteMSR(msrSysenterESP, 0)
	cpu.WriteMSR(msrSysenterEIP, 0)
	cpu.WriteMSR(msrEFER, cpu.ReadMSR(msrEFER)|virt.EFERSCE)
	return nil
}

// Disable implements virt.Machine.
func (m *Machine) Disable() {
	cpu.WriteMSR(msrEFER, cpu.ReadMSR(msrEFER)&^virt.EFERSCE)
}

// Run implements virt.VCPU.
func (v *vcpu) Run(e *virt.Exit) {
	v.finish(v.guest(), e)
	if v.owes() {
		v.settle()
	}
}

// guest is loop; from the first interrupt on as a system call, so that the collector needn't
// wait for it. Until then the goroutine runs, for the runtime, and who wants it to stop (the
// collector, or sysmon after 10 ms) sends its thread a signal, which is an interrupt: most
// stays in the guest are over before one comes, and entering and leaving a system call
// each time costs as much as a short hypercall. Other goroutines don't wait for its P: there is one
// for each vcpu beyond those of the CPUs.
//
//go:nosplit
//go:noinline
func (v *vcpu) guest() stop {
	for {
		why := v.loop(false)
		if why == stopInterrupt {
			entersyscall()
			why = v.loop(true)
			exitsyscall()
		}
		if why != stopMoved {
			return why
		}
		v.unkeep()
	}
}

//go:nosplit
func rootKept(cpu, context uint64) bool { return baremetal.RootKept(cpu, context) }

func dropRoot(cpu uint64) { baremetal.DropRoot(cpu) }

//go:nosplit
func lastContext() uint64 { return baremetal.LastContext() }
