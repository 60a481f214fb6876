// Package virt is one interface to a processor's virtualization, with svm and
// vmx behind it: enter a guest, say why it came back, put events into it, and
// take its whole state out. It decides nothing: what an exit means is the
// personality's business, who runs where is the scheduler's.
//
// References: AMD64 APM volume 2 (24593) chapter 15; Intel SDM volume 3
// chapters 24 to 28. What is said here holds for both; a backend hides what
// only one of them has (GIF, clean bits, VMCS load and clear).
package virt

import (
	"errors"
	"fmt"

	"nidus/mm"
)

// Errors that a caller decides on.
var (
	// ErrEventPending says that another event must reach the guest first;
	// ask for a window and inject when it opens.
	ErrEventPending = errors.New("another event is still to be delivered to this vcpu")
	// ErrTripleFault says that an exception met #DF: the guest shuts down.
	ErrTripleFault = errors.New("exception during the delivery of a double fault: triple fault")
	// ErrFetch says that the bytes at RIP could not be read, or are not the
	// instruction that exited: another vcpu changed them. Entering again
	// without moving RIP lets the guest execute what is there now.
	ErrFetch = errors.New("the instruction that exited can't be read back")
	// ErrBadState says that a value is not one this processor can hold.
	ErrBadState = errors.New("vcpu state not acceptable on this processor")
)

// NestedFormat names the format of the tables that map guest physical memory.
type NestedFormat uint8

// The two formats.
const (
	// FormatAMD64 is the processor's ordinary 4-level format, user bit set.
	FormatAMD64 NestedFormat = iota
	// FormatEPT is Intel's 4-level extended page table format.
	FormatEPT
)

// Features says what the processor offers. It is the same for all CPUs.
type Features struct {
	Name        string // "SVM" or "VMX"
	Nested      NestedFormat
	Tags        uint32 // TLB tags per CPU (ASIDs, VPIDs), tag 0 is the host's
	NextRIP     bool   // exits come with the length of the instruction
	DecodeBits  bool   // exits come with operands or instruction bytes
	CleanBits   bool   // unchanged state is not loaded again
	FlushByTag  bool   // one tag can be flushed
	TSCScaling  bool   // SetTSC takes a ratio other than 1
	XCR0        uint64 // what a guest's XCR0 may hold; 0: no XSAVE for guests
	TSCAux      bool   // RDTSCP exists
	PauseFilter bool   // PAUSE exits only when a guest spins
}

// Intercept is a set of exits that a personality may want. Those without which
// the host is not safe, and CPUID, HLT, MONITOR, MWAIT, XSETBV, INVD, WBINVD,
// VMCALL/VMMCALL and RDPMC, are always on.
type Intercept uint32

// The optional exits.
const (
	InterceptRDTSC Intercept = 1 << iota // RDTSC and RDTSCP
	InterceptPause
	InterceptCR0Write // what changes more than TS and MP
	InterceptCR3Write
	InterceptCR4Write
	InterceptCR8 // reads and writes; without it CR8 is the vcpu's own TPR
	InterceptINVLPG
)

// Maps says which MSRs and ports of a domain exit. A new one lets everything
// exit, except the MSRs that the hardware keeps for each vcpu (FS, GS and
// KERNEL_GS base, STAR..SFMASK, SYSENTER). All vcpus of a domain share it;
// changing it while they run takes effect at the latest at their next exit.
type Maps interface {
	// InterceptMSR sets whether reads and writes of an MSR exit. It is false
	// for an MSR that the hardware's map doesn't cover: that one always exits.
	InterceptMSR(msr uint32, read, write bool) bool
	// InterceptPorts sets whether the ports first..last exit.
	InterceptPorts(first, last uint16, on bool)
	// Free gives the pages back. No vcpu may use the maps any more.
	Free()
}

// Config makes a vcpu.
type Config struct {
	Maps       Maps
	NestedRoot mm.MFN // root of the tables, in the format that Features names
	Intercept  Intercept
	Exceptions uint32 // exceptions that exit, a bit for each vector
	// Fetch reads the bytes at CS:RIP into buf and returns how many it could
	// read. It runs on the vcpu's goroutine after Run has come back.
	Fetch func(buf []byte) int
	// Notify makes CPU cpu take an interrupt (any vector that its kernel
	// acknowledges). It is called from any goroutine and must not block.
	Notify func(cpu uint64)
	// NotifySoon does so within a moment with the CPU that cpu tells then, unless one of the other two words has
	// become 0. All lie outside Go's heap, and stay readable.
	NotifySoon func(kick, running *uint32, cpu *uint64)
	// Constant is a hypercall that may be answered without an exit.
	Constant Constant
}

// Constant is a hypercall whose answer never changes, as the hypervisor's version:
// RAX and RDI, and what comes back in RAX. A Machine may answer it at entry, for
// 64-bit code at CPL 0, without coming back from Run. Number 0 is none.
type Constant struct{ Number, Arg, Answer uint64 }

// Machine is the virtualization of this host's processors.
type Machine interface {
	// Features is fixed once the machine is made.
	Features() Features
	// Enable switches the calling CPU on. The caller is pinned to it. It
	// allocates nothing. An error says what is missing and what to do.
	Enable() error
	// Disable switches the calling CPU off. No guest may run on it any more.
	Disable()
	// NewMaps makes a domain's maps.
	NewMaps() (Maps, error)
	// NewVCPU makes a vcpu in the state after RESET (APM vol. 2, 14.1.3).
	NewVCPU(Config) (VCPU, error)
}

// VCPU is one virtual processor. Only its own goroutine uses it, and not during
// Run, except for Kick, KickSoon, RequestFlush and FlushPending, which anyone may call.
type VCPU interface {
	// Regs is the general registers, RIP and RFLAGS included: read and write
	// them in place between two Runs.
	Regs() *Regs
	// Segment and SetSegment reach one segment register or table register.
	Segment(SegReg) Segment
	SetSegment(SegReg, Segment)
	// Get reads a system register.
	Get(SysReg) uint64
	// Set writes a system register; the error wraps ErrBadState.
	Set(SysReg, uint64) error
	// SetTSC makes the guest's TSC host*ratio>>32 + offset. The ratio must be
	// 1<<32 without Features.TSCScaling.
	SetTSC(offset, ratio uint64) error
	// FPU copies the XSAVE (or FXSAVE) image out, SetFPU in. FPUSize is how
	// long an image is here; a shorter one is completed with initial values.
	FPU(dst []byte) int
	SetFPU(src []byte) error
	FPUSize() int
	// Save copies the whole state out, Load in. After an error of Load the
	// vcpu must be loaded again or closed.
	Save(*State)
	Load(*State) error

	// SetNestedRoot changes the tables; it implies a flush.
	SetNestedRoot(mm.MFN)
	// SetIntercept changes the optional exits.
	SetIntercept(Intercept)
	// SetExceptions changes the exceptions that exit.
	SetExceptions(uint32)

	// Inject delivers an event at the next Run: ErrEventPending, ErrTripleFault.
	// An external interrupt needs InterruptAllowed.
	Inject(Event) error
	// InterruptAllowed tells whether the guest would take an external
	// interrupt now: IF set, no shadow, no event before it.
	InterruptAllowed() bool
	// NMIAllowed is the same for an NMI.
	NMIAllowed() bool
	// RequestInterruptWindow makes Run come back with ReasonInterruptWindow as
	// soon as InterruptAllowed is true. It stays until it is taken back.
	RequestInterruptWindow(bool)
	// Offer has an external interrupt delivered as soon as InterruptAllowed would be
	// true, without Run coming back for it. It stands until the guest has taken it or
	// another is offered; vector 0 is none. False: the processor has no such thing, and a
	// window is to be asked for. While one is, nothing offered is delivered.
	Offer(vector uint8) bool
	// RequestNMIWindow is the same for an NMI; it may come late by an exit.
	RequestNMIWindow(bool)
	// Shadow tells whether STI or MOV SS holds interrupts off for one
	// instruction; SetShadow sets that.
	Shadow() bool
	SetShadow(bool)

	// Run enters the guest until something is to be decided. The calling
	// goroutine should be locked to its thread. Go's collector doesn't wait
	// for it.
	Run(*Exit)
	// Skip moves RIP behind the instruction that exited, ends the interrupt
	// shadow, and delivers the single-step trap that RFLAGS.TF asks for. The
	// error wraps ErrFetch.
	Skip(*Exit) error
	// Kick makes Run return with ReasonKick soon, or at once when it is called
	// the next time.
	Kick()
	// KickSoon is Kick for what may wait for a moment, or until the guest exits for a
	// reason of its own, where an exit is so expensive that this is worth it.
	KickSoon()
	// KickWord is a word outside Go's heap that does what Kick does if it is
	// set to 1 and the CPU that the vcpu runs on then takes an interrupt: for
	// the thread's deadline.
	KickWord() *uint32
	// RequestFlush makes the vcpu forget all translations before it executes
	// another instruction of the guest, without an exit to Run's caller.
	RequestFlush()
	// FlushPending tells whether the guest may still use a translation from
	// before the last RequestFlush.
	FlushPending() bool
	// Dump describes the state for a person.
	Dump() string
	// Close gives the vcpu's pages back.
	Close()
}

// BadState makes an error that wraps ErrBadState.
func BadState(what string, v uint64, why string) error {
	return fmt.Errorf("%w: %s %#x: %s", ErrBadState, what, v, why)
}
