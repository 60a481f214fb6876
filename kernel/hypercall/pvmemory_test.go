package hypercall

import (
	"testing"

	"nidus/kernel/xenabi"
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
