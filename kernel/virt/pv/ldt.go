package pv

import "nidus/mm"

// A vcpu's LDT has addresses of its own behind its GDT. Its descriptor is in the last page
// of the GDT, which is the vcpu's, unlike the page before, which is the CPU's. The pages are
// there once the processor has asked for them: until then it faults.

const (
	ldtFirst    = ldtOffset / mm.PageSize // of a vcpu's pages
	ldtDescPage = gdtOwnPage + 1
	selOwnLDT   = ldtDescPage * mm.PageSize // its selector, of ring 0
)

// SetLDT implements VCPU.
func (v *vcpu) SetLDT(entries int) error {
	c := v.ctx
	if entries > 0 && v.ldt.words == nil {
		if err := v.area.table(&v.ldt); err != nil {
			return err
		}
		v.tables[ldtDescPage] = leaf(v.ldt.mfn)
	}
	for i := range LDTFrames {
		v.tables[ldtFirst+i] = 0
	}
	v.forget()
	if entries == 0 {
		c.ldt, c.gdtLimit = 0, gdtOwnOffset+mm.PageSize-1
		return nil
	}
	base := v.ldtBase()
	v.ldt.words[0], v.ldt.words[1] = ldtDescriptor(base, uint64(entries)*8-1)
	c.ldt, c.gdtLimit = selOwnLDT, selOwnLDT+15
	return nil
}

// ldtBase is where the processor has the LDT.
func (v *vcpu) ldtBase() uint64 { return AreaBase + uint64(v.id)*areaStride + ldtOffset }

// ldtDescriptor is a 64-bit descriptor of an LDT (APM vol. 2, 4.8.3).
func ldtDescriptor(base, limit uint64) (lo, hi uint64) {
	const ldt = 0x82 // present, type 2
	return limit&0xffff | base&0xffffff<<16 | ldt<<40 | limit>>16&0xf<<48 | base>>24&0xff<<56, base >> 32
}

// MapLDT implements VCPU.
func (v *vcpu) MapLDT(page int, m mm.MFN) { v.tables[ldtFirst+page] = leaf(m) }

// LDTPage implements VCPU.
func (v *vcpu) LDTPage(a uint64) (page int, ok bool) {
	base := v.ldtBase()
	if a < base || a >= base+LDTFrames*mm.PageSize {
		return 0, false
	}
	return int((a - base) >> mm.PageShift), true
}
