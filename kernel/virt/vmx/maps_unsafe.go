package vmx

import (
	"fmt"

	"nidus/kernel/virt"
	"nidus/mm"
)

// maps is a domain's MSR bitmap (SDM vol. 3, 25.6.9: reads of 0-1fff, reads of
// c0000000-c0001fff, the same for writes) and its two I/O bitmaps.
type maps struct {
	pages  virt.Pages
	mfn    mm.MFN
	b      *[3 * mm.PageSize]byte
	domain uint64 // no other maps ever have this number
}

// hardwareMSRs are switched at entry and exit, and may be the guest's.
var hardwareMSRs = [...]uint32{0x174, 0x175, 0x176, 0xc0000081, 0xc0000082, 0xc0000083, 0xc0000084, 0xc0000100, 0xc0000101, 0xc0000102}

func newMaps(p virt.Pages) (*maps, error) {
	mfn, at, err := p.Alloc(3)
	if err != nil {
		return nil, fmt.Errorf("pages for MSR and I/O bitmaps: %w", err)
	}
	m := &maps{pages: p, mfn: mfn, b: (*[3 * mm.PageSize]byte)(at)}
	for i := range m.b {
		m.b[i] = 0xff
	}
	for _, r := range hardwareMSRs {
		m.InterceptMSR(r, false, false)
	}
	return m, nil
}

func (m *maps) set(bit uint32, on bool) {
	m.b[bit/8] &^= 1 << (bit % 8)
	if on {
		m.b[bit/8] |= 1 << (bit % 8)
	}
}

// InterceptMSR implements virt.Maps.
func (m *maps) InterceptMSR(msr uint32, read, write bool) bool {
	bit := msr
	switch {
	case msr < 0x2000:
	case msr-0xc0000000 < 0x2000:
		bit = msr - 0xc0000000 + 0x400*8
	default:
		return false
	}
	m.set(bit, read)
	m.set(bit+0x800*8, write)
	return true
}

// InterceptPorts implements virt.Maps.
func (m *maps) InterceptPorts(first, last uint16, on bool) {
	for p := uint32(first); p <= uint32(last); p++ {
		m.set(mm.PageSize*8+p, on)
	}
}

// Free implements virt.Maps.
func (m *maps) Free() {
	m.pages.Free(m.mfn, 3)
	m.b = nil
}
