package svm

import (
	"nidus/kernel/virt"
)

// context is what the entry code shares with Go: the start of a page outside
// Go's heap, without Go pointers. The FPU image follows at fpuOffset.
type context struct {
	regs      virt.Regs
	vmcbPA    uint64
	vmcbVA    uint64
	xsave     uint64 // 0: FXSAVE; else XSAVE of these components: the host's XCR0
	guestXCR0 uint64
	drLive    uint64 // the guest uses DR0-DR3: switch them
	dr        [4]uint64
	hostDR7   uint64 // not 0: what breakpoints the guest leaves on go at exits (emulatorDR7)

	constant

	kick    uint32 // Kick was called
	flush   uint32 // RequestFlush was called
	running uint32 // in the guest, or about to be: an interrupt is needed to be noticed
	// freeXCR0, if not 0, says that XSETBV of the guest's does not exit, as under QEMU's TCG: each exit
	// looks at what XCR0 is (docs/exit.md).
	freeXCR0 uint32
	cpu      uint64 // where, while running
}

// Layout of the page.
const (
	fpuOffset = 1024
	maxFPU    = 4096 - fpuOffset
)

// emulatorDR7 is the host's DR7 under QEMU's TCG: no breakpoint is on, and all four
// are of the kind that watches I/O ports, of which the emulator's lists hold nothing.
// VMRUN and #VMEXIT change DR7 there without these lists, and at the next change the
// emulator takes out what was put in by another DR7, as what it isn't, and crashes
// (docs/exit.md).
const emulatorDR7 = 0x22220400

// percpu is what a CPU keeps; only that CPU uses it, with interrupts off.
type percpu struct {
	tags    tags
	loaded  uint64 // id of the vcpu that ran last
	hsavePA uint64
	savePA  uint64 // where VMSAVE puts what VMRUN doesn't keep of the host
	_       [2]uint64
}
