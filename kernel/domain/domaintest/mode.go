package domaintest

import (
	"encoding/binary"
	"testing"

	"nidus/kernel/domain"
	"nidus/kernel/virt"
	"nidus/mm"
)

// Attributes of flat segments.
const (
	code32 = virt.AttrPresent | virt.AttrCode | 0xb | virt.AttrBig | virt.AttrGranular
	code64 = virt.AttrPresent | virt.AttrCode | 0xb | virt.AttrLong | virt.AttrGranular
	data32 = virt.AttrPresent | virt.AttrCode | 3 | virt.AttrBig | virt.AttrGranular
)

// Bits of page table entries.
const (
	PTEPresent = 1 << 0
	PTEWrite   = 1 << 1
	PTEUser    = 1 << 2
)

// Frames of the page tables that Long makes: the last one maps the first 2 MiB
// in pages of 4 KiB.
const (
	TablePML4 mm.GFN = 1 + iota
	TablePDPT
	TablePD
	TablePT
)

// flat makes the segments those of a flat kernel.
func flat(v *domain.VCPU, code uint16) {
	for r := virt.ES; r <= virt.GS; r++ {
		v.HV.SetSegment(r, virt.Segment{Limit: ^uint32(0), Attr: data32, Selector: 0x10})
	}
	v.HV.SetSegment(virt.CS, virt.Segment{Limit: ^uint32(0), Attr: code, Selector: 8})
}

// Protected puts the vcpu into 32-bit protected mode without paging, as PVH
// guests start.
func Protected(v *domain.VCPU) {
	flat(v, code32)
	set(v, virt.CR0, virt.CR0PE|1<<4)
	set(v, virt.CR4, 0)
	set(v, virt.EFER, 0)
}

// Long puts the vcpu into 64-bit mode with the first 2 MiB mapped one to one,
// except frame 0; SetPTE changes a page.
func Long(tb testing.TB, v *domain.VCPU) {
	tb.Helper()
	flat(v, code64)
	const rw = PTEPresent | PTEWrite
	for t, next := range map[mm.GFN]mm.GFN{TablePML4: TablePDPT, TablePDPT: TablePD, TablePD: TablePT} {
		poke(tb, v, t.Addr(), uint64(next.Addr())|rw)
	}
	for i := mm.GFN(1); i < 512; i++ {
		SetPTE(tb, v, i, uint64(i.Addr())|rw)
	}
	set(v, virt.CR3, uint64(TablePML4.Addr()))
	set(v, virt.CR4, virt.CR4PAE)
	set(v, virt.EFER, virt.EFERLME|virt.EFERLMA)
	set(v, virt.CR0, virt.CR0PE|virt.CR0PG|1<<16|1<<4)
}

// Privilege makes the vcpu run at privilege level cpl.
func Privilege(v *domain.VCPU, cpl uint16) {
	for _, r := range []virt.SegReg{virt.CS, virt.SS} {
		s := v.HV.Segment(r)
		s.Attr = s.Attr&^(3<<virt.AttrDPLShift) | cpl<<virt.AttrDPLShift
		v.HV.SetSegment(r, s)
	}
}

// SetPTE changes the entry for page i of Long's tables.
func SetPTE(tb testing.TB, v *domain.VCPU, i mm.GFN, e uint64) {
	tb.Helper()
	poke(tb, v, TablePT.Addr()+mm.GuestPhys(8*i), e)
}

func poke(tb testing.TB, v *domain.VCPU, a mm.GuestPhys, x uint64) {
	tb.Helper()
	if err := v.Domain.Space.WritePhys(a, binary.LittleEndian.AppendUint64(nil, x)); err != nil {
		tb.Fatal(err)
	}
}

func set(v *domain.VCPU, r virt.SysReg, x uint64) {
	if err := v.HV.Set(r, x); err != nil {
		panic(err)
	}
}
