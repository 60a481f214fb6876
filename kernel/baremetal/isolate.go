//go:build tamago

package baremetal

import (
	"errors"
	"runtime"
)

// Isolation of PV guests, for processors on which ring 3 can read what is mapped for ring 0 only
// (Meltdown): while a guest runs, CR3 is a root of the CPU's own. It has the guest's slots, and in
// the hypervisor's only what the processor and the entry code touch before they have loaded
// another: the code of isolated_amd64.s and its like in kernel/virt/pv, the IDT, and this CPU's
// block with the TSS and the stacks, at the addresses that they have in the kernel's page
// tables. docs/address-space.md has the whole.

// isolating is 1 if PV guests are to be isolated.
var isolating uint32

// Words of pcpu.virt for PV guests, known to kernel/virt/pv.
const (
	guestEntry   = 7 // the stack that IRETQ leaves to a guest, which interrupts come in on
	isolatedRoot = 8 // CR3 while an isolated guest runs; 0: there is none
	openRoot     = 9 // CR3 after its exit
)

// Isolate prepares for isolated PV guests: exceptions and interrupts come in by
// isolatedStubs, and no translation of the kernel's is global. Preconditions: only the first
// CPU runs.
func Isolate() {
	f := cli()
	isolating = 1
	pcpuOf(0).useStacks()
	stubs, _ := isolatedPCs()
	setGates(stubs)
	flushTLB()
	cpuFeatures()
	restore(f)
}

// Isolating tells whether Isolate was called.
func Isolating() bool { return isolating != 0 }

// ShowIsolated makes the calling CPU's isolated root, with the functions that begin at the addresses
// in code. Preconditions: Isolate was called; the thread stays on its CPU.
func ShowIsolated(code ...uint64) error {
	stubs, fromNMI := isolatedPCs()
	for _, lo := range append(code, stubs, fromNMI) {
		hi := lo
		for f := runtime.FuncForPC(uintptr(lo)); runtime.FuncForPC(uintptr(hi)) == f; hi += 16 {
		}
		if call(callShow, lo, hi, 0, 0) == 0 {
			return errors.New("no memory for the page tables of isolated guests")
		}
	}
	return nil
}

// show maps the code in [lo, hi) in c's isolated root, which it makes first if there is none.
func show(c *pcpu, lo, hi uint64) bool {
	lock(&memlock)
	defer unlock(&memlock)
	root := &c.virt[isolatedRoot]
	if *root == 0 {
		t := kernelFrame()
		if t == 0 || !showPage(t, addr(idt()), ptePresent|pteNX) || !showPage(t, c.self, ptePresent|pteWrite|pteNX) {
			return false
		}
		*root = t
	}
	for va := lo &^ (page4K - 1); va < hi; va += page4K {
		if !showPage(*root, va, ptePresent) {
			return false
		}
	}
	return true
}

// showPage maps one of the image's pages.
func showPage(root, va, flags uint64) bool { return mapIn(root, va, va-ImageBase, flags, page4K) }

// Isolated returns the kernel address of this CPU's isolated root, for its next entry into a guest
// that leaves it with CR3 set to open, or to the host's if that is 0. What earlier guests left in what it
// shows is gone. Interrupts are off.
//
//go:nosplit
func Isolated(open uint64) uint64 {
	c := pcpuAt(cpuself())
	if open == 0 {
		open = c.cr3 | cr3Keep
	}
	c.virt[openRoot] = open
	c.scratch = 0
	c.slots = [len(c.slots)][slotSize / 8]uint64{}
	return DirectMap + c.virt[isolatedRoot]
}
