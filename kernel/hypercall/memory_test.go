package hypercall

import (
	"encoding/binary"
	"testing"

	"nidus/kernel/domain/domaintest"
	"nidus/kernel/xenabi"
	"nidus/mm"
)

const memNr = xenabi.HypercallMemoryOp

func (g *guest) typeAt(f mm.GFN) mm.Type { return g.d.Space.P2M().Lookup(f).Type }

func TestAddToPhysmap(t *testing.T) {
	both(t, func(t *testing.T, g *guest) {
		self := uint16(mm.DomIDSelf)
		add := func(res any, space uint32, idx, gpfn uint64) {
			t.Helper()
			g.want(res, memNr, xenabi.XenMemAddToPhysmap, g.arg(&xenabi.AddToPhysmap{DomID: self, Space: space, Idx: idx, GPFN: gpfn}))
		}
		add(0, xenabi.MapSpaceSharedInfo, 0, 0x1000)
		if g.typeAt(0x1000) != mm.TypeSpecial {
			t.Error("shared_info isn't there")
		}
		add(0, xenabi.MapSpaceSharedInfo, 0, 50) // moves, over RAM
		if g.typeAt(50) != mm.TypeSpecial || g.typeAt(0x1000) != mm.TypeNone {
			t.Error("shared_info did not move")
		}
		add(0, xenabi.MapSpaceSharedInfo, 0, 50)
		add(xenabi.EINVAL, xenabi.MapSpaceSharedInfo, 1, 0x1000)
		if g.bits == 64 { // 32 bits can't name a frame that is none
			add(xenabi.EINVAL, xenabi.MapSpaceSharedInfo, 0, 1<<36)
			add(xenabi.EINVAL, xenabi.MapSpaceSharedInfo, 0, ^uint64(0))
			add(xenabi.EINVAL, xenabi.MapSpaceGMFN, ^uint64(0), 50)
		}
		add(0, xenabi.MapSpaceGrantTable, 0, 0x2000)
		add(0, xenabi.MapSpaceGrantTable, 3, 0x2003)
		add(xenabi.EINVAL, xenabi.MapSpaceGrantTable, 1<<20, 0x2004)
		add(xenabi.EINVAL, xenabi.MapSpaceGrantTable, xenabi.MapIdxGrantTableStatus, 0x2004) // version 1
		g.want(0, xenabi.HypercallGrantTableOp, xenabi.GnttabOpSetVersion, g.arg(&xenabi.GnttabSetVersion{Version: 2}), 1)
		add(0, xenabi.MapSpaceGrantTable, xenabi.MapIdxGrantTableStatus, 0x2004)
		add(0, xenabi.MapSpaceGMFN, 60, 0x3000)
		if g.typeAt(0x3000) != mm.TypeRAM || g.typeAt(60) != mm.TypeNone {
			t.Error("the page did not move")
		}
		add(xenabi.EINVAL, xenabi.MapSpaceGMFN, 60, 0x3000)
		add(xenabi.EINVAL, xenabi.MapSpaceGMFN, 0x99999, 0x3000)
		add(xenabi.ENOSYS, xenabi.MapSpaceGMFNForeign, 0, 0x3000)
		add(xenabi.EINVAL, xenabi.MapSpaceDevMMIO, 0, 0x3000)
		add(xenabi.EINVAL, ^uint32(0), 0, 0x3000)
		for dom, e := range map[uint16]xenabi.Errno{0: xenabi.EPERM, 5: xenabi.ESRCH, 0xffff: xenabi.ESRCH} {
			g.want(e, memNr, xenabi.XenMemAddToPhysmap, g.arg(&xenabi.AddToPhysmap{DomID: dom}))
		}
		// A range needs more than one go.
		r := &xenabi.AddToPhysmap{DomID: self, Nr: 100, Space: xenabi.MapSpaceGMFNRange, Idx: 100, GPFN: 0x4000}
		g.once(memNr, xenabi.XenMemAddToPhysmap, g.arg(r))
		if g.last.Kind != Repeat {
			t.Error("100 pages at once")
		}
		g.last = Handle(g.v)
		if g.last.Kind != Done || g.rax() != 0 || g.typeAt(0x4000+99) != mm.TypeRAM || g.typeAt(100) != mm.TypeNone {
			t.Errorf("range: %d, outcome %v", g.rax(), g.last)
		}
		g.want(xenabi.EINVAL, memNr, xenabi.XenMemAddToPhysmap|200<<memCmdBits, g.arg(r))
	})
}

func TestAddToPhysmapBatch(t *testing.T) {
	both(t, func(t *testing.T, g *guest) {
		const cmd = xenabi.XenMemAddToPhysmapBatch
		b := xenabi.AddToPhysmapBatch{DomID: uint16(mm.DomIDSelf), Space: xenabi.MapSpaceGMFN, Nr: 80,
			Idxs: dataAt, GPFNs: dataAt + 0x1000, Errs: dataAt + 0x2000}
		for i := range 80 {
			off := mm.GuestVirt(i) * mm.GuestVirt(g.w())
			g.words(dataAt+off, uint64(100+i))
			g.words(dataAt+0x1000+off, uint64(0x5000+i))
		}
		g.words(dataAt, 0x77777) // nothing there
		g.want(0, memNr, cmd, g.arg(&b))
		if e := int32(g.get32(dataAt + 0x2000)); e != -int32(xenabi.EINVAL) {
			t.Errorf("first error %d", e)
		}
		if e := g.get32(dataAt + 0x2000 + 79*4); e != 0 || g.typeAt(0x5000+79) != mm.TypeRAM {
			t.Errorf("last error %d", e)
		}
		bad := b
		bad.Errs = 0x10000000
		g.want(xenabi.EFAULT, memNr, cmd, g.arg(&bad))
		bad = b
		bad.Idxs = 0x10000000
		g.want(xenabi.EFAULT, memNr, cmd, g.arg(&bad))
		bad = b
		bad.Space = xenabi.MapSpaceGMFNForeign
		g.want(xenabi.EPERM, memNr, cmd, g.arg(&bad))
		bad.Space = xenabi.MapSpaceGMFNRange
		g.want(xenabi.EINVAL, memNr, cmd, g.arg(&bad))
		bad = b
		bad.DomID = 0
		g.want(xenabi.EPERM, memNr, cmd, g.arg(&bad))
		g.want(xenabi.EINVAL, memNr, cmd|100<<memCmdBits, g.arg(&b))
		b.Nr = 0
		g.want(0, memNr, cmd, g.arg(&b))
	})
}

func TestRemoveFromPhysmap(t *testing.T) {
	both(t, func(t *testing.T, g *guest) {
		const cmd = xenabi.XenMemRemoveFromPhysmap
		self := uint16(mm.DomIDSelf)
		before := g.d.Space.TotPages()
		g.want(0, memNr, cmd, g.arg(&xenabi.RemoveFromPhysmap{DomID: self, GPFN: 70}))
		if n := g.d.Space.TotPages(); n != before-1 {
			t.Errorf("%d pages of %d", n, before)
		}
		g.want(xenabi.ENOENT, memNr, cmd, g.arg(&xenabi.RemoveFromPhysmap{DomID: self, GPFN: 70}))
		g.want(xenabi.ENOENT, memNr, cmd, g.arg(&xenabi.RemoveFromPhysmap{DomID: self, GPFN: ^uint64(0)}))
		g.want(xenabi.ESRCH, memNr, cmd, g.arg(&xenabi.RemoveFromPhysmap{DomID: 9, GPFN: 71}))
		// What the hypervisor holds stays.
		if _, err := g.d.Space.Pin(72); err != nil {
			t.Fatal(err)
		}
		g.want(xenabi.EBUSY, memNr, cmd, g.arg(&xenabi.RemoveFromPhysmap{DomID: self, GPFN: 72}))
		g.d.Space.Unpin(72)
	})
}

func TestReservation(t *testing.T) {
	both(t, func(t *testing.T, g *guest) {
		const up, down = xenabi.XenMemPopulatePhysmap, xenabi.XenMemDecreaseReservation
		self := uint16(mm.DomIDSelf)
		list := func(first uint64, n int) {
			for i := range n {
				g.words(dataAt+mm.GuestVirt(i*int(g.w())), first+uint64(i))
			}
		}
		r := xenabi.MemoryReservation{ExtentStart: dataAt, NrExtents: 100, DomID: self}
		before := g.d.Space.TotPages()
		list(100, 100)
		g.once(memNr, down, g.arg(&r))
		if g.last.Kind != Repeat {
			t.Error("100 pages at once")
		}
		g.last = Handle(g.v)
		if g.rax() != 100 || g.d.Space.TotPages() != before-100 {
			t.Errorf("%d of 100 pages", g.rax())
		}
		g.want(0, memNr, down, g.arg(&r)) // they are gone
		list(0x8000, 100)
		g.want(100, memNr, up, g.arg(&r))
		if g.d.Space.TotPages() != before {
			t.Errorf("%d pages", g.d.Space.TotPages())
		}
		g.want(0, memNr, up, g.arg(&r)) // occupied
		list(0x9000, 100)
		g.want(32, memNr, up, g.arg(&r)) // the quota
		g.want(0, memNr, xenabi.XenMemIncreaseReservation, g.arg(&r))
		for _, bad := range []xenabi.MemoryReservation{
			{ExtentStart: dataAt, NrExtents: 0, DomID: self},
			{ExtentStart: dataAt, NrExtents: ^uint64(0), DomID: self},
			{ExtentStart: dataAt, NrExtents: 1 << 26, DomID: self},
			{ExtentStart: 0x10000000, NrExtents: 1, DomID: self},
			{ExtentStart: 0xffffffff, NrExtents: 1, DomID: self},
			{ExtentStart: dataAt, NrExtents: 1, ExtentOrder: 10, DomID: self},
			{ExtentStart: dataAt, NrExtents: 1, ExtentOrder: ^uint32(0), DomID: self},
			{ExtentStart: dataAt, NrExtents: 1, ExtentOrder: 9, DomID: self}, // misaligned, and above the quota
			{ExtentStart: dataAt, NrExtents: 1, DomID: 0},
			{ExtentStart: dataAt, NrExtents: 1, DomID: 0xffff},
		} {
			g.words(dataAt, 0x9999)
			g.want(0, memNr, up, g.arg(&bad))
			g.want(0, memNr, down, g.arg(&bad))
		}
		g.want(0, memNr, up, 0x10000000)
		g.want(0, memNr, up, g.arg(&xenabi.MemoryReservation{ExtentStart: dataAt, NrExtents: 1, MemFlags: memPopulateOnDemand, DomID: self}))
		g.want(7, memNr, up|7<<memCmdBits, g.arg(&xenabi.MemoryReservation{ExtentStart: dataAt, NrExtents: 5, DomID: self}))
	})
}

func TestMemoryCounts(t *testing.T) {
	both(t, func(t *testing.T, g *guest) {
		a := g.arg(&xenabi.MemoryDomain{DomID: uint16(mm.DomIDSelf)})
		g.want(256, memNr, xenabi.XenMemCurrentReservation, a)
		g.want(256+32, memNr, xenabi.XenMemMaximumReservation, a)
		g.want(255, memNr, xenabi.XenMemMaximumGPFN, a)
		g.want(255, memNr, xenabi.XenMemMaximumRamPage)
		g.want(xenabi.EPERM, memNr, xenabi.XenMemMaximumGPFN, g.arg(&xenabi.MemoryDomain{DomID: 0}))
		g.want(xenabi.ESRCH, memNr, xenabi.XenMemMaximumGPFN, g.arg(&xenabi.MemoryDomain{DomID: 9}))
		for cmd, e := range map[uint64]xenabi.Errno{
			xenabi.XenMemExchange: xenabi.ENOSYS, xenabi.XenMemMachphysMapping: xenabi.ENOSYS, xenabi.XenMemMachineMemoryMap: xenabi.ENOSYS,
			xenabi.XenMemAcquireResource: xenabi.EOPNOTSUPP, xenabi.XenMemGetVNUMAInfo: xenabi.EOPNOTSUPP,
			xenabi.XenMemSetMemoryMap: xenabi.EPERM, xenabi.XenMemSetPoDTarget: xenabi.EPERM, xenabi.XenMemClaimPages: xenabi.EPERM,
		} {
			g.want(e, memNr, cmd, argAt)
		}
		g.want(0, memNr, xenabi.XenMemGetSharingFreedPages)
	})
}

func TestMemoryMap(t *testing.T) {
	both(t, func(t *testing.T, g *guest) {
		m := xenabi.MemoryMap{NrEntries: 10, Buffer: dataAt}
		g.want(xenabi.ENOSYS, memNr, xenabi.XenMemMemoryMap, g.arg(&m))
		var e [20]byte
		binary.LittleEndian.PutUint64(e[8:], 0xa0000)
		e[16] = 1
		g.d.MemoryMap = [][20]byte{e, {0: 7}}
		g.want(0, memNr, xenabi.XenMemMemoryMap, g.arg(&m))
		if g.result(&m); m.NrEntries != 2 || g.get32(dataAt+8) != 0xa0000 || g.get32(dataAt+20) != 7 {
			t.Errorf("%+v", m)
		}
		for _, n := range []uint32{0, 1} {
			m = xenabi.MemoryMap{NrEntries: n, Buffer: dataAt}
			g.want(0, memNr, xenabi.XenMemMemoryMap, g.arg(&m))
			if g.result(&m); m.NrEntries != n {
				t.Errorf("%d of %d entries", m.NrEntries, n)
			}
		}
		g.want(0, memNr, xenabi.XenMemMemoryMap, g.arg(&xenabi.MemoryMap{NrEntries: ^uint32(0), Buffer: dataAt}))
		g.want(xenabi.EFAULT, memNr, xenabi.XenMemMemoryMap, g.arg(&xenabi.MemoryMap{NrEntries: 1, Buffer: 0x10000000}))
	})
}

// TestArgumentsOnDemand: a buffer that nobody touched before is made, as long as the
// quota has room.
func TestArgumentsOnDemand(t *testing.T) {
	g := newGuest(t, 64)
	const first = 0x50000 // what nowhereAt is mapped to
	if err := g.d.Space.MapPoD(first, 3); err != nil {
		t.Fatal(err)
	}
	to := func(f mm.GFN) {
		domaintest.SetPTE(t, g.v, nowhereAt>>12, uint64(f.Addr())|domaintest.PTEPresent|domaintest.PTEWrite)
	}
	const version, extra = xenabi.HypercallXenVersion, 1 // XENVER_extraversion writes 16 bytes
	before := g.d.Space.TotPages()
	g.want(xenabi.EPERM, memNr, xenabi.XenMemCurrentReservation, nowhereAt) // fresh memory is domain 0's number
	to(first + 1)
	g.want(0, version, extra, nowhereAt+8)
	if b := g.get(nowhereAt+8, 1); b[0] == 0 {
		t.Error("nothing was written")
	}
	if n := g.d.Space.TotPages() - before; n != 2 {
		t.Errorf("%d pages were made", n)
	}
	g.d.Space.SetMaxPages(before + 2)
	to(first + 2)
	g.want(xenabi.EFAULT, memNr, xenabi.XenMemCurrentReservation, nowhereAt)
	g.want(xenabi.EFAULT, version, extra, nowhereAt)
	if n := g.d.Space.TotPages() - before; n != 2 {
		t.Errorf("%d pages at a quota of 2", n)
	}
}
