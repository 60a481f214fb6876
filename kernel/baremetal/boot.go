//go:build tamago

package baremetal

import (
	"nidus/kernel/cpu"
	"nidus/sched"
)

// handoverBlock is what stub.S leaves: see there.
type handoverBlock struct {
	cr3, target, arg uint64
	loader, info     uint64
	tramp, trampLen  uint64
	nseg             uint64
	segs             [8]struct{ va, size, flags uint64 }
}

var (
	handover uint64 // physical address of the block

	// Loader is the loader's magic number and LoaderInfo the physical address
	// of what it left for us.
	Loader     uint32
	LoaderInfo uint64

	bootTSC uint64
)

func handoverAt() *handoverBlock { return (*handoverBlock)(Pointer(DirectMap + handover)) }

// boot0 runs before the Go runtime, on the boot CPU and its static stack.
func boot0() {
	bootTSC = rdtsc()
	h := handoverAt()
	Loader, LoaderInfo = uint32(h.loader), uint64(uint32(h.info))
	serialInit()
	scanMemory(h)
	calibrate()
	plainCalls()
	buildMap(h)
	framesInit()
	for i := range threads {
		threads[i].id = uint64(i) + 1
	}
	cpuInit(0, 0)
	idtInit()
	c := pcpuOf(0)
	loadTables(addr(&c.gdtr), addr(&idtr))
	cpuFeatures()
	apicInit()
	apicInitCPU(c)
	firstThread(c)
	c.online = 1
	c.useEntryStack() // the last thing: this function still runs on the boot stack
}

// useEntryStack gives the stand-in g the bounds of the entry stack.
func (c *pcpu) useEntryStack() {
	lo := c.kstack + 64 - kstackSize
	c.kg[0], c.kg[1], c.kg[2], c.kg[3] = lo, c.kstack, lo+1024, lo+1024
}

// firstThread makes the thread that runs the Go runtime's entry, and the stack
// that Linux would have left for it (System V ABI AMD64, 3.4.1): arguments,
// environment, auxiliary vector.
func firstThread(c *pcpu) {
	policy.Init()
	policy.CPUOnline(int(c.id), 0)
	policy.Add(0, sched.Host, 0)
	policy.Wake(0, 0)
	c.cur = c.idle
	pick(c, 0) // takes the only thread
	sp := guardedStack(g0StackSize) - 1024
	initsp = sp
	random := sp + 256
	for i := uint64(0); i < 16; i += 8 {
		st64(random+i, randomWord())
	}
	const atNull, atPageSize, atRandom = 0, 6, 25
	argv, env := addr(&bootArgs), addr(&bootEnv)
	for i, v := range [...]uint64{1, argv, 0, env, 0, atPageSize, page4K, atRandom, random, atNull, 0} {
		st64(sp+uint64(i)*8, v)
	}
}

var (
	bootArgs = [...]byte{'n', 'i', 'd', 'u', 's', 0}
	bootEnv  = [...]byte{'G', 'O', 'T', 'R', 'A', 'C', 'E', 'B', 'A', 'C', 'K', '=', 'a', 'l', 'l', 0}
)

// cpuInit prepares a CPU's block: guarded stacks, descriptor tables, idle thread.
func cpuInit(i, apicid uint64) {
	c := pcpuOf(i)
	c.self, c.id, c.apicid = addr(c), i, apicid
	t := &threads[MaxThreads-1-i]
	if c.kstack == 0 { // else a CPU that did not come left them
		c.kstack = guardedStack(kstackSize) - 64
		for k := range c.ist {
			c.ist[k] = guardedStack(istSize) - 64
			st64(c.ist[k], c.self) // where nmi<> looks
		}
		t.rsp = guardedStack(page4K) - 64
	}
	c.kfs = addr(&c.tls) + 8
	c.tls[0] = addr(&c.kg)

	t.idle, t.state, t.cpu = 1, threadRunning, i
	t.rip, t.rflags = idlePC(), interruptOn
	t.fsbase = c.kfs
	c.idle = addr(t)
	c.cr3 = hostL4

	gdtInit(c)
	// TSS (APM vol. 2, figure 12-8): RSP0 at 4, IST1 at 36, I/O map base at 102
	c.setStack(4, c.kstack)
	c.useStacks()
	c.tss[25] = 104 << 16
}

// useStacks says in the TSS on which stacks exceptions and interrupts come in.
func (c *pcpu) useStacks() {
	for k := range c.ist {
		c.setStack(36+8*k, c.entryStack(k))
	}
	c.virt[guestEntry] = c.entryStack(0)
}

// setStack writes an address to the TSS.
func (c *pcpu) setStack(off int, v uint64) {
	c.tss[off/4], c.tss[off/4+1] = uint32(v), uint32(v>>32)
}

// entryStack is the top of the stack of IST k+1.
func (c *pcpu) entryStack(k int) uint64 {
	switch {
	case isolating != 0:
		return addr(&c.slots[k]) + slotSize
	case k+1 == istNormal:
		return c.kstack
	}
	return c.ist[k]
}

// Descriptors (APM vol. 2, 4.7 and 4.8): flat code and data of a privilege level.
const (
	descKernelCode = 0x00af9b00_0000ffff
	descKernelData = 0x00cf9300_0000ffff
	descCode64     = 0x00affb00_0000ffff // ring 3
	descCode32     = 0x00cffb00_0000ffff
	descData       = 0x00cff300_0000ffff
	descRing1Code  = 0x00cfbb00_0000ffff
	descRing1Data  = 0x00cfb300_0000ffff
)

// gdtInit makes a CPU's descriptors: one page as 64-bit PV guests see them in their
// tables, which is the host's own too, and one as 32-bit guests do (arch-x86/xen-x86_64.h
// and xen-x86_32.h, FLAT_*).
func gdtInit(c *pcpu) {
	if c.gdt[0] != 0 {
		return // of a CPU that did not come
	}
	ts := addr(&c.tss)
	for i, user := range [2][4]uint64{
		{0, descCode32, descData, descCode64},
		{descRing1Code, descRing1Data, descCode32, descData},
	} {
		c.gdt[i] = kernelFrame()
		page := DirectMap + c.gdt[i]
		put := func(sel, d uint64) { st64(page+sel-gdtReserved, d) }
		put(selCode, descKernelCode)
		put(selData, descKernelData)
		for k, d := range user {
			put(gdtReserved+0x18+uint64(k)*8, d)
		}
		put(selTSS, 0x00008900_00000000|103|(ts&0xffffff)<<16|(ts>>24&0xff)<<56)
		put(selTSS+8, ts>>32)
	}
	putTable(addr(&c.gdtr), DirectMap+c.gdt[0]-gdtReserved, gdtReserved+page4K-1)
}

// GDTPages returns the physical addresses of a CPU's two pages of descriptors: for
// 64-bit PV guests, and for 32-bit.
func GDTPages(cpu int) [2]uint64 { return pcpuOf(cpu).gdt }

// GDTR returns the address of a CPU's pseudo-descriptor for LGDT.
func GDTR(cpu uint64) uint64 { return addr(&pcpuOf(cpu).gdtr) }

// Where traps of PV guests go on; see SetGuestEntry.
var guestTrap, guestFault, guestIRET, guestSYSCALL, guestSYSCALL32 uint64

// SetGuestEntry tells where traps of a PV guest go on: trap, with the frame, the error
// code and the vector on the stack, and only GS changed; fault, for one of the kernel's
// own at the instruction iret, or while pcpu.risky is set. syscall and syscall32 are
// where SYSCALL comes in; flush is an offset in the guests' contexts: see guestFlush. It is
// called before a PV guest runs.
func SetGuestEntry(trap, fault, iret, syscall, syscall32, flush uint64) {
	guestTrap, guestFault, guestIRET, guestSYSCALL, guestSYSCALL32 = trap, fault, iret, syscall, syscall32
	guestFlush = flush
}

// guestFPU is the word of pcpu.virt with the address of the XSAVE image of the PV guest whose
// x87 and AVX state is in the CPU; 0: there is none. It is saved when the CPU changes threads.
const guestFPU = 5

// SaveGuestFPU completes an image, if its guest's state is in this CPU. The guest's thread
// calls it, or the guest is on no CPU.
func SaveGuestFPU(image uint64) {
	f := cli()
	if pcpuAt(cpuself()).virt[guestFPU] == image {
		guestSwitched()
	}
	restore(f)
}

// guestTSCAux is the word of pcpu.virt with what a guest has in this CPU's TSC_AUX, in its low
// half; 0: nobody knows. The kernel itself doesn't use the register.
const (
	guestTSCAux = 6

	tscAuxKnown = 1 << 32
	msrTSCAux   = 0xc0000103
)

// SetTSCAux loads TSC_AUX of this CPU with 32 bits of a guest's, unless they are there. Interrupts
// are off, and the CPU has RDTSCP.
//
//go:nosplit
func SetTSCAux(v uint64) {
	w := &pcpuAt(cpuself()).virt[guestTSCAux]
	if v &= tscAuxKnown - 1; *w != v|tscAuxKnown {
		*w = v | tscAuxKnown
		cpu.WriteMSR(msrTSCAux, v)
	}
}

// putTable writes a pseudo-descriptor for LGDT or LIDT.
func putTable(p, base, limit uint64) {
	st8(p, byte(limit))
	st8(p+1, byte(limit>>8))
	st64(p+2, base)
}

var (
	idtr  [10]byte
	gates uint64 // address of the stubs that the IDT leads to
)

// stubSize is how far apart the stubs are, in bytes.
const stubSize = 16

func idtInit() {
	setGates(trapStubsPC())
	putTable(addr(&idtr), addr(idt()), uint64(len(idt())*16-1))
}

// setGates lets the gates lead to stubs. They may be in use.
func setGates(stubs uint64) {
	gates = stubs
	for v := uint64(0); v < 256; v++ {
		p := stubs + v*stubSize
		ist := uint64(istNormal)
		switch v {
		case vecNMI:
			ist = istNMI
		case vecDoubleFault:
			ist = istDouble
		case vecMachineCheck:
			ist = istMachine
		case vecDebug:
			ist = istDebug
		}
		gate := uint64(0x8e) // interrupt gate, present
		switch v {
		case vecBreakpoint, vecOverflow: // INT3 and INTO have no vector to choose
			gate |= 3 << 5
		case vecHypercall: // from ring 1; in ring 3 it is as other vectors are
			gate |= 1 << 5
		}
		idt()[v][0] = p&0xffff | selCode<<16 | ist<<32 | gate<<40 | (p>>16&0xffff)<<48
		idt()[v][1] = p >> 32 // the same of all stubs
	}
}

const cr4PGE, cr4PCIDE, cr4SMEP, cr4SMAP = 1 << 7, 1 << 17, 1 << 20, 1 << 21

// smepOff and smapOff are 1 if these are not wanted.
var smepOff, smapOff uint32

// Protect says whether to use SMEP and SMAP where a CPU has them. Preconditions:
// only the first CPU runs.
func Protect(smep, smap bool) {
	smepOff, smapOff = 1, 1
	if smep {
		smepOff = 0
	}
	if smap {
		smapOff = 0
	}
	f := cli()
	cpuFeatures()
	restore(f)
}

// Protection tells whether SMEP and SMAP are on, on this CPU.
func Protection() (smep, smap bool) { return cpu.CR4()&cr4SMEP != 0, cpu.CR4()&cr4SMAP != 0 }

// cr3Keep is the bit of a new CR3 that leaves the TLB what it has of the PCID in it (SDM vol. 3A,
// 4.10.4.1), if CR4.PCIDE is on; else 0.
var cr3Keep uint64

// UsePCID turns CR4.PCIDE on where a CPU has it. The kernel's page tables are PCID 0's; the others
// are kernel/virt/pv's. Preconditions: only the first CPU runs.
func UsePCID() {
	if !cpu.HasPCID() {
		return
	}
	f := cli()
	cr3Keep = 1 << 63
	cpuFeatures()
	restore(f)
}

// PCID tells whether CR4.PCIDE is on.
func PCID() bool { return cr3Keep != 0 }

// cpuFeatures turns on what protects the kernel from what it maps, and the
// instructions that its entry code uses.
func cpuFeatures() {
	const smep, smap, fsgs = 1 << 7, 1 << 20, 1 << 0
	_, b, _, _ := cpu.CPUID(7, 0)
	cr4 := cpu.CR4()
	if _, _, _, d := cpu.CPUID(1, 0); d>>7&1 != 0 {
		cr4 |= 1 << 6 // MCE: without it a machine check is a silent shutdown
	}
	if b&fsgs != 0 {
		cr4 |= 1 << 16
	}
	cr4 &^= cr4SMEP | cr4SMAP
	if b&smep != 0 && smepOff == 0 {
		cr4 |= cr4SMEP
	}
	if b&smap != 0 && smapOff == 0 {
		cr4 |= cr4SMAP
	}
	if isolating != 0 {
		cr4 &^= cr4PGE
	}
	if cr3Keep != 0 {
		cr4 |= cr4PCIDE // the low bits of CR3 are 0 here, as they have to be
	}
	wrcr4(cr4)
	if b&fsgs != 0 {
		fsgsbase = 1
	}
}
