//go:build tamago

package baremetal

import "sync/atomic"

// The page tables of a PV guest stay in the CPU when another thread than its vcpu's runs:
// the kernel is mapped in them as in its own, and a vcpu that sleeps for a moment, or gives
// way to a short thread, finds its TLB as it left it. Who frees such tables, or takes
// something out of them that the CPU may still know, makes it load the kernel's own first:
// RootKept, DropRoot. Other guests run meanwhile: VMRUN and VM entries note the CR3 that they find,
// and come back to it before an interrupt, DropRoot's too, is taken.

// Words of pcpu.virt.
const (
	guestContext = 1 // the context that was entered last: kernel/virt/pv
	// guestKept is the context whose tables are loaded although its thread does not run
	// here; 0: there is none. Its own thread may run again already.
	guestKept = 10
)

// guestFlush is the offset in a context of the word that isn't 0 while what the CPU knows of
// its tables is stale.
var guestFlush uint64

// keepRoot notes that c, which changes threads, keeps a guest's page tables.
func keepRoot(c *pcpu) {
	if c.virt[guestKept] != 0 {
		return
	}
	// First this, then a look at the other word: who asks for a flush does the opposite.
	atomic.SwapUint64(&c.virt[guestKept], c.virt[guestContext])
	if ld32(c.virt[guestContext]+guestFlush) != 0 {
		hostRoot(c)
	}
}

// LastContext returns the context that was entered last on this CPU. Preconditions: interrupts are
// off.
//
//go:nosplit
func LastContext() uint64 { return pcpuAt(cpuself()).virt[guestContext] }

// hostRoot loads c's own page tables, on it.
func hostRoot(c *pcpu) {
	wrcr3(c.cr3)
	atomic.StoreUint64(&c.virt[guestKept], 0)
}

// RootKept tells whether a CPU, of any number, keeps the page tables of a context whose thread
// does not run there.
//
//go:nosplit
func RootKept(cpu, context uint64) bool {
	return cpu < ncpu && atomic.LoadUint64(&pcpuOf(cpu).virt[guestKept]) == context
}

// DropRoot asks a CPU to keep no guest's page tables. It does not wait; where interrupts can
// be lost it is to be asked again.
func DropRoot(cpu uint64) {
	c := pcpuOf(cpu)
	atomic.StoreUint32(&c.dropRoot, 1)
	f := cli()
	ipi(c.apicid, icrFixed|vecFlush)
	restore(f)
}

// dropIfWanted does what DropRoot asks for.
func dropIfWanted(c *pcpu) {
	if atomic.SwapUint32(&c.dropRoot, 0) != 0 && c.virt[guestKept] != 0 {
		hostRoot(c)
	}
}
