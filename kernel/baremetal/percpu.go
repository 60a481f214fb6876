//go:build tamago

package baremetal

import (
	"nidus/kernel/cpu"
	"nidus/sched"
)

// thread is one of Go's Ms: its registers while it does not run, and what it
// waits for. The register block's order is known to entry_amd64.s.
type thread struct {
	rax, rbx, rcx, rdx, rsi, rdi, rbp, rsp uint64
	r8, r9, r10, r11, r12, r13, r14, r15   uint64
	rip, rflags, fsbase, fxvalid           uint64
	vec, err, cr2, _                       uint64
	fx                                     [512]byte // offset 192: a multiple of 16, as FXSAVE wants
	tls                                    [2]uint64 // of an idle thread, which has no m

	id      uint64 // tid, index+1
	state   uint32
	kind    uint32 // what a blocked thread waits for
	cpu     uint64 // where it runs, or ran last
	futex   uint64 // address, kindFutex
	evbuf   uint64 // epoll_event to fill, kindEpoll
	pending uint64 // signals
	mask    uint64

	altsp, altsize uint64 // sigaltstack

	deadline int64 // ns; 0 is none
	heapCPU  int32 // whose deadline heap it is on
	heapPos  int32 // 1-based; 0 is none

	next, prev uint32 // 1-based links of the run queue or of a futex bucket
	kickWord   uint64 // address of a vcpu's flag that its deadline has come
	leaveAt    int64  // that deadline, in ns; 0 is none. It outlives other waits
	place      uint64 // address of the word that says where a vcpu is: see EnterVCPU
	gptr       uint64 // a vcpu's g, while it runs on its own stack
	idle       uint32
	runNS      int64 // CPU time
	since      int64
	switches   uint64
}

const (
	threadFree = iota
	threadReady
	threadRunning
	threadBlocked
)

const (
	kindNone = iota
	kindFutex
	kindSleep
	kindEpoll
)

// pcpu is the block that GS points at, a page of its own: while an isolated PV guest runs,
// the guest's page tables show it (see isolate.go), so nothing that is secret is in it.
// Offsets 0 to 72 are known to entry_amd64.s and, with the area at 128, to kernel/virt.
type pcpu struct {
	self     uint64 // 0
	cur      uint64 // 8: address of the thread that runs
	scratch  uint64 // 16
	kstack   uint64 // 24: top of the entry stack
	kfs      uint64 // 32: FS base while in the kernel
	id       uint64 // 40
	inkernel uint64 // 48
	idle     uint64 // 56: address of the idle thread
	apicid   uint64 // 64
	cr3      uint64 // 72
	ist      [5]uint64
	risky    uint64     // 120: kernel/virt/pv loads a guest's selectors
	virt     [16]uint64 // 128: the virt layer's own

	flushWant, flushDone uint64 // of the TLB: see flushAll

	tls      [2]uint64  // the slot below kfs holds the stand-in g
	kg       [64]uint64 // the stand-in g: stack.lo, stack.hi, guards
	online   uint64
	start    uint32 // who was first: startUp or startGivenUp
	resched  uint32
	polling  uint32 // the idle thread looks at resched, and needs no interrupt
	pollEnd  uint64 // until when, by the TSC
	pollNS   int64  // for how long it does the next time
	armed    int64  // when the timer fires; 0 is not at all, or unarmed
	period   int64  // what it was set to last, by which it may repeat
	until    int64  // when sched wants to be asked again; 0 is never
	leaving  sched.State
	dropRoot uint32 // see DropRoot
	nlate    uint32
	lateAt   int64 // when late is to be looked at
	late     [4]late
	kicks    uint64 // CPUs that unlockAndKick interrupts
	icrHigh  uint32 // what this CPU wrote to that register
	nheap    int32
	heap     [MaxThreads]uint16 // deadlines, soonest first: thread indexes

	Stats CPUStats

	gdt  [2]uint64 // physical addresses of its pages of descriptors: see gdtInit
	tss  [26]uint32
	gdtr [10]byte

	// slots are the stacks of the ISTs, in the same order, while PV guests are isolated:
	// for what the processor pushes, and the first words of the entry code.
	slots [5][slotSize / 8]uint64
}

// slotSize is a multiple of 16: the processor aligns the stacks so.
const slotSize = 128

// CPUStats counts what a CPU did since boot.
type CPUStats struct {
	Calls, Interrupts, Timers, Kicks, Switches, NMIs uint64
	IdleNS, VCPUNS                                   int64 // with nothing to do; in threads of vcpus
}

const (
	kstackSize  = 64 << 10
	istSize     = 16 << 10
	g0StackSize = 256 << 10
	gsSelf      = 0
	gsVirtArea  = 128
	istNormal   = 1
	istNMI      = 2
	istDouble   = 3
	istMachine  = 4
	istDebug    = 5

	// The GDT of PV guests, of which the kernel has the last pages
	// (arch-x86/xen.h, FIRST_RESERVED_GDT_ENTRY), is in force while their traps
	// are taken: hence the selectors.
	gdtReserved  = 0xe000
	selCode      = cpu.KernelCode
	selData      = cpu.KernelData
	selTSS       = gdtReserved + 0x40
	interruptOn  = 0x202
	interruptOff = 0x2

	unarmed = -1 // in pcpu.armed: the timer has fired, and must be set again
)

var (
	threads [MaxThreads]thread
	ncpu    uint64 = 1

	// pages has the IDT and then the CPUs' blocks, from its first whole page on.
	pages [(MaxCPUs + 2) * page4K]byte

	bootStack [64 << 10]byte // until CPU 0 has its guarded stacks
	initsp    uint64
	fsgsbase  uint32 // CR4.FSGSBASE is on
)
