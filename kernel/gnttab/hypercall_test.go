package gnttab

import (
	"encoding/binary"
	"testing"

	"nidus/kernel/xenabi"
	"nidus/mm"
)

// ram is a guest's linear memory.
type ram []byte

func (r ram) at(a mm.GuestVirt, n int) ([]byte, error) {
	if uint64(a) > uint64(len(r)) || uint64(n) > uint64(len(r))-uint64(a) {
		return nil, mm.ErrBadAddress
	}
	return r[a : int(a)+n], nil
}

func (r ram) CopyIn(a mm.GuestVirt, dst []byte) error {
	b, err := r.at(a, len(dst))
	copy(dst, b)
	return err
}

func (r ram) CopyOut(a mm.GuestVirt, src []byte) error {
	b, err := r.at(a, len(src))
	copy(b, src)
	return err
}

// Hypercall is Caller.Hypercall by a new one.
func (t *Table) Hypercall(w xenabi.Width, cmd uint32, mem Memory, arg mm.GuestVirt, count uint32) (uint32, error) {
	n, _, err := new(Caller).Hypercall(t, w, cmd, mem, arg, count)
	return n, err
}

// call does one operation as a guest would, with its structure at 0x100.
func call(g *Table, w xenabi.Width, r ram, cmd uint32, s xenabi.Struct) error {
	xenabi.Encode(w, r[0x100:], s)
	_, err := g.Hypercall(w, cmd, r, 0x100, 1)
	xenabi.Decode(w, r[0x100:], s)
	return err
}

func TestHypercall(t *testing.T) {
	const self = uint16(mm.DomIDSelf)
	for _, w := range []xenabi.Width{xenabi.Guest64, xenabi.Guest32} {
		all := new(Tables)
		newTable(t, func(c *Config) { c.ID, c.Tables = 2, all })
		g, _ := newTable(t, func(c *Config) {
			c.Tables = all
			c.FrameNumber = func(m mm.MFN) uint64 { return 0x1000 + uint64(m) }
		})
		r := make(ram, 0x3000)

		qs := xenabi.GnttabQuerySize{DomID: self}
		if err := call(g, w, r, xenabi.GnttabOpQuerySize, &qs); err != nil || qs.NrFrames != 1 || qs.MaxNrFrames != 64 || qs.Status != 0 {
			t.Errorf("query_size: %v, %+v", err, qs)
		}
		for id, want := range map[uint16]xenabi.GnttabStatus{2: xenabi.GNTSTPermissionDenied, 9: xenabi.GNTSTBadDomain} {
			qs = xenabi.GnttabQuerySize{DomID: id}
			if err := call(g, w, r, xenabi.GnttabOpQuerySize, &qs); err != nil || qs.Status != want {
				t.Errorf("query_size of %d: %v, %+v", id, err, qs)
			}
		}
		for _, c := range []struct {
			n      uint32
			status xenabi.GnttabStatus
			frames int
		}{{3, 0, 3}, {0, 0, 3}, {65, xenabi.GNTSTGeneralError, 3}, {^uint32(0), xenabi.GNTSTGeneralError, 3}, {64, 0, 64}} {
			st := xenabi.GnttabSetupTable{DomID: self, NrFrames: c.n, FrameList: 0x1000}
			if err := call(g, w, r, xenabi.GnttabOpSetupTable, &st); err != nil || st.Status != c.status {
				t.Errorf("setup_table of %d: %v, %+v", c.n, err, st)
			}
			if n, _, _ := g.Sizes(); n != c.frames {
				t.Errorf("setup_table of %d: %d frames", c.n, n)
			}
		}
		if n := binary.LittleEndian.Uint32(r[0x1000+2*int(w):]); n != 0x1003 {
			t.Errorf("third frame is %#x", n)
		}
		st := xenabi.GnttabSetupTable{DomID: self, NrFrames: 64, FrameList: 0x2ff8}
		if err := call(g, w, r, xenabi.GnttabOpSetupTable, &st); err != xenabi.EFAULT {
			t.Errorf("setup_table with a bad list: %v", err)
		}
		sf := xenabi.GnttabGetStatusFrames{DomID: self, NrFrames: 1, FrameList: 0x1000}
		if err := call(g, w, r, xenabi.GnttabOpGetStatusFrames, &sf); err != nil || sf.Status != xenabi.GNTSTGeneralError {
			t.Errorf("status frames of version 1: %v, %+v", err, sf)
		}
		sv := xenabi.GnttabSetVersion{Version: 2}
		if err := call(g, w, r, xenabi.GnttabOpSetVersion, &sv); err != nil || sv.Version != 2 {
			t.Errorf("set_version: %v, %+v", err, sv)
		}
		sf.NrFrames, sf.Status = 8, 0
		if err := call(g, w, r, xenabi.GnttabOpGetStatusFrames, &sf); err != nil || sf.Status != 0 ||
			binary.LittleEndian.Uint64(r[0x1000+7*8:]) != 0x1000+64+8 {
			t.Errorf("status frames: %v, %+v, %x", err, sf, r[0x1000:0x1040])
		}
		gv := xenabi.GnttabGetVersion{DomID: self}
		if err := call(g, w, r, xenabi.GnttabOpGetVersion, &gv); err != nil || gv.Version != 2 {
			t.Errorf("get_version: %v, %+v", err, gv)
		}
		for id, want := range map[uint16]error{2: xenabi.EPERM, 9: xenabi.ESRCH} {
			gv = xenabi.GnttabGetVersion{DomID: id}
			if err := call(g, w, r, xenabi.GnttabOpGetVersion, &gv); err != want {
				t.Errorf("get_version of %d: %v", id, err)
			}
		}
		for _, c := range []struct {
			a    xenabi.GnttabCacheFlush
			want error
		}{
			{xenabi.GnttabCacheFlush{}, nil}, {xenabi.GnttabCacheFlush{Op: 4}, xenabi.EINVAL},
			{xenabi.GnttabCacheFlush{Op: 1, Offset: 4000, Length: 97}, xenabi.EINVAL},
			{xenabi.GnttabCacheFlush{Op: 1 << 31}, xenabi.EOPNOTSUPP},
			{xenabi.GnttabCacheFlush{Op: 3, Length: 1}, xenabi.EPERM},
		} {
			if err := call(g, w, r, xenabi.GnttabOpCacheFlush, &c.a); err != c.want {
				t.Errorf("cache_flush %+v: %v", c.a, err)
			}
		}
		for _, c := range []struct {
			a    xenabi.GnttabMapGrantRef
			want xenabi.GnttabStatus
		}{
			{xenabi.GnttabMapGrantRef{DomID: 2}, xenabi.GNTSTBadGntref},
			{xenabi.GnttabMapGrantRef{DomID: 9, Flags: 2}, xenabi.GNTSTBadDomain},
			{xenabi.GnttabMapGrantRef{DomID: 2, Flags: 2, Ref: 512}, xenabi.GNTSTBadGntref},
			{xenabi.GnttabMapGrantRef{DomID: 2, Flags: 2, Ref: 8}, xenabi.GNTSTGeneralError},
		} {
			if err := call(g, w, r, xenabi.GnttabOpMapGrantRef, &c.a); err != nil || c.a.Status != c.want {
				t.Errorf("map: %v, %+v, want %d", err, c.a, c.want)
			}
		}
		for _, c := range []struct {
			a    xenabi.GnttabCopy
			want xenabi.GnttabStatus
		}{
			{xenabi.GnttabCopy{SourceDomID: self, DestDomID: self, Len: 4000, DestOffset: 97}, xenabi.GNTSTBadCopyArg},
			{xenabi.GnttabCopy{SourceDomID: 9, DestDomID: self}, xenabi.GNTSTBadDomain},
			{xenabi.GnttabCopy{SourceDomID: 2, DestDomID: self}, xenabi.GNTSTPermissionDenied},
			{xenabi.GnttabCopy{SourceDomID: 2, DestDomID: self, Flags: 1, SourceFrame: 512}, xenabi.GNTSTBadGntref},
			{xenabi.GnttabCopy{SourceDomID: 2, DestDomID: self, Flags: 1}, xenabi.GNTSTGeneralError},
		} {
			if err := call(g, w, r, xenabi.GnttabOpCopy, &c.a); err != nil || c.a.Status != c.want {
				t.Errorf("copy: %v, %+v, want %d", err, c.a, c.want)
			}
		}
		un := xenabi.GnttabUnmapGrantRef{Handle: 1}
		if err := call(g, w, r, xenabi.GnttabOpUnmapGrantRef, &un); err != nil || un.Status != xenabi.GNTSTBadHandle {
			t.Errorf("unmap: %v, %+v", err, un)
		}
		tr := xenabi.GnttabTransfer{DomID: 2}
		if err := call(g, w, r, xenabi.GnttabOpTransfer, &tr); err != nil || tr.Status != xenabi.GNTSTBadPage {
			t.Errorf("transfer: %v, %+v", err, tr)
		}
		sw := xenabi.GnttabSwapGrantRef{RefA: 1, RefB: 1 << 31}
		if err := call(g, w, r, xenabi.GnttabOpSwapGrantRef, &sw); err != nil || sw.Status != xenabi.GNTSTBadGntref {
			t.Errorf("swap: %v, %+v", err, sw)
		}
		for _, cmd := range []uint32{xenabi.GnttabOpDumpTable, 13, ^uint32(0)} {
			if _, err := g.Hypercall(w, cmd, r, 0, 1); err != xenabi.ENOSYS {
				t.Errorf("operation %d: %v", cmd, err)
			}
		}
		if _, err := g.Hypercall(w, xenabi.GnttabOpQuerySize, r, 0, 2); err != xenabi.EINVAL {
			t.Errorf("two query_size: %v", err)
		}
		if n, err := g.Hypercall(w, xenabi.GnttabOpSwapGrantRef, r, 0, ^uint32(0)); n != MaxBatch || err != nil {
			t.Errorf("large count: %d, %v", n, err)
		}
		if n, err := g.Hypercall(w, xenabi.GnttabOpSwapGrantRef, r, mm.GuestVirt(len(r)-24), 9); n != 2 || err != xenabi.EFAULT {
			t.Errorf("array past the end: %d, %v", n, err)
		}
	}
}
