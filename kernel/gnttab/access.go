package gnttab

import (
	"sync"

	"nidus/kernel/xenabi"
	"nidus/mm"
)

// Use says what an entry is wanted for.
type Use uint8

// Uses of an entry; Write and Copy may be combined.
const (
	Read  Use = 0
	Write Use = 1 << 0
	// Copy is a copy by the hypervisor, which may use grants of a part of a
	// page; without it the use is a mapping.
	Copy Use = 1 << 1
)

// Access is what a pinned entry gives: bytes Off to Off+Len of frame GFN of the
// granting domain.
type Access struct {
	GFN      mm.GFN
	Off, Len int
	Readonly bool
}

// activeEntry is the hypervisor's own record of an entry in use. While it is
// pinned it holds, whatever the guest writes into the entry.
type activeEntry struct {
	mu               sync.Mutex
	readers, writers uint32
	dom              mm.DomID
	access           Access
}

// maxPins bounds how often one entry may be in use at once.
const maxPins = 1 << 20

// flagTries bounds how often a guest can make us start again by changing an
// entry's header while we set a flag in it.
const flagTries = 8

// entry returns the active entry of ref. Its place does not depend on the
// version.
func (t *Table) entry(ref uint32) *activeEntry {
	return &t.active[ref/v1PerFrame][ref%v1PerFrame]
}

func (a *activeEntry) pinned() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.readers+a.writers != 0
}

// Acquire pins entry ref for domain by and tells the guest so by GTF_reading and
// GTF_writing. Each must be ended by a Release with the same use. It returns
// GNTST_bad_gntref for a reference that is none, GNTST_general_error if the
// entry does not allow the use, and GNTST_no_space if it has too many users.
// Transitive grants are refused for now.
func (t *Table) Acquire(ref uint32, by mm.DomID, use Use) (Access, xenabi.GnttabStatus) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if ref >= t.refs() {
		return Access{}, xenabi.GNTSTBadGntref
	}
	a := t.entry(ref)
	a.mu.Lock()
	defer a.mu.Unlock()
	fresh := a.readers+a.writers == 0
	switch {
	case !fresh && (a.dom != by || use&Write != 0 && a.access.Readonly || use&Copy == 0 && a.access.Len != mm.PageSize):
		return Access{}, xenabi.GNTSTGeneralError
	case a.readers+a.writers >= maxPins:
		return Access{}, xenabi.GNTSTNoSpace
	}
	if fresh || use&Write != 0 && a.writers == 0 {
		h, ok := t.setFlags(ref, by, use)
		if !ok {
			return Access{}, xenabi.GNTSTGeneralError
		}
		if fresh {
			acc, ok := accessOf(t.readBody(ref, h), use)
			if !ok {
				t.clearFlags(ref, xenabi.GTFReading|xenabi.GTFWriting)
				return Access{}, xenabi.GNTSTGeneralError
			}
			a.dom, a.access = by, acc
		}
	}
	if use&Write != 0 {
		a.writers++
	} else {
		a.readers++
	}
	t.pins.Add(1)
	return a.access, xenabi.GNTSTOkay
}

// Release ends one Acquire of entry ref. Releasing what was not acquired is a
// bug of the caller and panics.
func (t *Table) Release(ref uint32, use Use) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	a := t.entry(ref)
	a.mu.Lock()
	defer a.mu.Unlock()
	n := &a.readers
	if use&Write != 0 {
		n = &a.writers
	}
	if *n == 0 {
		panic("gnttab: entry released that was not acquired")
	}
	*n--
	t.pins.Add(-1)
	var done uint32
	if a.writers == 0 {
		done |= xenabi.GTFWriting
	}
	if a.readers+a.writers == 0 {
		done |= xenabi.GTFReading
	}
	if done != 0 && !t.dead {
		t.clearFlags(ref, done)
	}
}

// allowed tells whether an entry with header h lets domain by use it.
func (h header) allowed(by mm.DomID, use Use) bool {
	return h.flags()&xenabi.GTFTypeMask == xenabi.GTFPermitAccess && h.dom() == by &&
		(use&Write == 0 || h.flags()&xenabi.GTFReadonly == 0)
}

// accessOf checks an entry's body and returns what it gives.
func accessOf(e Entry, use Use) (Access, bool) {
	acc := Access{GFN: mm.GFN(e.Frame), Len: mm.PageSize, Readonly: e.Flags&xenabi.GTFReadonly != 0}
	if e.Flags&xenabi.GTFSubPage != 0 {
		acc.Off, acc.Len = int(e.PageOff), int(e.Length)
		if use&Copy == 0 || acc.Off+acc.Len > mm.PageSize {
			return Access{}, false
		}
	}
	return acc, true
}

// useFlags returns the flags that tell a guest of the use.
func useFlags(use Use) uint32 {
	if use&Write != 0 {
		return xenabi.GTFReading | xenabi.GTFWriting
	}
	return xenabi.GTFReading
}

// setFlags tells the guest that the entry is in use, in such a way that the
// entry allowed it at that moment, and returns the header that did.
func (t *Table) setFlags(ref uint32, by mm.DomID, use Use) (header, bool) {
	pg, off := t.place(ref)
	if t.version == 2 {
		return t.setStatus(ref, pg, off, by, use)
	}
	for range flagTries {
		h := header(pg.Load32(off))
		// GTF_sub_page does not exist in version 1.
		if !h.allowed(by, use) || h.flags()&xenabi.GTFSubPage != 0 {
			return 0, false
		}
		if pg.CompareAndSwap32(off, uint32(h), uint32(h)|useFlags(use)) {
			return h, true
		}
	}
	return 0, false
}

// setStatus is setFlags for version 2, where the flags have a place of their
// own: set them, then see whether the guest took the grant back meanwhile. A
// guest that takes it back looks at the status afterwards, so one of the two
// sees the other.
func (t *Table) setStatus(ref uint32, pg mm.Page, off int, by mm.DomID, use Use) (header, bool) {
	h := header(pg.Load32(off))
	if !h.allowed(by, use) {
		return 0, false
	}
	st, so, shift := t.statusPlace(ref)
	set := useFlags(use) << shift
	old := st.Or32(so, set)
	if header(pg.Load32(off)) != h {
		st.And32(so, ^(set &^ old))
		return 0, false
	}
	return h, true
}

// statusPlace returns the 4 bytes that hold the status of entry ref of a version
// 2 table, and how far up in them it is.
func (t *Table) statusPlace(ref uint32) (pg mm.Page, off, shift int) {
	o := int(ref%statusPerFrame) * xenabi.GrantStatusSize
	return t.status[ref/statusPerFrame].page, o &^ 3, (o & 3) * 8
}

// clearFlags takes flags of use from an entry.
func (t *Table) clearFlags(ref uint32, flags uint32) {
	if t.version == 2 {
		pg, off, shift := t.statusPlace(ref)
		pg.And32(off, ^(flags << shift))
		return
	}
	pg, off := t.place(ref)
	pg.And32(off, ^flags)
}
