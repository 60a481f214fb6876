package svm

import (
	"nidus/kernel/virt"
	"nidus/kernel/virt/spec"
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

	constant

	kick    uint32 // Kick was called
	flush   uint32 // RequestFlush was called
	running uint32 // in the guest, or about to be: an interrupt is needed to be noticed
	_       uint32
	cpu     uint64 // where, while running
}

// Layout of the page.
const (
	fpuOffset = 1024
	maxFPU    = 4096 - fpuOffset
)

// percpu is what a CPU keeps; only that CPU uses it, with interrupts off.
type percpu struct {
	tags    tags
	loaded  uint64 // id of the vcpu that ran last
	hsavePA uint64
	savePA  uint64 // where VMSAVE puts what VMRUN doesn't keep of the host
	spec    spec.CPU
	_       uint64
}
