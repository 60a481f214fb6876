// Package boot reads what the boot loader hands over: where memory is, which
// modules were loaded, the command line, the ACPI root pointer, the screen. It
// also holds the command line's options and the choice of the TSC's frequency.
//
// Everything here is pure: physical memory is reached through [Phys] only, and
// every length, count and pointer that comes from a loader is checked against a
// bound before it is used. [Early] is for the first instructions of the boot,
// before the Go runtime exists; [Info] is the same for ordinary Go code.
//
// Specifications: Multiboot Specification version 0.6.96; Multiboot2
// Specification version 2.0; Xen public header arch-x86/hvm/start_info.h; ACPI
// 6.5 section 15 (system address map); UEFI 2.10 section 7.2 (memory map).
package boot

// Phys reads physical memory.
type Phys interface {
	// ReadPhys fills b from the physical address addr, or returns an error if
	// any byte of it can't be read. It must not keep b.
	ReadPhys(addr uint64, b []byte) error
}

// Bounds on what a loader may hand over. What exceeds them is reported, never
// silently cut.
const (
	// MaxRanges is the most memory ranges kept, after merging.
	MaxRanges = 256
	// MaxModules is the most modules kept.
	MaxModules = 64
	// MaxString is the most bytes of a command line or name, without its NUL.
	MaxString = 4096
	// MaxPhys is the end of the physical address space (52 bits, AMD APM
	// volume 2, section 5.3.1).
	MaxPhys = 1 << 52

	maxOwn     = MaxModules + 16
	maxMapSize = 64 << 10 // bytes of a memory map
	maxInfo2   = 1 << 20  // bytes of multiboot 2 information
)

// What the entry point finds in EAX, by loader.
const (
	// Multiboot1Magic is in EAX after a multiboot 1 loader (section 3.2).
	Multiboot1Magic = 0x2badb002
	// Multiboot2Magic is in EAX after a multiboot 2 loader (section 3.3).
	Multiboot2Magic = 0x36d76289
	// PVHMagic is the first word of hvm_start_info (start_info.h,
	// XEN_HVM_START_MAGIC_VALUE). A PVH loader leaves EAX undefined: the PVH
	// entry point passes this value.
	PVHMagic = 0x336ec578
)

// Loader is the protocol by which the image was started.
type Loader uint8

// The protocols.
const (
	LoaderUnknown Loader = iota
	LoaderMultiboot1
	LoaderMultiboot2
	LoaderPVH
)

// String names the protocol.
func (l Loader) String() string {
	switch l {
	case LoaderMultiboot1:
		return "multiboot 1"
	case LoaderMultiboot2:
		return "multiboot 2"
	case LoaderPVH:
		return "PVH"
	}
	return "unknown loader"
}

// Status says how reading the loader's information ended. It is an error value
// that needs no allocation.
type Status uint8

// The ways to end.
const (
	StatusOK            Status = iota
	StatusBadMagic             // not a loader that is known
	StatusBadInfo              // the information can't be read or contradicts itself
	StatusNoMemory             // no usable memory in any map
	StatusTooManyRanges        // more than MaxRanges memory ranges
)

// String says what happened and what to do.
func (s Status) String() string {
	switch s {
	case StatusOK:
		return "ok"
	case StatusBadMagic:
		return "unknown boot protocol: start the image by multiboot 1, multiboot 2 or PVH"
	case StatusBadInfo:
		return "the boot loader's information can't be read: its address or size is impossible"
	case StatusNoMemory:
		return "the boot loader names no usable memory: use one that passes a memory map"
	case StatusTooManyRanges:
		return "the memory map is too fragmented: more than 256 ranges after merging"
	}
	return "unknown status"
}

// Error makes a Status that is not StatusOK usable as an error.
func (s Status) Error() string { return s.String() }

// Problem is a set of things that were wrong in the loader's information and
// could be passed over.
type Problem uint16

// The problems.
const (
	ProblemCommandLine  Problem = 1 << iota // unreadable (ignored) or too long (cut)
	ProblemLoaderName                       // likewise
	ProblemModule                           // impossible start or end: module skipped
	ProblemModuleString                     // unreadable (ignored) or too long (cut)
	ProblemMemoryEntry                      // impossible entry of the memory map skipped
	ProblemMemoryMap                        // a map that can't be read: another was used
	ProblemTag                              // a multiboot 2 tag of an impossible size skipped
	ProblemFramebuffer                      // impossible screen geometry: screen ignored
	ProblemModules                          // more than MaxModules modules: the others ignored
)

var problemTexts = [...]string{
	"command line unreadable or longer than 4096 bytes",
	"boot loader name unreadable or longer than 4096 bytes",
	"module with an impossible address skipped",
	"module command line unreadable or longer than 4096 bytes",
	"impossible memory map entry skipped",
	"memory map unreadable, another source was used",
	"multiboot 2 tag of an impossible size skipped",
	"framebuffer with an impossible geometry ignored",
	"too many modules: the first 64 are taken, the others are not there; load fewer",
}

// Strings lists the set's members for a person. It allocates.
func (p Problem) Strings() []string {
	var s []string
	for i, t := range problemTexts {
		if p&(1<<i) != 0 {
			s = append(s, t)
		}
	}
	return s
}
