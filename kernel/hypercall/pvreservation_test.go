package hypercall

import (
	"errors"
	"testing"

	"nidus/kernel/xenabi"
	"nidus/mm"
)

// fakeFrames is a PV domain's memory as a map; what is done wrong is a failure.
type fakeFrames struct {
	t       *testing.T
	next    mm.MFN
	left    uint64            // that the machine has
	quota   uint64            // that the domain may still have
	own     map[mm.MFN]uint64 // the domain's, with what the M2P says
	fresh   map[mm.MFN]bool   // nobody's yet
	claimed map[mm.MFN]bool
	inUse   map[mm.MFN]bool
}

func newFrames(t *testing.T) *fakeFrames {
	return &fakeFrames{t: t, next: 0x400, left: 1 << 20, quota: 1 << 20, own: map[mm.MFN]uint64{}, fresh: map[mm.MFN]bool{}, claimed: map[mm.MFN]bool{}}
}

// fakeExtents are the machine-to-physical table's of a machine of 3 GiB, and behind them those
// of its compat form.
var fakeExtents = []mm.MFN{0x200, 0x600, 0x123400, 0x800, 0xfffffe00}

func (f *fakeFrames) extents(narrow bool) []mm.MFN {
	if narrow {
		return fakeExtents[3:]
	}
	return fakeExtents[:3]
}

func (f *fakeFrames) Charge(n uint64) error {
	if n > f.quota {
		return mm.ErrQuota
	}
	f.quota -= n
	return nil
}

func (f *fakeFrames) Uncharge(n uint64) { f.quota += n }

func (f *fakeFrames) FreshFrames(order uint, _ mm.Zone) (mm.MFN, error) {
	n := mm.MFN(1) << order
	if uint64(n) > f.left {
		return 0, errors.New("no memory")
	}
	m := (f.next + n - 1) &^ (n - 1)
	f.next, f.left = m+n, f.left-uint64(n)
	for i := range n {
		f.fresh[m+i] = true
	}
	return m, nil
}

func (f *fakeFrames) GiveFresh(m mm.MFN, order uint) {
	for i := m; i < m+1<<order; i++ {
		if !f.fresh[i] {
			f.t.Errorf("frame %#x is not fresh", i)
		}
		delete(f.fresh, i)
		if _, ok := f.own[i]; !ok {
			f.own[i] = mm.InvalidM2P
		}
	}
}

func (f *fakeFrames) FreeFresh(m mm.MFN, order uint) {
	for i := m; i < m+1<<order; i++ {
		if !f.fresh[i] {
			f.t.Errorf("frame %#x is not fresh", i)
		}
		delete(f.fresh, i)
		delete(f.own, i)
		f.left++
	}
}

func (f *fakeFrames) TakeDirect(m mm.MFN) {
	if !f.claimed[m] {
		f.t.Errorf("frame %#x is not claimed", m)
	}
	delete(f.claimed, m)
	delete(f.own, m)
	f.left++
}

func (f *fakeFrames) claim(m mm.MFN, order uint) bool {
	for i := m; i < m+1<<order; i++ {
		if _, ok := f.own[i]; !ok || f.claimed[i] || f.inUse[i] {
			for k := m; k < i; k++ {
				delete(f.claimed, k)
			}
			return false
		}
		f.claimed[i] = true
	}
	return true
}

func (f *fakeFrames) unclaim(m mm.MFN, order uint) {
	for i := m; i < m+1<<order; i++ {
		if !f.claimed[i] {
			f.t.Errorf("frame %#x is not claimed", i)
		}
		delete(f.claimed, i)
	}
}

func (f *fakeFrames) owns(m mm.MFN) bool {
	_, ok := f.own[m]
	return ok
}

func (f *fakeFrames) note(m mm.MFN, pfn uint64) { f.own[m] = pfn }

// quiet tells whether nothing is between two states.
func (f *fakeFrames) quiet() {
	f.t.Helper()
	if len(f.fresh) != 0 || len(f.claimed) != 0 {
		f.t.Errorf("left: %v fresh, %v claimed", f.fresh, f.claimed)
	}
}

// memory gives a PV guest such memory.
func (g *guest) memory(t *testing.T) *fakeFrames {
	f := newFrames(t)
	g.v.Hypercall = &call{v: g.v, d: g.d, frames: f}
	return f
}

// list puts words at dataAt.
func (g *guest) list(vs ...uint64) { g.words(dataAt, vs...) }

func (g *guest) listed(i int) uint64 {
	b := g.get(dataAt+mm.GuestVirt(i*int(g.w())), int(g.w()))
	var v uint64
	for k := range b {
		v |= uint64(b[k]) << (8 * k)
	}
	return v
}

func TestPVReservation(t *testing.T) {
	bothPV(t, func(t *testing.T, g *guest) {
		const nr = xenabi.HypercallMemoryOp
		f := g.memory(t)
		op := func(want int, cmd uint64, a xenabi.MemoryReservation) {
			t.Helper()
			if a.DomID == 0 {
				a.DomID = uint16(mm.DomIDSelf)
			}
			g.want(want, nr, cmd, g.arg(&a))
			f.quiet()
		}
		const populate, decrease, increase = xenabi.XenMemPopulatePhysmap, xenabi.XenMemDecreaseReservation, xenabi.XenMemIncreaseReservation

		// More than one go, with page numbers that become frames.
		var pfns []uint64
		for i := range uint64(100) {
			pfns = append(pfns, 0x9000+i)
		}
		g.list(pfns...)
		op(100, populate, xenabi.MemoryReservation{ExtentStart: dataAt, NrExtents: 100})
		if len(f.own) != 100 {
			t.Fatalf("%d frames", len(f.own))
		}
		for i := range 100 {
			if pfn := f.own[mm.MFN(g.listed(i))]; pfn != 0x9000+uint64(i) {
				t.Errorf("frame %#x is page %#x", g.listed(i), pfn)
			}
		}
		op(100, decrease, xenabi.MemoryReservation{ExtentStart: dataAt, NrExtents: 100})
		if len(f.own) != 0 || f.quota != 1<<20 {
			t.Errorf("%d frames, quota %d", len(f.own), f.quota)
		}
		op(0, decrease, xenabi.MemoryReservation{ExtentStart: dataAt, NrExtents: 100}) // not ours any more

		// Large ones.
		g.list(0x200, 0x400)
		op(2, populate, xenabi.MemoryReservation{ExtentStart: dataAt, NrExtents: 2, ExtentOrder: 9})
		if m := mm.MFN(g.listed(1)); m&511 != 0 || f.own[m+511] != 0x400+511 {
			t.Errorf("frame %#x, page %#x", m, f.own[m+511])
		}
		op(2, decrease, xenabi.MemoryReservation{ExtentStart: dataAt, NrExtents: 2, ExtentOrder: 9})

		op(3, increase, xenabi.MemoryReservation{ExtentStart: dataAt, NrExtents: 3})
		op(3, increase, xenabi.MemoryReservation{NrExtents: 3})
		if len(f.own) != 6 || f.own[mm.MFN(g.listed(0))] != mm.InvalidM2P {
			t.Errorf("%d frames", len(f.own))
		}
		g.list(g.listed(0), 5)
		op(1, decrease, xenabi.MemoryReservation{ExtentStart: dataAt, NrExtents: 2})

		// One that is in use stays, and the rest of its block goes.
		before, quota := len(f.own), f.quota
		g.list(0x800, 0xa00)
		op(2, populate, xenabi.MemoryReservation{ExtentStart: dataAt, NrExtents: 2, ExtentOrder: 1})
		used := mm.MFN(g.listed(0))
		f.inUse = map[mm.MFN]bool{used: true, used + 1: true, mm.MFN(g.listed(1)): true}
		op(2, decrease, xenabi.MemoryReservation{ExtentStart: dataAt, NrExtents: 2, ExtentOrder: 1})
		if len(f.own) != before+3 || f.quota != quota-3 || !f.owns(used) {
			t.Errorf("%d frames of 3, quota %d of %d", len(f.own)-before, f.quota, quota-3)
		}
		f.inUse = nil
		op(1, decrease, xenabi.MemoryReservation{ExtentStart: dataAt, NrExtents: 2, ExtentOrder: 1}) // the second is not whole any more

		// What can't be done, at once or from somewhere on.
		for _, cmd := range []uint64{populate, decrease, increase} {
			op(0, cmd, xenabi.MemoryReservation{ExtentStart: dataAt, NrExtents: 1, ExtentOrder: 10})
			op(0, cmd, xenabi.MemoryReservation{ExtentStart: dataAt, NrExtents: 1, DomID: uint16(g.d.ID) + 1})
			op(0, cmd, xenabi.MemoryReservation{ExtentStart: dataAt})
			op(0, cmd, xenabi.MemoryReservation{ExtentStart: dataAt, NrExtents: 1 << 27})
			op(0, cmd, xenabi.MemoryReservation{ExtentStart: nowhere, NrExtents: 1})
			g.want(0, nr, cmd, nowhere)
		}
		op(0, populate, xenabi.MemoryReservation{ExtentStart: dataAt, NrExtents: 1, MemFlags: memPopulateOnDemand})
		op(0, populate, xenabi.MemoryReservation{ExtentStart: dataAt, NrExtents: 1, MemFlags: 31}) // below 2 GiB
		op(1, increase, xenabi.MemoryReservation{ExtentStart: dataAt, NrExtents: 1, MemFlags: 32})
		if g.bits == 64 {
			g.words(readOnlyAt-8, 1)
			op(0, populate, xenabi.MemoryReservation{ExtentStart: readOnlyAt, NrExtents: 1}) // read, but not written
			op(1, populate, xenabi.MemoryReservation{ExtentStart: readOnlyAt - 8, NrExtents: 2})
		}
		n := len(f.own)
		f.quota = 5
		g.list(pfns...)
		op(5, populate, xenabi.MemoryReservation{ExtentStart: dataAt, NrExtents: 10})
		f.quota, f.left = 100, 3
		op(3, populate, xenabi.MemoryReservation{ExtentStart: dataAt, NrExtents: 10})
		if len(f.own) != n+8 || f.quota != 97 {
			t.Errorf("%d frames, quota %d", len(f.own)-n, f.quota)
		}
	})
}

func TestPVExchange(t *testing.T) {
	bothPV(t, func(t *testing.T, g *guest) {
		f := g.memory(t)
		const size = 512 * 8
		in, out := uint64(dataAt), uint64(dataAt+size)
		type exchange = xenabi.MemoryExchange
		op := func(want any, change func(*exchange)) (a exchange) {
			t.Helper()
			self := uint16(mm.DomIDSelf)
			a = exchange{In: xenabi.MemoryReservation{ExtentStart: in, NrExtents: 512, DomID: self},
				Out: xenabi.MemoryReservation{ExtentStart: out, NrExtents: 1, ExtentOrder: 9, DomID: self}}
			change(&a)
			n, quota := len(f.own), f.quota
			g.want(want, xenabi.HypercallMemoryOp, xenabi.XenMemExchange, g.arg(&a))
			g.result(&a)
			f.quiet()
			if len(f.own) != n || f.quota != quota {
				t.Errorf("%d frames, had %d; quota %d, had %d", len(f.own), n, f.quota, quota)
			}
			return a
		}
		frames := func(order uint, n int) (l []uint64) {
			for range n {
				m, err := f.FreshFrames(order, mm.ZoneAny)
				if err != nil {
					t.Fatal(err)
				}
				f.GiveFresh(m, order)
				l = append(l, uint64(m))
			}
			return l
		}
		small := frames(0, 512)
		g.words(mm.GuestVirt(in), small...)
		g.words(mm.GuestVirt(out), 0x7000)
		word := func(a uint64) mm.MFN {
			v := uint64(g.get32(mm.GuestVirt(a)))
			return mm.MFN(v)
		}
		if a := op(0, func(*exchange) {}); a.NrExchanged != 512 {
			t.Errorf("%d exchanged", a.NrExchanged)
		}
		block := word(out)
		if block&511 != 0 || f.own[block] != 0x7000 || f.own[block+511] != 0x7000+511 {
			t.Errorf("block %#x is page %#x", block, f.own[block])
		}
		if _, ok := f.own[mm.MFN(small[5])]; ok {
			t.Error("the old ones are still there")
		}
		// And back.
		var pfns []uint64
		for i := range uint64(512) {
			pfns = append(pfns, 0x8000+i)
		}
		g.words(mm.GuestVirt(out), pfns...)
		g.words(mm.GuestVirt(in), uint64(block))
		reverse := func(a *exchange) {
			a.In.NrExtents, a.In.ExtentOrder, a.Out.NrExtents, a.Out.ExtentOrder = 1, 9, 512, 0
		}
		if a := op(0, reverse); a.NrExchanged != 1 {
			t.Errorf("%d exchanged", a.NrExchanged)
		}
		small = small[:0]
		for i := range uint64(512) {
			m := word(out + i*uint64(g.w()))
			small = append(small, uint64(m))
			if f.own[m] != 0x8000+i {
				t.Errorf("frame %#x is page %#x", m, f.own[m])
			}
		}
		// One by one, in more than one go; and some that are done already.
		small = append(small, frames(0, 88)...)
		g.words(mm.GuestVirt(in), small...)
		g.words(mm.GuestVirt(out)+8192, small...)
		same := func(a *exchange) {
			a.In.NrExtents, a.Out.NrExtents, a.Out.ExtentOrder, a.Out.ExtentStart = 600, 600, 0, out+8192
		}
		if a := op(0, same); a.NrExchanged != 600 {
			t.Errorf("%d exchanged", a.NrExchanged)
		}
		if a := op(0, func(a *exchange) { same(a); a.NrExchanged = 600 }); a.NrExchanged != 600 {
			t.Errorf("%d exchanged", a.NrExchanged)
		}

		good := frames(0, 512)
		for _, x := range []struct {
			want   any
			change func(*exchange)
			at     int // which frame is bad
			with   uint64
			done   uint64
		}{
			{xenabi.EINVAL, func(a *exchange) { a.Out.NrExtents = 2 }, 0, good[0], 0},
			{xenabi.EINVAL, func(a *exchange) { a.NrExchanged = 513 }, 0, good[0], 513},
			{xenabi.EINVAL, func(a *exchange) { a.Out.DomID = 1 }, 0, good[0], 0},
			{xenabi.EINVAL, func(a *exchange) { a.In.NrExtents, a.Out.NrExtents = 1<<31, 1<<22 }, 0, good[0], 0},
			{xenabi.EPERM, func(a *exchange) { a.Out.ExtentOrder = 10 }, 0, good[0], 0},
			{xenabi.EPERM, func(a *exchange) { a.In.ExtentOrder = 64 }, 0, good[0], 0},
			{xenabi.ENOMEM, func(a *exchange) { a.Out.MemFlags = 20 }, 0, good[0], 0},
			{xenabi.EINVAL, func(*exchange) {}, 511, good[3], 0}, // twice
			{xenabi.EINVAL, func(*exchange) {}, 511, 5, 0},       // not ours
			{xenabi.EFAULT, func(a *exchange) { a.Out.ExtentStart = nowhere }, 0, good[0], 0},
			{xenabi.EFAULT, func(a *exchange) { a.In.ExtentStart = nowhere }, 0, good[0], 0},
			{xenabi.EFAULT, func(a *exchange) { a.Out.ExtentStart = 1<<(map[int]uint{64: 47, 32: 32}[g.bits]) - 3 }, 511, 5, 0},
			{xenabi.ENOMEM, func(*exchange) { f.left = 100 }, 0, good[0], 0},
		} {
			g.words(mm.GuestVirt(in), good...)
			g.words(mm.GuestVirt(in)+mm.GuestVirt(x.at*int(g.w())), x.with)
			if a := op(x.want, x.change); a.NrExchanged != x.done {
				t.Errorf("%v: %d exchanged", x.want, a.NrExchanged)
			}
		}
		g.want(xenabi.EFAULT, xenabi.HypercallMemoryOp, xenabi.XenMemExchange, nowhere)
		other := uint16(g.d.ID) + 1
		op(xenabi.ESRCH, func(a *exchange) { a.In.DomID, a.Out.DomID = other, other })
	})
}
