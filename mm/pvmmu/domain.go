package pvmmu

import (
	"sync"
	"sync/atomic"

	"nidus/mm"
)

// CPUSet is a set of vcpus, a bit each.
type CPUSet [2]uint64

// Flusher makes the machine forget translations of a domain. Its methods return when that
// is so, and must not wait for a vcpu to come out of a hypercall: the caller may hold what
// that one waits for.
type Flusher interface {
	// FlushAll makes every CPU forget all that it may have of the domain's address spaces,
	// in its TLB and its paging-structure caches, and is a full barrier.
	FlushAll()
	// FlushSet is FlushAll for CPUs that run one of the vcpus; the others flush before
	// they do.
	FlushSet(CPUSet)
	// FlushPage makes them forget the page at va.
	FlushPage(set CPUSet, va mm.GuestVirt)
}

// CPU is what an operation changes of the vcpu that makes it.
type CPU interface {
	// SetRoot makes m the top page table of the guest's kernel, or of its user mode, where
	// 0 is none. On return no CPU uses the former one for this vcpu. For a 32-bit guest it
	// is an L4 table of the hypervisor's own.
	SetRoot(kernel bool, m mm.MFN)
	// SetLDT makes n descriptors from base the vcpu's local descriptor table, which lets
	// go of the pages of the former.
	SetLDT(base mm.GuestVirt, n uint32) error
}

// Rights are what a domain may do with a frame that is not its own RAM.
type Rights uint8

// The rights.
const (
	NoRights Rights = iota
	ReadOnly
	ReadWrite
)

// Config is what a Domain is made of.
type Config struct {
	ID     mm.DomID
	Memory mm.FrameMemory
	Types  *Types
	// Flusher is the domain's.
	Flusher Flusher
	// PAE makes it a 32-bit guest's.
	PAE bool
	// Hole is what each L4 table has in the entries from 256 on.
	Hole [HoleSlots]uint64
	// HoleL2 is what the L2 table of a PAE guest's highest GiB has in its last entries, from
	// the one for 0xf5800000 on.
	HoleL2 [HoleL2Slots]uint64
	// Leaks is the end of the memory, in bytes, that the processor may read by an entry that is not
	// present (L1TF); 0: it doesn't.
	Leaks uint64
	// Special tells what the domain may do with a frame that is not its RAM: a page that it
	// shares with the hypervisor, the machine-to-physical table. Without it nothing.
	Special func(m mm.MFN, f mm.Frame) Rights
	// Descriptor checks a segment descriptor, and returns it as the processor may have it.
	Descriptor func(uint64) (uint64, bool)
	// M2P notes which of the domain's frames a machine frame is.
	M2P func(m mm.MFN, pfn uint64)
}

// Domain is the memory management of one PV domain.
type Domain struct {
	id     mm.DomID
	mem    mm.FrameMemory
	frames *mm.Frames // mem's
	types  *Types
	pae    bool
	cfg    Config
	// budget is how many entries one call looks at.
	budget int

	vcpus []*VCPU

	// flushed is the time of the last FlushAll; flushMu is held while one is made.
	flushed atomic.Uint64

	mu   sync.Mutex
	task task
	scan mm.MFN // Release goes on from here
	// left is set while task has work of an operation that is done otherwise.
	left atomic.Bool
}

// VCPU is one vcpu's part. Its methods are called by that vcpu's goroutine only.
type VCPU struct {
	d  *Domain
	id int
	// cpu is the vcpu's registers.
	cpu CPU
	// kernel and user are the tables whose references the vcpu has as its bases. They are
	// written with d.mu held.
	kernel, user mm.MFN
	// parked is the result of what the vcpu began and another one finished.
	parked parked
	pae    paeRoot
	owed   owed
}

// NewDomain makes the memory management of a domain. It is the one of its number until
// Close.
func NewDomain(c Config) *Domain {
	d := &Domain{id: c.ID, mem: c.Memory, frames: c.Memory.Frames(), types: c.Types, pae: c.PAE, cfg: c, budget: stepBudget}
	c.Types.domains.Store(c.ID, d)
	return d
}

// Close ends the domain, after Release.
func (d *Domain) Close() { d.types.domains.CompareAndDelete(d.id, d) }

// AddVCPU adds a vcpu. All are added before the first one runs.
func (d *Domain) AddVCPU(c CPU) *VCPU {
	v := &VCPU{d: d, id: len(d.vcpus), cpu: c}
	d.vcpus = append(d.vcpus, v)
	return v
}

// Domain is what the vcpu belongs to.
func (v *VCPU) Domain() *Domain { return v.d }

// Root is the vcpu's top page table, of its kernel or its user mode; 0 is none.
func (v *VCPU) Root(kernel bool) mm.MFN {
	if kernel {
		return v.kernel
	}
	return v.user
}

// FlushAll makes all CPUs forget all translations of the domain.
func (d *Domain) FlushAll() {
	now := d.types.clock.Add(1)
	d.cfg.Flusher.FlushAll()
	for {
		f := d.flushed.Load()
		if f >= now || d.flushed.CompareAndSwap(f, now) {
			return
		}
	}
}

// flushSince flushes unless that was done after the time t.
func (d *Domain) flushSince(t uint64) {
	if t >= d.flushed.Load() {
		d.FlushAll()
	}
}

// set is the set of this vcpu.
func (v *VCPU) set() (s CPUSet) {
	s[v.id/64%len(s)] = 1 << (v.id % 64)
	return s
}

// flushSet flushes the CPUs of some vcpus. If those are all, that counts as FlushAll.
func (d *Domain) flushSet(s CPUSet) {
	for i := range d.vcpus {
		if s[i/64%len(s)]>>(i%64)&1 == 0 {
			d.cfg.Flusher.FlushSet(s)
			return
		}
	}
	d.FlushAll()
}
