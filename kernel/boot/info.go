package boot

import (
	"encoding/binary"
	"fmt"
	"strings"
)

// Module is a file that the loader placed in memory.
type Module struct {
	Start, End  uint64 // physical; End is the first byte behind it
	CommandLine string // the file's name and arguments, as given to the loader
}

// Name returns the first word of the command line without its folders.
func (m Module) Name() string {
	name, _ := SplitModule(m.CommandLine)
	return name
}

// Args returns the command line behind the first word.
func (m Module) Args() string {
	_, args := SplitModule(m.CommandLine)
	return args
}

// SplitModule splits a module's command line into the file's base name and the
// rest.
func SplitModule(line string) (name, args string) {
	line = strings.TrimSpace(line)
	if i := strings.IndexAny(line, " \t"); i >= 0 {
		line, args = line[:i], strings.TrimSpace(line[i:])
	}
	return line[strings.LastIndexByte(line, '/')+1:], args
}

// EFIMemory is a descriptor of EFI's memory map (UEFI 2.10, section 7.2.3).
type EFIMemory struct {
	Type      uint32
	Start     uint64 // physical
	Pages     uint64 // of 4 KiB
	Attribute uint64
}

// Info is what the loader handed over, in full.
type Info struct {
	Loader      Loader
	LoaderName  string
	CommandLine string
	Memory      []Range // sorted, disjoint, merged
	Modules     []Module
	// RSDP is the physical address of ACPI's root pointer or of the loader's
	// copy of it, 0 if the loader named none.
	RSDP uint64
	// RSDPCopy is the copy that multiboot 2 passes, nil for other loaders. It
	// stays valid when the loader's memory is used for something else.
	RSDPCopy []byte
	// Framebuffer is the screen, nil if the loader named none.
	Framebuffer *Framebuffer
	// EFISystemTable is the 64-bit EFI system table's physical address, or 0.
	EFISystemTable uint64
	EFIMemory      []EFIMemory
	// Problems says what was wrong with the information and passed over.
	Problems []string
}

// Parse reads what the loader left, as Early.Scan does. An error wraps the
// Status.
func Parse(magic uint32, addr uint64, mem Phys) (*Info, error) {
	e := new(Early)
	if s := e.Scan(magic, addr, mem); s != StatusOK {
		return nil, fmt.Errorf("boot information (%v, magic %#x) at %#x: %w", e.Loader, magic, addr, s)
	}
	return e.Info(mem)
}

// Info reads the strings and tables that a successful Scan found. The memory
// that Own names must not have changed since.
func (e *Early) Info(mem Phys) (*Info, error) {
	in := &Info{
		Loader:         e.Loader,
		Memory:         append([]Range(nil), e.memory.list[:e.memory.n]...),
		RSDP:           e.RSDP,
		EFISystemTable: e.EFISystemTable,
		Problems:       e.Problems.Strings(),
	}
	if e.Framebuffer.Kind != FramebufferNone {
		f := e.Framebuffer
		in.Framebuffer = &f
	}
	var err error
	if in.CommandLine, err = readString(mem, e.CommandLine); err != nil {
		return nil, fmt.Errorf("command line: %w", err)
	}
	if in.LoaderName, err = readString(mem, e.LoaderName); err != nil {
		return nil, fmt.Errorf("boot loader name: %w", err)
	}
	for i := range e.nmod {
		m := e.modules[i]
		line, err := readString(mem, m.CommandLine)
		if err != nil {
			return nil, fmt.Errorf("command line of module %d: %w", i, err)
		}
		in.Modules = append(in.Modules, Module{m.Start, m.End, line})
	}
	if e.RSDPCopy.Len > 0 {
		in.RSDPCopy = make([]byte, e.RSDPCopy.Len) // 20 or 36
		if err := mem.ReadPhys(e.RSDPCopy.Addr, in.RSDPCopy); err != nil {
			return nil, fmt.Errorf("copy of the RSDP at %#x: %w", e.RSDPCopy.Addr, err)
		}
	}
	if in.EFIMemory, err = e.efiMemory(mem); err != nil {
		return nil, err
	}
	return in, nil
}

// readString reads a string; p.Len is at most MaxString.
func readString(mem Phys, p Place) (string, error) {
	if p.Len == 0 {
		return "", nil
	}
	b := make([]byte, min(p.Len, MaxString))
	if err := mem.ReadPhys(p.Addr, b); err != nil {
		return "", fmt.Errorf("reading %d bytes at %#x: %w", len(b), p.Addr, err)
	}
	return string(b), nil
}

// efiMemory reads EFI's memory map.
func (e *Early) efiMemory(mem Phys) ([]EFIMemory, error) {
	if e.EFIEntry < efiDescriptor || e.EFIMap.Len < uint64(e.EFIEntry) {
		return nil, nil
	}
	n := e.EFIMap.Len / uint64(e.EFIEntry) // bounded: the map lies in maxInfo2 bytes
	list := make([]EFIMemory, 0, n)
	b := make([]byte, efiDescriptor)
	for i := range n {
		at := e.EFIMap.Addr + i*uint64(e.EFIEntry)
		if err := mem.ReadPhys(at, b); err != nil {
			return nil, fmt.Errorf("EFI memory map at %#x: %w", at, err)
		}
		list = append(list, EFIMemory{
			Type:      binary.LittleEndian.Uint32(b),
			Start:     binary.LittleEndian.Uint64(b[8:]),
			Pages:     binary.LittleEndian.Uint64(b[24:]),
			Attribute: binary.LittleEndian.Uint64(b[32:]),
		})
	}
	return list, nil
}
