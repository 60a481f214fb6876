// Package image reads guest kernels: ELF files (64-bit x86-64, 32-bit i386),
// bzImage files, and either under any compression that Linux builds kernels
// with. It is pure: bytes in, segments and Xen notes out.
//
// Specifications: System V ABI (ELF-64, ELF-32); the Linux/x86 boot protocol,
// Documentation/arch/x86/boot.rst, "The real-mode kernel header"; Xen's
// elfnote.h and features.h (public headers); RFC 1952 (gzip), RFC 8878 (zstd),
// the .xz file format, the LZ4 frame format, and lzop's container.
package image

import (
	"crypto/sha256"
	"fmt"

	"nidus/mm"
)

// Limits bound what decoding a file may cost. The zero value means the
// defaults.
type Limits struct {
	// MaxUnpacked bounds an unpacked file, in bytes (512 MiB).
	MaxUnpacked int
	// MaxWindow bounds a decoder's own window, in bytes (128 MiB, the most
	// that Linux's build asks of xz and zstd).
	MaxWindow int
	// Progress, if set, hears the number of bytes unpacked so far. It runs on
	// the caller's goroutine.
	Progress func(unpacked int)
}

const (
	defaultMaxUnpacked = 512 << 20
	defaultMaxWindow   = 128 << 20
	maxSegments        = 128 // program headers; Linux has 5
)

func (l Limits) withDefaults() Limits {
	if l.MaxUnpacked <= 0 {
		l.MaxUnpacked = defaultMaxUnpacked
	}
	if l.MaxWindow <= 0 {
		l.MaxWindow = defaultMaxWindow
	}
	return l
}

// Segment is one loadable piece of a kernel (an ELF program header, PT_LOAD).
type Segment struct {
	// PhysAddr is p_paddr as the file has it. Old PV kernels write virtual
	// addresses there: see Notes.PaddrOffset.
	PhysAddr mm.GuestPhys
	// VirtAddr is p_vaddr.
	VirtAddr mm.GuestVirt
	// Data is what the file holds; it aliases the file or its unpacked copy
	// and must not be written.
	Data []byte
	// MemSize is the size in memory; what is beyond Data is zero.
	MemSize uint64
	// Flags are p_flags.
	Flags SegmentFlags
}

// SegmentFlags are p_flags of a program header.
type SegmentFlags uint32

// Access that a segment wants (ELF, PF_*).
const (
	Executable SegmentFlags = 1 << iota
	Writable
	Readable
)

// Kernel is a decoded kernel. It is immutable and may be shared.
type Kernel struct {
	// Name is the file's name, for messages.
	Name string
	// Format says how the file was packed, such as "bzImage, zstd".
	Format string
	// Class is the ELF class: 32 or 64 bits.
	Class int
	// Machine is e_machine: EM_386 or EM_X86_64.
	Machine Machine
	// Entry is e_entry, a virtual address for Linux.
	Entry mm.GuestVirt
	// Segments are in order of PhysAddr and do not overlap there.
	Segments []Segment
	// Notes are what the kernel tells a Xen-like hypervisor.
	Notes Notes
	// Symbols are to be loaded behind the kernel, if it asks for them and has any.
	Symbols *Symbols
	// hash is the SHA-256 of the file as it was given, still packed: the Cache's key.
	hash [sha256.Size]byte
	// Held is the memory that the unpacked copy occupies, in bytes; 0 if the
	// segments alias the file itself.
	Held int
}

// Machine is an ELF machine number.
type Machine uint16

// Machines that can run here (ELF, EM_*).
const (
	Machine386   Machine = 3
	MachineAMD64 Machine = 62
)

func (m Machine) String() string {
	switch m {
	case Machine386:
		return "i386"
	case MachineAMD64:
		return "x86-64"
	case 20, 21:
		return "PowerPC"
	case 22:
		return "S/390"
	case 40:
		return "32-bit ARM"
	case 50:
		return "IA-64"
	case 183:
		return "arm64"
	case 243:
		return "RISC-V"
	case 258:
		return "LoongArch"
	}
	return fmt.Sprintf("ELF machine %d", uint16(m))
}

// Decode reads a kernel file. name is for messages only. The result aliases
// data if the file is not compressed, so data must not change afterwards.
//
// Errors begin with "kernel NAME:" and wrap one of this package's Err values.
func Decode(name string, data []byte, limits Limits) (*Kernel, error) {
	k, err := decode(data, limits.withDefaults())
	if err != nil {
		return nil, fmt.Errorf("kernel %s: %w", name, err)
	}
	k.Name = name
	return k, nil
}

// decode peels the file: at most one compression around it, a bzImage, and
// one compression around the bzImage's payload.
func decode(data []byte, l Limits) (*Kernel, error) {
	format, held := "", 0
	peel := func(p packed) error {
		out, how, err := p.unpack(l)
		if err != nil {
			return err
		}
		data, held = out, cap(out)
		format += ", " + how
		return nil
	}

	if p, ok := detect(data); ok {
		if err := peel(p); err != nil {
			return nil, err
		}
	}
	kind := ""
	if isBzImage(data) {
		payload, err := bzImagePayload(data)
		if err != nil {
			return nil, err
		}
		kind = "bzImage"
		if p, ok := detect(payload); ok {
			p.sizeAtEnd = true
			if err := peel(p); err != nil {
				return nil, fmt.Errorf("bzImage: %w", err)
			}
		} else if isELF(payload) {
			data, format = payload, format+", uncompressed"
		} else {
			return nil, fmt.Errorf("bzImage: %w its payload: unknown compression, first bytes are % x",
				ErrCompression, payload[:min(4, len(payload))])
		}
	}
	if !isELF(data) {
		err := notAKernel(data)
		if kind+format != "" {
			err = fmt.Errorf("inside it (%s): %w", describe(kind, format), err)
		}
		return nil, err
	}
	k, err := parseELF(data)
	if err != nil {
		return nil, err
	}
	if kind == "" {
		kind = fmt.Sprintf("ELF%d", k.Class)
	}
	k.Format, k.Held = describe(kind, format), held
	return k, nil
}

func describe(kind, format string) string {
	if kind == "" && format != "" {
		return format[len(", "):]
	}
	return kind + format
}

// Span returns the physical addresses that the segments occupy: the first
// byte, and the one after the last.
func (k *Kernel) Span() (lo, hi mm.GuestPhys) {
	if len(k.Segments) == 0 {
		return 0, 0
	}
	last := &k.Segments[len(k.Segments)-1]
	return k.Segments[0].PhysAddr, last.PhysAddr + mm.GuestPhys(last.MemSize)
}

// PVHEntry returns the physical address where the kernel starts as PVH: the
// value of its XEN_ELFNOTE_PHYS32_ENTRY note. It is false if the note is
// missing or names a place outside the segments.
func (k *Kernel) PVHEntry() (uint32, bool) {
	return uint32(k.Notes.Phys32Entry), k.CheckPVH() == nil
}

// CheckPVH tells why a kernel can't start as PVH: an error that wraps
// ErrNoPVHEntry, or nil if it can.
func (k *Kernel) CheckPVH() error {
	if !k.Notes.Has(NotePhys32Entry) {
		return fmt.Errorf("kernel %s: %w: it has no PHYS32_ENTRY note; build Linux with CONFIG_PVH, or take another type of domain",
			k.Name, ErrNoPVHEntry)
	}
	e := k.Notes.Phys32Entry
	if _, hi := k.Span(); hi > 1<<32 {
		return fmt.Errorf("kernel %s: %w: it ends at %#x, and PVH starts below 4 GiB", k.Name, ErrNoPVHEntry, hi)
	}
	for i := range k.Segments {
		s := &k.Segments[i]
		if e >= uint64(s.PhysAddr) && e-uint64(s.PhysAddr) < s.MemSize {
			return nil
		}
	}
	return fmt.Errorf("kernel %s: %w: its PHYS32_ENTRY %#x lies outside the kernel; the file is damaged",
		k.Name, ErrNoPVHEntry, e)
}
