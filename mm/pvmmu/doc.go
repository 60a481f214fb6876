// Package pvmmu is the memory management of PV guests: who may map what. A PV guest sees
// machine frames and writes its own page tables, by hypercalls; each entry is looked at
// before the processor can.
//
// Two counts of a frame stand against a guest that lies. The references (mm.Frames) keep it
// from being given away while somebody has it. The type references (Types) say what all of
// those who have one use it as: a frame is a page table of one level, or holds segment
// descriptors, or can be written, and never two of them at a time, because a type changes
// only while nobody has a reference to it, and after every translation that is left of the
// old use has been flushed.
//
// docs/pv-memory.md has the states of a frame, the locks and why this is enough. The ABI is
// Xen's xen.h (mmu_update, mmuext_op, update_va_mapping), arch-x86/xen-x86_64.h and
// xen-x86_32.h; the entries' format is the AMD APM's vol. 2 (24593), 5.3 and 5.4.
//
// Locks: updates of L1 entries and writable references take none. What makes or unmakes a
// page table or changes an entry of a higher level holds the domain's lock, for a bounded
// number of entries: what takes longer returns ErrAgain and goes on at the next call.
package pvmmu

import "errors"

// What operations fail with. They are values, because a guest can have one with every
// hypercall.
var (
	// ErrAgain says that the operation was not done, but work for it: the caller lets
	// others run, and repeats it with the same arguments.
	ErrAgain = errors.New("more is to be done first")
	// ErrFrame is a frame that the domain doesn't have.
	ErrFrame = errors.New("the machine frame is not the domain's")
	// ErrType is a frame that is used as something else.
	ErrType = errors.New("the machine frame is in use as something else")
	// ErrProtected is a page table, or a page of descriptors, that was to be mapped writable.
	ErrProtected = errors.New("the machine frame is a page table or has descriptors: it can't be mapped writable")
	// ErrMachine is a frame that is no RAM.
	ErrMachine = errors.New("the machine frame is no memory")
	// ErrEntry is a page table entry with a bit that a guest may not set.
	ErrEntry = errors.New("the page table entry has a bit set that a guest may not set")
	// ErrLeak is an entry that is not present and names memory; see Config.Leaks.
	ErrLeak = errors.New("the page table entry is not present, and this processor may read the memory that it names by it (L1TF): pv-l1tf=off allows it")
	// ErrSlot is an entry that is the hypervisor's.
	ErrSlot = errors.New("the page table entry is the hypervisor's")
	// ErrLinear is a page table among tables of its own level that may not be there.
	ErrLinear = errors.New("the page table refers to one of its own level that it may not refer to")
	// ErrState is an operation on what is not in the state for it, such as a second pin.
	ErrState = errors.New("the machine frame is not in the state that the operation needs")
	// ErrArgument is an argument that makes no sense.
	ErrArgument = errors.New("the argument is not valid")
	// ErrCount is a frame with too many references.
	ErrCount = errors.New("too many references to the machine frame")
	// ErrAddress is a virtual address without the page tables that it would need.
	ErrAddress = errors.New("the virtual address has no page table")
	// ErrDescriptor is a segment descriptor that a guest may not have.
	ErrDescriptor = errors.New("the segment descriptor is not allowed")
	// ErrUnsupported is an operation that there is not.
	ErrUnsupported = errors.New("the operation is not supported")
)
