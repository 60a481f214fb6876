package paging

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"testing"

	"nidus/mm"
)

// fakeMem is memory of a few pages from 0; everything else is nowhere.
type fakeMem struct {
	pages [16]mm.Page
	pins  int
}

func newMem() *fakeMem {
	m := &fakeMem{}
	for i := range m.pages {
		m.pages[i] = mm.NewPage()
	}
	return m
}

func (m *fakeMem) do(a mm.GuestPhys, p []byte, f func(mm.Page, int, []byte)) error {
	for len(p) > 0 {
		if a.Frame() >= mm.GFN(len(m.pages)) {
			return fmt.Errorf("%#x: %w", uint64(a), mm.ErrBadAddress)
		}
		n := min(len(p), mm.PageSize-int(a.Offset()))
		f(m.pages[a.Frame()], int(a.Offset()), p[:n])
		a, p = a+mm.GuestPhys(n), p[n:]
	}
	return nil
}
func (m *fakeMem) ReadPhys(a mm.GuestPhys, p []byte) error  { return m.do(a, p, mm.Page.Read) }
func (m *fakeMem) WritePhys(a mm.GuestPhys, p []byte) error { return m.do(a, p, mm.Page.Write) }
func (m *fakeMem) Pin(g mm.GFN) (mm.Page, error) {
	if g >= mm.GFN(len(m.pages)) {
		return mm.Page{}, mm.ErrBadAddress
	}
	m.pins++
	return m.pages[g], nil
}
func (m *fakeMem) Unpin(mm.GFN) { m.pins-- }

func (m *fakeMem) set64(a mm.GuestPhys, v uint64) {
	m.WritePhys(a, binary.LittleEndian.AppendUint64(nil, v))
}
func (m *fakeMem) set32(a mm.GuestPhys, v uint32) {
	m.WritePhys(a, binary.LittleEndian.AppendUint32(nil, v))
}

const (
	pg   = cr0PG
	none = ^uint32(0) // expected: no fault
	np   = 0xffffffff_00000000
	pU   = pteP | pteW | pteU
)

func check(t *testing.T, name string, w *Walker, va mm.GuestVirt, acc Access, phys mm.GuestPhys, code uint32) {
	t.Helper()
	m, err := w.Translate(va, acc)
	var f *Fault
	switch {
	case code == none && err != nil:
		t.Errorf("%s: %v", name, err)
	case code == none && (m.Phys != phys || m.Left != mm.PageSize-uint64(va)&mm.PageMask):
		t.Errorf("%s: %#x, %d left, want %#x", name, m.Phys, m.Left, phys)
	case code != none && !errors.As(err, &f):
		t.Errorf("%s: no fault but %#x", name, m.Phys)
	case code != none && (f.Kind != PageFault || f.Code != code || f.Addr != va):
		t.Errorf("%s: %v, want code %#x", name, f, code)
	}
}

func TestNoPaging(t *testing.T) {
	w := &Walker{Mem: newMem()}
	check(t, "plain", w, 0x1234, Write|User, 0x1234, none)
	if m, _ := w.Translate(0x1_0000_2345, 0); m.Phys != 0x2345 {
		t.Errorf("32-bit address wraps to %#x", m.Phys)
	}
}

func TestLongMode(t *testing.T) {
	const va = 0x0000_7fff_ffff_f123 // the last slot of every table in the low half
	const last = 511 * 8
	P, W, U, NX := uint64(pteP), uint64(pteW), uint64(pteU), uint64(pteNX)
	A := P | W | U
	for _, tt := range []struct {
		name           string
		l4, l3, l2, l1 uint64 // flags
		acc            Access
		cr0, cr4, efer uint64
		ac             bool
		code           uint32
	}{
		{"user read", A, A, A, A, User, 0, 0, 0, false, none},
		{"user write", A, A, A, A, User | Write, 0, 0, 0, false, none},
		{"l4 not present", 0, A, A, A, User, 0, 0, 0, false, PFUser},
		{"l3 not present", A, W, A, A, Write, 0, 0, 0, false, PFWrite},
		{"l2 not present", A, A, 0, A, 0, 0, 0, 0, false, 0},
		{"l1 not present", A, A, A, 0, User | Write, 0, 0, 0, false, PFUser | PFWrite},
		{"user on supervisor's", A, A, P | W, A, User, 0, 0, 0, false, PFPresent | PFUser},
		{"user writes read-only", A, P | U, A, A, User | Write, 0, 0, 0, false, PFPresent | PFUser | PFWrite},
		{"supervisor writes read-only, no WP", A, A, A, P, Write, 0, 0, 0, false, none},
		{"supervisor writes read-only, WP", A, A, A, P, Write, cr0WP, 0, 0, false, PFPresent | PFWrite},
		{"NX reserved without NXE", A, A, A, A | NX, 0, 0, 0, 0, false, PFPresent | PFReserved},
		{"NX read", A, A, A, A | NX, 0, 0, 0, eferNXE, false, none},
		{"NX fetch", A, A | NX, A, A, Exec | User, 0, 0, eferNXE, false, PFPresent | PFUser | PFFetch},
		{"fetch not present, no NXE", 0, 0, 0, 0, Exec, 0, 0, 0, false, 0},
		{"SMEP", A, A, A, A, Exec, 0, cr4SMEP, 0, false, PFPresent | PFFetch},
		{"no SMEP", A, A, A, A, Exec, 0, 0, 0, false, none},
		{"SMEP, supervisor's page", A, A, A, P, Exec, 0, cr4SMEP, 0, false, none},
		{"SMAP", A, A, A, A, 0, 0, cr4SMAP, 0, false, PFPresent},
		{"SMAP with AC", A, A, A, A, Write, 0, cr4SMAP, 0, true, none},
		{"SMAP with AC, implicit", A, A, A, A, Implicit, 0, cr4SMAP, 0, true, PFPresent},
		{"SMAP, user", A, A, A, A, User, 0, cr4SMAP, 0, false, none},
		{"above the width", A, A, A, A | 1<<40, 0, 0, 0, 0, false, PFPresent | PFReserved},
		{"ignored high bits", A | 1<<52, A | 1<<62, A, A | 1<<58, 0, 0, 0, 0, false, none},
		{"PS in l4", A | ptePS, A, A, A, 0, 0, 0, 0, false, PFPresent | PFReserved},
		{"1 GiB not offered", A, A | ptePS, A, A, 0, 0, 0, 0, false, PFPresent | PFReserved},
		{"PAT in l1", A, A, A, A | ptePS, 0, 0, 0, 0, false, none},
	} {
		m := newMem()
		m.set64(0x1000+255*8, 0x2000|tt.l4)
		m.set64(0x2000+last, 0x3000|tt.l3)
		m.set64(0x3000+last, 0x4000|tt.l2)
		m.set64(0x4000+last, 0x5000|tt.l1)
		w := &Walker{Mem: m, CR0: pg | tt.cr0, CR3: 0x1018, CR4: cr4PAE | tt.cr4, EFER: eferLMA | tt.efer, PhysBits: 40}
		if tt.ac {
			w.RFLAGS = rflagsAC
		}
		check(t, tt.name, w, va, tt.acc, 0x5123, tt.code)
	}
}

func TestLongModeLarge(t *testing.T) {
	m := newMem()
	m.set64(0x1000, 0x2000|pU)
	m.set64(0x2000, 0x3000|pU)
	m.set64(0x2008, 0x40000000|pU|ptePS)
	m.set64(0x2010, 0x40002000|pU|ptePS)
	m.set64(0x3000, 0x800000|pU|ptePS|1<<12) // PAT
	m.set64(0x3008, 0x802000|pU|ptePS)
	w := &Walker{Mem: m, CR0: pg, CR3: 0x1000, CR4: cr4PAE, EFER: eferLMA, PhysBits: 40, Pages1G: true}
	check(t, "2 MiB", w, 0x123456, Write|User, 0x923456, none)
	check(t, "2 MiB unaligned", w, 0x234567, 0, 0, PFPresent|PFReserved)
	check(t, "1 GiB", w, 0x40123456, User, 0x40123456, none)
	check(t, "1 GiB unaligned", w, 0x80000000, User, 0, PFPresent|PFReserved|PFUser)
	_, err := w.Translate(0x0000_8000_0000_0000, 0)
	var f *Fault
	if !errors.As(err, &f) || f.Kind != NotCanonical {
		t.Errorf("not canonical: %v", err)
	}
	w.EFER = 0 // the same registers in PAE mode: CR3 is 32-byte aligned, no 1 GiB pages
	check(t, "PAE PDPTE with rights", w, 0, 0, 0, PFPresent|PFReserved)
}

func TestPAE(t *testing.T) {
	m := newMem()
	const pdpt = 0x1020
	for i := range uint64(4) {
		m.set64(pdpt+mm.GuestPhys(i*8), 0x2000|pteP)
	}
	m.set64(0x2000, 0x3000|pU)
	m.set64(0x2008, 0xc00000|pteP|pteW|ptePS)
	m.set64(0x3000, 0x5000|pU)
	m.set64(0x3008, 0x5000|pU|1<<52)
	m.set64(0x3010, 0x5000|pteP|pteNX)
	w := &Walker{Mem: m, CR0: pg, CR3: pdpt, CR4: cr4PAE, PhysBits: 40, EFER: eferNXE}
	check(t, "4 KiB", w, 0xc0000abc, User|Write, 0x5abc, none)
	check(t, "2 MiB", w, 0x40200abc, Write, 0xc00abc, none)
	check(t, "2 MiB user", w, 0x40200abc, User, 0, PFPresent|PFUser)
	check(t, "reserved high bit", w, 0x1000, 0, 0, PFPresent|PFReserved)
	check(t, "NX", w, 0x2000, Exec, 0, PFPresent|PFFetch)
	m.set64(pdpt, 0)
	check(t, "no PDPTE", w, 0, 0, 0, 0)
}

func Test32(t *testing.T) {
	m := newMem()
	m.set32(0x1000+0x300*4, 0x2000|pU)
	m.set32(0x1004, 0x00c00000|pU|ptePS|3<<13)
	m.set32(0x1008, 0x00c00000|pU|ptePS|1<<21)
	m.set32(0x100c, 0x00c00000|pU|ptePS|0x80<<13)
	m.set32(0x2000+5*4, 0x6000|pteP|pteU)
	w := &Walker{Mem: m, CR0: pg, CR3: 0x1fff & ^uint64(0xfe7), CR4: cr4PSE, PhysBits: 36}
	w.CR3 = 0x1018
	check(t, "4 KiB", w, 0xc0005678, User, 0x6678, none)
	check(t, "read-only", w, 0xc0005678, User|Write, 0, PFPresent|PFUser|PFWrite)
	check(t, "no WP", w, 0xc0005678, Write, 0x6678, none)
	check(t, "PSE-36", w, 0x00512345, User|Write, 3<<32|0xd12345, none)
	check(t, "PSE reserved", w, 0x00812345, 0, 0, PFPresent|PFReserved)
	check(t, "PSE-36 above the width", w, 0x00c12345, 0, 0, PFPresent|PFReserved)
	check(t, "not present", w, 0x0, Exec, 0, 0)
	w.CR4 = 0
	if _, err := w.Translate(0x00512345, 0); err == nil {
		t.Error("a large page without PSE")
	}
}

func TestAccessedDirty(t *testing.T) {
	for _, acc := range []Access{0, Write} {
		m := newMem()
		m.set64(0x1000, 0x2000|pU)
		m.set64(0x2000, 0x3000|pU)
		m.set64(0x3000, 0x4000|pU)
		m.set64(0x4000, 0x5000|pU)
		w := &Walker{Mem: m, CR0: pg, CR3: 0x1000, CR4: cr4PAE, EFER: eferLMA, PhysBits: 40, SetAD: true}
		check(t, "walk", w, 0, acc, 0x5000, none)
		for p := range 4 {
			want := uint64(0x2000+p<<12) | pU | pteA
			if p == 3 && acc&Write != 0 {
				want |= pteD
			}
			if got := m.pages[1+p].Load64(0); got != want {
				t.Errorf("access %d: entry in page %d is %#x, want %#x", acc, 1+p, got, want)
			}
		}
		if m.pins != 0 {
			t.Errorf("%d pins left", m.pins)
		}
	}
	m := newMem()
	m.set32(0x1000, 0x2000|pU)
	m.set32(0x2000, 0x3000|pU)
	w := &Walker{Mem: m, CR0: pg, CR3: 0x1000, SetAD: true}
	check(t, "walk", w, 0, Write, 0x3000, none)
	if d, e := m.pages[1].Load32(0), m.pages[2].Load32(0); d != 0x2000|pU|pteA || e != 0x3000|pU|pteA|pteD {
		t.Errorf("32-bit: %#x %#x", d, e)
	}
}

func TestHostile(t *testing.T) {
	m := newMem()
	for i := range 512 {
		m.set64(mm.GuestPhys(0x1000+i*8), 0x1000|pU) // a table of itself
		m.set64(mm.GuestPhys(0x2000+i*8), 0xf_ffff_f000|pU)
	}
	w := &Walker{Mem: m, CR0: pg, CR3: 0x1000, CR4: cr4PAE, EFER: eferLMA, PhysBits: 40}
	check(t, "itself", w, 0xffff_ffff_ffff_f008, Write, 0x1008, none)
	for _, cr3 := range []uint64{0x2000, 0xffff_ffff_f000, 0x10000} {
		w.CR3 = cr3
		_, err := w.Translate(0, Write)
		var f *Fault
		if !errors.As(err, &f) || f.Kind != BadTable {
			t.Errorf("CR3 %#x: %v", cr3, err)
		}
	}
}

func TestCopy(t *testing.T) {
	m := newMem()
	m.set64(0x1000, 0x2000|pU)
	m.set64(0x2000, 0x3000|pU)
	m.set64(0x3000, 0x4000|pU)
	m.set64(0x4000, 0x8000|pU)
	m.set64(0x4008, 0x6000|pU) // not contiguous
	m.set64(0x4010, 0x7000|pteP|pteU)
	w := &Walker{Mem: m, CR0: pg | cr0WP, CR3: 0x1000, CR4: cr4PAE, EFER: eferLMA, PhysBits: 40}
	src := bytes.Repeat([]byte("nidus"), 300)
	if err := w.CopyOut(0xfff, src, 0); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(src))
	if err := w.CopyIn(0xfff, got, User); err != nil || !bytes.Equal(got, src) {
		t.Errorf("read back: %v", err)
	}
	if m.pages[8].Load8(0xfff) != 'n' || m.pages[6].Load8(0) != 'i' {
		t.Error("the bytes aren't where the tables say")
	}
	// The second page is read-only: nothing may be written to the first.
	err := w.CopyOut(0x1ffc, []byte("12345678"), 0)
	var f *Fault
	if !errors.As(err, &f) || f.Addr != 0x2000 || f.Code != PFPresent|PFWrite {
		t.Errorf("into a read-only page: %v", err)
	}
	if m.pages[6].Load8(0xffc) == '1' {
		t.Error("half a copy")
	}
	if err := w.CopyIn(0x2ffc, make([]byte, 8), 0); !errors.As(err, &f) || f.Addr != 0x3000 {
		t.Errorf("beyond the end: %v", err)
	}
	m.set64(0x4018, 0x20000|pU) // a page that isn't there
	if err := w.CopyIn(0x3000, got, 0); !errors.As(err, &f) || f.Kind != BadTable {
		t.Errorf("nowhere: %v", err)
	}
}

func TestTranslateDoesNotAllocate(t *testing.T) {
	m := newMem()
	for i := range mm.GuestPhys(4) {
		m.set64(0x1000+i<<12, uint64(0x2000+i<<12)|pU)
	}
	w := &Walker{Mem: m, CR0: pg, CR3: 0x1000, CR4: cr4PAE, EFER: eferLMA, PhysBits: 40}
	if n := testing.AllocsPerRun(100, func() { w.Translate(0, Write) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzTranslate(f *testing.F) {
	f.Add([]byte{0x67, 0x10, 0, 0, 0, 0, 0, 0}, uint64(0x1000), uint64(0xffff800000000123), uint8(1), uint8(7))
	f.Add([]byte{0xe7, 0x10, 0x1f}, uint64(0x20), uint64(0x123), uint8(2), uint8(3))
	f.Fuzz(func(t *testing.T, table []byte, cr3, va uint64, acc, mode uint8) {
		m := newMem()
		for p := range m.pages {
			for i := 0; len(table) > 0 && i+len(table) <= mm.PageSize; i += len(table) {
				m.pages[p].Write(i, table)
			}
		}
		w := &Walker{Mem: m, CR0: cr0PG, CR3: cr3, PhysBits: mode, SetAD: mode&64 != 0, Pages1G: mode&32 != 0}
		if mode&1 != 0 {
			w.CR4 |= cr4PAE | cr4SMAP
		}
		if mode&3 == 3 {
			w.EFER = eferLMA | eferNXE
		}
		if mode&4 != 0 {
			w.CR4 |= cr4PSE | cr4SMEP
		}
		a := Access(acc & 15)
		mp, err := w.Translate(mm.GuestVirt(va), a)
		if err == nil && (mp.Left == 0 || mp.Left > mm.PageSize || uint64(mp.Phys)>>52 != 0) {
			t.Fatalf("%+v", mp)
		}
		// What a user may do, a supervisor may when nothing protects it.
		if err == nil && a&User != 0 {
			w.CR4 &^= cr4SMAP | cr4SMEP
			if mp2, err := w.Translate(mm.GuestVirt(va), a&^User); err != nil || mp2.Phys != mp.Phys && !w.SetAD {
				t.Fatalf("supervisor: %v", err)
			}
		}
		if m.pins != 0 {
			t.Fatal("pins left")
		}
		b := make([]byte, 5000)
		w.CopyIn(mm.GuestVirt(va), b, a)
	})
}
