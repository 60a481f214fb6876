//go:build tamago

package baremetal

import (
	"unsafe"

	"nidus/kernel/cpu"
)

// What is shown when the machine can't go on: registers, traceback, and then a
// halt or a reset.

// trapFrame is what fatalTrap and nmi push, and the CPU's frame above.
type trapFrame struct {
	rax, rbx, rcx, rdx, rsi, rdi, rbp    uint64
	r8, r9, r10, r11, r12, r13, r14, r15 uint64
	vec, err, rip, cs, rflags, rsp, ss   uint64
}

// NoReboot leaves the machine halted after a crash.
var NoReboot bool

var vectorNames = [...]string{"divide error", "debug", "NMI", "breakpoint", "overflow", "bound", "invalid opcode", "no FPU", "double fault", "", "invalid TSS", "segment not present", "stack fault", "general protection", "page fault", "", "x87 error", "alignment check", "machine check", "SIMD error"}

func putReg(name string, v uint64) {
	puts(name)
	putHex(v)
}

func (f *trapFrame) dump(c *pcpu) {
	puts("cpu ")
	putDec(c.id)
	puts(", vector ")
	putDec(f.vec)
	if f.vec < uint64(len(vectorNames)) {
		puts(" (")
		puts(vectorNames[f.vec])
		puts(")")
	}
	putReg(", error ", f.err)
	putReg("\nrip ", f.rip)
	putReg(" rsp ", f.rsp)
	putReg(" rfl ", f.rflags)
	putReg(" cr2 ", rdcr2())
	putReg("\nrax ", f.rax)
	putReg(" rbx ", f.rbx)
	putReg(" rcx ", f.rcx)
	putReg(" rdx ", f.rdx)
	putReg("\nrsi ", f.rsi)
	putReg(" rdi ", f.rdi)
	putReg(" rbp ", f.rbp)
	putReg(" r8  ", f.r8)
	putReg("\nr9  ", f.r9)
	putReg(" r10 ", f.r10)
	putReg(" r11 ", f.r11)
	putReg(" r12 ", f.r12)
	putReg("\nr13 ", f.r13)
	putReg(" r14 ", f.r14)
	putReg(" r15 ", f.r15)
	putReg(" cr3 ", cpu.CR3())
	puts("\n")
	traceback(f.rip, f.rbp, f.rsp)
}

// funcInfo is the runtime's: two words.
type funcInfo struct{ f, module unsafe.Pointer }

//go:linkname findfunc runtime.findfunc
func findfunc(pc uintptr) funcInfo

//go:linkname funcname runtime.funcname
func funcname(f funcInfo) string

// traceback prints the callers of rip, following frame pointers as long as they
// lie in mapped memory of the kernel.
func traceback(rip, rbp, rsp uint64) {
	for depth := 0; depth < 40; depth++ {
		putReg("  ", rip)
		puts(" ")
		if rip >= addr(&runtimeText) && rip < addr(&runtimeEtext) {
			if f := findfunc(uintptr(rip)); f.f != nil {
				puts(funcname(f))
			}
		}
		puts("\n")
		if rbp < HoleBase || rbp >= HoleEnd-16 || rbp&7 != 0 || lookup(rbp)&ptePresent == 0 || lookup(rbp+8)&ptePresent == 0 {
			return
		}
		next := ld64(rbp)
		rip = ld64(rbp + 8)
		if next <= rbp {
			return
		}
		rbp = next
	}
}

// fatalDump is the end of a trap in the kernel, #DF or #MC.
func fatalDump(f *trapFrame) {
	c := pcpuAt(cpuself())
	stopOthers(c)
	puts("\n*** FATAL: trap in the kernel\n")
	f.dump(c)
	if t := threadAt(c.cur); t.idle == 0 {
		puts("last thread ")
		putDec(t.id)
		puts(":\n")
		traceback(t.rip, t.rbp, t.rsp)
	}
	die()
}

// fatalThread is the end of an exception that the runtime can't take.
func fatalThread(t *thread) {
	c := pcpuAt(cpuself())
	stopOthers(c)
	puts("\n*** FATAL: exception that nobody handles\n")
	f := trapFrame{t.rax, t.rbx, t.rcx, t.rdx, t.rsi, t.rdi, t.rbp, t.r8, t.r9, t.r10, t.r11, t.r12, t.r13, t.r14, t.r15,
		t.vec, t.err, t.rip, selCode, t.rflags, t.rsp, selData}
	f.dump(c)
	die()
}

// fatal is the end for a reason without a trap.
func fatal(why string) {
	stopOthers(pcpuAt(cpuself()))
	puts("\n*** FATAL: ")
	puts(why)
	puts("\n")
	die()
}

func exitGroup(code uint64) {
	stopOthers(pcpuAt(cpuself()))
	puts("\n*** FATAL: the kernel's Go program ended with code ")
	putDec(code)
	puts("\n")
	die()
}

// stopOthers halts every other CPU, by NMI: whatever they hold, they let go.
func stopOthers(c *pcpu) {
	dying = 1
	for i := uint64(0); i < ncpu; i++ {
		if o := pcpuOf(i); o != c && o.online != 0 {
			ipi(o.apicid, icrNMI)
		}
	}
}

// die ends: by a reset after ten seconds, or by a halt.
func die() {
	if !NoReboot {
		puts("*** reset in 10 s\n")
		for t := rdtsc(); tscHz != 0 && rdtsc()-t < 10*tscHz; {
			pause()
		}
		Reset()
	}
	for {
		cli()
		halt()
	}
}

// Reset resets the machine by the chipset's register, the keyboard controller,
// and at last a triple fault.
func Reset() {
	out8(0xcf9, 0x02)
	out8(0xcf9, 0x06)
	for i := 0; i < 1_000_000; i++ {
		pause()
	}
	out8(0x64, 0xfe)
	for i := 0; i < 1_000_000; i++ {
		pause()
	}
	var none [10]byte
	loadIDT(addr(&none))
	*(*byte)(nil) = 0
}

// nmiEntry: another CPU is dying, or somebody pressed the button: show where this
// CPU is, and go on.
func nmiEntry(f *trapFrame) {
	c := pcpuAt(cpuself())
	c.Stats.NMIs++
	if dying != 0 {
		for {
			cli()
			halt()
		}
	}
	puts("\n*** NMI\n")
	f.dump(c)
}

// Crash ends the host because of a broken invariant.
func Crash(why string) {
	cli()
	fatal(why)
}
