package hypercall

import (
	"bytes"
	"encoding/binary"
	"testing"

	"nidus/kernel/xenabi"
	"nidus/mm"
)

func TestPVMemory(t *testing.T) {
	bothPV(t, func(t *testing.T, g *guest) {
		const nr = xenabi.HypercallMemoryOp
		var m xenabi.MachphysMapping
		g.want(0, nr, xenabi.XenMemMachphysMapping, argAt)
		want := xenabi.MachphysMapping{VStart: 0xffff800000000000, VEnd: 0xffff804000000000, MaxMFN: 1<<35 - 1}
		if g.bits == 32 {
			want = xenabi.MachphysMapping{VStart: 0xf5800000, VEnd: 0xf6800000, MaxMFN: 1<<22 - 1}
		}
		if g.result(&m); m != want {
			t.Errorf("%#x, want %#x", m, want)
		}
		g.want(xenabi.EFAULT, nr, xenabi.XenMemMachphysMapping, nowhere)
		for _, cmd := range []uint64{xenabi.XenMemAddToPhysmap, xenabi.XenMemAddToPhysmapBatch, xenabi.XenMemRemoveFromPhysmap} {
			g.want(xenabi.EACCES, nr, cmd, argAt)
		}
	})
}

func TestMachphysList(t *testing.T) {
	bothPV(t, func(t *testing.T, g *guest) {
		g.memory(t)
		w := uint64(g.bits / 8)
		const list, compat = xenabi.XenMemMachphysMFNList, xenabi.XenMemMachphysCompatMFNList
		wide, narrow := fakeExtents[:3], fakeExtents[3:]
		own := wide
		if g.bits == 32 {
			own = narrow
		}
		for _, x := range []struct {
			cmd  uint64
			max  uint32
			want []mm.MFN
		}{
			{list, 0, nil}, {list, 1, own[:1]}, {list, 2, own[:2]}, {list, uint32(len(own)), own}, {list, ^uint32(0), own},
			{compat, 0, nil}, {compat, 1, narrow[:1]}, {compat, 2, narrow}, {compat, 3, narrow},
		} {
			g.put(dataAt, bytes.Repeat([]byte{0xff}, 64))
			a := xenabi.MachphysMFNList{MaxExtents: x.max, ExtentStart: dataAt, NrExtents: 77}
			g.want(0, memNr, x.cmd, g.arg(&a))
			g.result(&a)
			if a.NrExtents != uint32(len(x.want)) || a.MaxExtents != x.max || a.ExtentStart != dataAt {
				t.Errorf("%d, %d extents: %+v", x.cmd, x.max, a)
			}
			got := append(g.get(dataAt, int(w)*len(x.want)), make([]byte, 4)...)
			for i, m := range x.want {
				if f := binary.LittleEndian.Uint32(got[i*int(w):]); f != uint32(m) {
					t.Errorf("%d: extent %d is %#x, not %#x", x.cmd, i, f, m)
				}
			}
			if b := g.get(dataAt+mm.GuestVirt(w)*mm.GuestVirt(len(x.want)), 1)[0]; b != 0xff {
				t.Errorf("%d, %d extents: written beyond them", x.cmd, x.max)
			}
		}
		for _, cmd := range []uint64{list, compat} {
			g.want(xenabi.EFAULT, memNr, cmd, nowhere)
			for _, at := range []uint64{nowhere, ^uint64(0) - 3} {
				g.want(xenabi.EFAULT, memNr, cmd, g.arg(&xenabi.MachphysMFNList{MaxExtents: 2, ExtentStart: at}))
			}
			g.want(0, memNr, cmd, g.arg(&xenabi.MachphysMFNList{ExtentStart: nowhere}))
		}
	})
}
