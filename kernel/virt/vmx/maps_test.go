package vmx

import (
	"testing"
	"unsafe"

	"nidus/mm"
)

type onePage struct{ b [4 * mm.PageSize]byte }

func (p *onePage) Alloc(int) (mm.MFN, unsafe.Pointer, error) { return 1, unsafe.Pointer(&p.b[0]), nil }
func (p *onePage) Free(mm.MFN, int)                          {}

// TestMaps: SDM vol. 3, 25.6.4 and 25.6.9.
func TestMaps(t *testing.T) {
	m, err := newMaps(&onePage{})
	if err != nil {
		t.Fatal(err)
	}
	bit := func(off, n int) bool { return m.b[off+n/8]>>(n%8)&1 != 0 }
	if !bit(0x400, 0x80) || bit(0x400, 0x102) || bit(0xc00, 0x102) {
		t.Error("EFER exits, KERNEL_GS_BASE doesn't")
	}
	if !m.InterceptMSR(0x10, false, true) || bit(0, 0x10) || !bit(0x800, 0x10) {
		t.Error("TSC: reads shouldn't exit, writes should")
	}
	for _, bad := range []uint32{0x2000, 0xc0002000, 0xc0010000} {
		if m.InterceptMSR(bad, false, false) {
			t.Errorf("%#x is in no map", bad)
		}
	}
	m.InterceptPorts(0x7fff, 0x8000, false)
	if bit(0x1000, 0x7fff) || bit(0x2000, 0) || !bit(0x1000, 0x7ffe) || !bit(0x2000, 1) {
		t.Error("ports at the border of the two bitmaps")
	}
}
