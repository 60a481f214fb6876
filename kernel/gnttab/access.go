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
	// Transit, with Copy, takes a transitive grant too.
	Transit Use = 1 << 2
)

// Access is what a pinned entry gives: bytes Off to Off+Len of frame GFN of the
// granting domain. A transitive one gives what grant Ref of domain Dom gives to the
// granting domain.
type Access struct {
	GFN        mm.GFN
	Off, Len   int
	Readonly   bool
	Transitive bool
	Dom        mm.DomID
	Ref        uint32
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
func (t *Table) Acquire(ref uint32, by mm.DomID, use Use) (acc Access, st xenabi.GnttabStatus) {
	// Without defer, here and in Release: each is a call by a pointer, and a request of a
	// disk acquires up to 256 entries.
	t.mu.RLock()
	if ref >= t.refs() {
		st = xenabi.GNTSTBadGntref
	} else {
		a := t.entry(ref)
		a.mu.Lock()
		acc, st = t.acquire(a, ref, by, use)
		a.mu.Unlock()
	}
	t.mu.RUnlock()
	return acc, st
}

// acquire is Acquire of entry ref, which is a, with the locks held.
func (t *Table) acquire(a *activeEntry, ref uint32, by mm.DomID, use Use) (Access, xenabi.GnttabStatus) {
	fresh := a.readers+a.writers == 0
	switch {
	case !fresh && (a.dom != by || !a.access.allows(use)):
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
			acc := accessOf(t.readBody(ref, h))
			if !acc.allows(use) {
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
	a := t.entry(ref)
	a.mu.Lock()
	ok := t.release(a, ref, use)
	a.mu.Unlock()
	t.mu.RUnlock()
	if !ok {
		panic("gnttab: entry released that was not acquired")
	}
}

// release is Release of entry ref, which is a, with the locks held.
func (t *Table) release(a *activeEntry, ref uint32, use Use) bool {
	n := &a.readers
	if use&Write != 0 {
		n = &a.writers
	}
	if *n == 0 {
		return false
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
	return true
}

// allowed tells whether an entry with header h lets domain by use it.
func (h header) allowed(by mm.DomID, use Use) bool {
	typ := h.flags() & xenabi.GTFTypeMask
	return (typ == xenabi.GTFPermitAccess || typ == xenabi.GTFTransitive && use&Transit != 0) && h.dom() == by &&
		(use&Write == 0 || h.flags()&xenabi.GTFReadonly == 0)
}

// allows tells whether a can be used so.
func (a *Access) allows(use Use) bool {
	return (use&Write == 0 || !a.Readonly) && (use&Copy != 0 || a.Len == mm.PageSize) &&
		(use&Transit != 0 || !a.Transitive) && a.Off+a.Len <= mm.PageSize
}

// accessOf returns what an entry gives.
func accessOf(e Entry) Access {
	acc := Access{GFN: mm.GFN(e.Frame), Len: mm.PageSize, Readonly: e.Flags&xenabi.GTFReadonly != 0}
	switch {
	case e.Type() == xenabi.GTFTransitive:
		acc.Transitive, acc.Dom, acc.Ref = true, e.TransDomID, e.TransRef
	case e.Flags&xenabi.GTFSubPage != 0:
		acc.Off, acc.Len = int(e.PageOff), int(e.Length)
	}
	return acc
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
		// GTF_sub_page and GTF_transitive don't exist in version 1.
		if !h.allowed(by, use&^Transit) || h.flags()&xenabi.GTFSubPage != 0 {
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
