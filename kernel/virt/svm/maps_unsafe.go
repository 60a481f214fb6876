package svm

import (
	"fmt"
	"unsafe"

	"nidus/kernel/virt"
	"nidus/mm"
)

// Sizes of the permission maps (APM vol. 2, 15.10.1 and 15.11).
const (
	msrpmPages = 2
	iopmPages  = 3
)

// maps is a domain's MSR permission map, two bits an MSR (read, write), and I/O
// permission map, a bit a port; a set bit exits.
type maps struct {
	pages  virt.Pages
	msr    *[msrpmPages * mm.PageSize]byte
	io     *[iopmPages * mm.PageSize]byte
	msrMFN mm.MFN
	ioMFN  mm.MFN
	domain uint64 // no other maps ever have this number
}

// hardwareMSRs are switched by VMRUN, VMLOAD and VMSAVE, and may be the guest's.
var hardwareMSRs = [...]uint32{
	0x174, 0x175, 0x176, // SYSENTER_CS, ESP, EIP
	0xc0000081, 0xc0000082, 0xc0000083, 0xc0000084, // STAR, LSTAR, CSTAR, SFMASK
	0xc0000100, 0xc0000101, 0xc0000102, // FS.base, GS.base, KERNEL_GS_BASE
}

func newMaps(p virt.Pages) (*maps, error) {
	m := &maps{pages: p}
	mfn, at, err := p.Alloc(msrpmPages)
	if err != nil {
		return nil, fmt.Errorf("pages for an MSR permission map: %w", err)
	}
	m.msrMFN, m.msr = mfn, (*[msrpmPages * mm.PageSize]byte)(unsafe.Pointer(at))
	if mfn, at, err = p.Alloc(iopmPages); err != nil {
		p.Free(m.msrMFN, msrpmPages)
		return nil, fmt.Errorf("pages for an I/O permission map: %w", err)
	}
	m.ioMFN, m.io = mfn, (*[iopmPages * mm.PageSize]byte)(unsafe.Pointer(at))
	for i := range m.msr {
		m.msr[i] = 0xff
	}
	for i := range m.io {
		m.io[i] = 0xff
	}
	for _, r := range hardwareMSRs {
		m.InterceptMSR(r, false, false)
	}
	return m, nil
}

// msrBit finds an MSR's first bit in the map.
func msrBit(msr uint32) (bit uint32, ok bool) {
	switch {
	case msr < 0x2000:
		return msr * 2, true
	case msr-0xc0000000 < 0x2000:
		return 0x800*8 + (msr-0xc0000000)*2, true
	case msr-0xc0010000 < 0x2000:
		return 0x1000*8 + (msr-0xc0010000)*2, true
	}
	return 0, false
}

// InterceptMSR implements virt.Maps.
func (m *maps) InterceptMSR(msr uint32, read, write bool) bool {
	bit, ok := msrBit(msr)
	if !ok {
		return false
	}
	b, sh := &m.msr[bit/8], bit%8
	*b &^= 3 << sh
	if read {
		*b |= 1 << sh
	}
	if write {
		*b |= 2 << sh
	}
	return true
}

// InterceptPorts implements virt.Maps. The three bits behind port 0xffff, which
// wide accesses that wrap look at, stay set.
func (m *maps) InterceptPorts(first, last uint16, on bool) {
	for p := uint32(first); p <= uint32(last); p++ {
		if on {
			m.io[p/8] |= 1 << (p % 8)
		} else {
			m.io[p/8] &^= 1 << (p % 8)
		}
	}
}

// Free implements virt.Maps.
func (m *maps) Free() {
	m.pages.Free(m.msrMFN, msrpmPages)
	m.pages.Free(m.ioMFN, iopmPages)
	m.msr, m.io = nil, nil
}
