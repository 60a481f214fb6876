// Package paging walks a guest's own page tables, for the hypervisor's
// accesses to guest linear addresses: instruction emulation, and hypercall
// arguments that a guest passes by address.
//
// Specifications: Intel SDM vol. 3 chapter 4 (4.3 32-bit, 4.4 PAE, 4.5 4-level
// paging, 4.6 access rights, 4.7 page-fault exceptions); AMD APM vol. 2
// (24593) chapter 5. 5-level paging and protection keys aren't offered to
// guests, and not walked.
package paging

import (
	"encoding/binary"
	"fmt"

	"nidus/mm"
)

// Access is what is done with an address.
type Access uint8

// Access bits. None set is a supervisor's read.
const (
	Write    Access = 1 << iota
	Exec            // an instruction fetch
	User            // the access is a user's: CPL 3, and not implicit
	Implicit        // a processor's own access (descriptor tables): SMAP ignores AC
)

// Error-code bits of #PF (4.7).
const (
	PFPresent  = 1 << 0
	PFWrite    = 1 << 1
	PFUser     = 1 << 2
	PFReserved = 1 << 3
	PFFetch    = 1 << 4
)

// FaultKind says why an address could not be translated.
type FaultKind uint8

// The kinds of Fault.
const (
	PageFault    FaultKind = iota + 1 // inject #PF with Code, and CR2 = Addr
	NotCanonical                      // inject #GP(0), or #SS(0) for the stack
	BadTable                          // a table is where no memory is: see Fault
)

// Fault is why an address could not be translated or reached. BadTable, a
// table or a page outside the guest's memory, has no exception of its own;
// hardware reads all ones from such a place, so a caller that must inject
// something injects #PF with Code.
type Fault struct {
	Kind FaultKind
	Code uint32
	Addr mm.GuestVirt
}

// Error says what failed and where.
func (f *Fault) Error() string {
	switch f.Kind {
	case NotCanonical:
		return fmt.Sprintf("guest address %#x is not canonical", uint64(f.Addr))
	case BadTable:
		return fmt.Sprintf("guest address %#x leads outside the domain's memory", uint64(f.Addr))
	}
	return fmt.Sprintf("page fault at guest address %#x, error code %#x", uint64(f.Addr), f.Code)
}

// Control bits that decide how addresses are translated.
const (
	cr0WP    = 1 << 16
	cr0PG    = 1 << 31
	cr4PSE   = 1 << 4
	cr4PAE   = 1 << 5
	cr4SMEP  = 1 << 20
	cr4SMAP  = 1 << 21
	eferLMA  = 1 << 10
	eferNXE  = 1 << 11
	rflagsAC = 1 << 18
)

// Walker translates one vcpu's addresses. The control registers are copied in
// before a translation; a Walker isn't for use by two threads at once.
type Walker struct {
	Mem                         mm.GuestMemory
	CR0, CR3, CR4, EFER, RFLAGS uint64
	PhysBits                    uint8 // CPUID 0x80000008 EAX[7:0]: 32 to 52
	Pages1G                     bool  // CPUID 0x80000001 EDX bit 26
	SetAD                       bool  // set accessed and dirty bits as hardware does
	// Compat is a 32-bit PV guest: CR3 is the frame of its PAE tables, anywhere in memory,
	// which the processor uses as 4-level ones, and whose highest entries give no rights.
	Compat bool

	buf [8]byte
}

// Mapping is a translation.
type Mapping struct {
	Phys mm.GuestPhys
	Left uint64 // bytes from Phys to the end of its page, at least 1
}

const (
	pteP   = 1 << 0
	pteW   = 1 << 1
	pteU   = 1 << 2
	pteA   = 1 << 5
	pteD   = 1 << 6
	ptePS  = 1 << 7
	pteNX  = 1 << 63
	addr52 = 0x000f_ffff_ffff_f000
)

// Translate returns the guest physical address behind va for an access. The
// error is a *Fault.
func (w *Walker) Translate(va mm.GuestVirt, acc Access) (Mapping, error) {
	long := w.EFER&eferLMA != 0
	if long {
		if s := int64(va) >> 47; s != 0 && s != -1 {
			return Mapping{}, &Fault{Kind: NotCanonical, Addr: va}
		}
	} else {
		va &= 0xffffffff
	}
	if w.CR0&cr0PG == 0 {
		return Mapping{mm.GuestPhys(va), mm.PageSize - uint64(va)&mm.PageMask}, nil
	}
	switch {
	case long:
		return w.walk(va, acc, w.CR3&addr52, 4)
	case w.Compat:
		return w.walk(va, acc, w.CR3&addr52, 3)
	case w.CR4&cr4PAE != 0:
		return w.walk(va, acc, w.CR3&0xffffffe0, 3)
	default:
		return w.walk32(va, acc)
	}
}

func (w *Walker) fault(va mm.GuestVirt, acc Access, code uint32) error {
	if acc&Write != 0 {
		code |= PFWrite
	}
	if acc&User != 0 {
		code |= PFUser
	}
	// Bit 4 exists only where fetches have rights of their own (4.7).
	if acc&Exec != 0 && (w.CR4&cr4SMEP != 0 || w.CR4&cr4PAE != 0 && w.EFER&eferNXE != 0) {
		code |= PFFetch
	}
	return &Fault{Kind: PageFault, Code: code, Addr: va}
}

func (w *Walker) badTable(va mm.GuestVirt, acc Access) error {
	f := w.fault(va, acc, PFPresent|PFReserved).(*Fault)
	f.Kind = BadTable
	return f
}

// walk translates with entries of 8 bytes: 4 levels, or PAE's 3.
func (w *Walker) walk(va mm.GuestVirt, acc Access, table uint64, levels int) (Mapping, error) {
	long := levels == 4
	bits := min(max(w.PhysBits, 32), 52)
	reserved := ^(uint64(1)<<bits - 1) & 0x000f_ffff_ffff_ffff
	if !long && !w.Compat {
		reserved |= 0x7ff0_0000_0000_0000 // PAE has no ignored high bits
	}
	if w.EFER&eferNXE == 0 {
		reserved |= pteNX
	}
	rights := uint64(pteW | pteU)
	nx := false
	var slots [4]mm.GuestPhys
	var old [4]uint64
	n := 0
	for level := levels; level >= 1; level-- {
		shift := uint(12 + 9*(level-1))
		slot := mm.GuestPhys(table + uint64(va)>>shift&0x1ff*8)
		e, err := w.entry(slot, 8)
		if err != nil {
			return Mapping{}, w.badTable(va, acc)
		}
		if e&pteP == 0 {
			return Mapping{}, w.fault(va, acc, 0)
		}
		bad := reserved
		pdpte := !long && level == 3
		switch {
		case pdpte && w.Compat:
		case pdpte: // 4.4.1, table 4-8: no rights, no A bit
			bad |= 0x1e6 | pteNX
		case level == 4, level == 3 && !w.Pages1G:
			bad |= ptePS
		case level > 1 && e&ptePS != 0:
			bad |= 1<<shift - 1<<13 // the address's low bits; 12 is PAT
		}
		if e&bad != 0 {
			return Mapping{}, w.fault(va, acc, PFPresent|PFReserved)
		}
		if !pdpte {
			rights &= e
			nx = nx || e&pteNX != 0
			slots[n], old[n] = slot, e
			n++
		}
		table = e & addr52
		if level > 1 && (pdpte || e&ptePS == 0) {
			continue
		}
		if !w.allowed(rights, nx, acc) {
			return Mapping{}, w.fault(va, acc, PFPresent)
		}
		if w.SetAD {
			for i := range n {
				set := uint64(pteA)
				if i == n-1 && acc&Write != 0 {
					set |= pteD
				}
				if err := w.mark(slots[i], old[i], set, 8); err != nil {
					return Mapping{}, w.badTable(va, acc)
				}
			}
		}
		off := uint64(1)<<shift - 1
		return Mapping{
			mm.GuestPhys(table&^off | uint64(va)&off),
			mm.PageSize - uint64(va)&mm.PageMask,
		}, nil
	}
	panic("paging: a walk without a last level") // level 1 always returns
}

// walk32 translates with 32-bit paging: two levels, 4 MiB pages with PSE-36.
func (w *Walker) walk32(va mm.GuestVirt, acc Access) (Mapping, error) {
	left := mm.PageSize - uint64(va)&mm.PageMask
	dir := mm.GuestPhys(w.CR3&0xfffff000 + uint64(va)>>22*4)
	pde, err := w.entry(dir, 4)
	if err != nil {
		return Mapping{}, w.badTable(va, acc)
	}
	if pde&pteP == 0 {
		return Mapping{}, w.fault(va, acc, 0)
	}
	leaf, slot := pde, dir
	large := pde&ptePS != 0 && w.CR4&cr4PSE != 0
	var phys uint64
	if large {
		// Bits 20:13 are address bits 39:32 (table 4-4), as far as there are.
		high := pde >> 13 & 0xff << 32
		if bits := min(max(w.PhysBits, 32), 40); pde&(1<<21) != 0 || high>>bits != 0 {
			return Mapping{}, w.fault(va, acc, PFPresent|PFReserved)
		}
		phys = high | pde&0xffc00000 | uint64(va)&0x3fffff
	} else {
		slot = mm.GuestPhys(pde&0xfffff000 + uint64(va)>>12&0x3ff*4)
		if leaf, err = w.entry(slot, 4); err != nil {
			return Mapping{}, w.badTable(va, acc)
		}
		if leaf&pteP == 0 {
			return Mapping{}, w.fault(va, acc, 0)
		}
		phys = leaf&0xfffff000 | uint64(va)&mm.PageMask
	}
	if !w.allowed(pde&leaf, false, acc) {
		return Mapping{}, w.fault(va, acc, PFPresent)
	}
	if w.SetAD {
		set := uint64(pteA)
		if acc&Write != 0 {
			set |= pteD
		}
		if !large {
			err = w.mark(dir, pde, pteA, 4)
		}
		if err == nil {
			err = w.mark(slot, leaf, set, 4)
		}
		if err != nil {
			return Mapping{}, w.badTable(va, acc)
		}
	}
	return Mapping{mm.GuestPhys(phys), left}, nil
}

// allowed applies 4.6.1 to the rights that all levels grant.
func (w *Walker) allowed(rights uint64, nx bool, acc Access) bool {
	user := rights&pteU != 0
	switch {
	case acc&User != 0:
		return user && (acc&Write == 0 || rights&pteW != 0) && !(acc&Exec != 0 && nx)
	case acc&Exec != 0:
		return !nx && !(user && w.CR4&cr4SMEP != 0)
	case user && w.CR4&cr4SMAP != 0 && (w.RFLAGS&rflagsAC == 0 || acc&Implicit != 0):
		return false
	case acc&Write != 0:
		return rights&pteW != 0 || w.CR0&cr0WP == 0
	}
	return true
}

func (w *Walker) entry(at mm.GuestPhys, size int) (uint64, error) {
	w.buf = [8]byte{}
	if err := w.Mem.ReadPhys(at, w.buf[:size]); err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint64(w.buf[:]), nil
}

// mark sets bits in an entry that was read as old. The entry can't cross a
// page: tables are aligned.
func (w *Walker) mark(at mm.GuestPhys, old, set uint64, size int) error {
	if old&set == set {
		return nil
	}
	pg, err := w.Mem.Pin(at.Frame())
	if err != nil {
		return err
	}
	if size == 8 {
		pg.CompareAndSwap64(int(at.Offset()), old, old|set)
	} else {
		pg.CompareAndSwap32(int(at.Offset()), uint32(old), uint32(old|set))
	}
	// If the guest changed the entry meanwhile, the bit was not due any more.
	w.Mem.Unpin(at.Frame())
	return nil
}
