package hypercall

import (
	"encoding/binary"
	"testing"

	"nidus/kernel/xenabi"
	"nidus/mm"
	"nidus/mm/pvmmu"
)

// pvMMU is the table under test: what package pvmmu is reached by.
var pvMMU = Table{
	xenabi.HypercallMMUUpdate:                  mmuUpdate,
	xenabi.HypercallMMUExtOp:                   mmuExtOp,
	xenabi.HypercallUpdateVAMapping:            updateVAMapping,
	xenabi.HypercallUpdateVAMappingOtherdomain: updateVAMappingOtherdomain,
	xenabi.HypercallUpdateDescriptor:           updateDescriptor,
}

// mmuGuest is a guest with page tables in frames f[0] (L4) to f[3] (L1), and some more
// frames. Its arguments are in other memory.
type mmuGuest struct {
	*guest
	mmu   *pvmmu.Domain
	f     []mm.MFN
	m2p   map[mm.MFN]uint64
	all   int
	sets  []pvmmu.CPUSet
	pages []mm.GuestVirt
	roots [2]mm.MFN
	ldt   uint32
}

func (g *mmuGuest) FlushAll()               { g.all++ }
func (g *mmuGuest) FlushSet(s pvmmu.CPUSet) { g.sets = append(g.sets, s) }
func (g *mmuGuest) FlushPage(_ pvmmu.CPUSet, va mm.GuestVirt) {
	g.pages = append(g.pages, va)
}
func (g *mmuGuest) SetRoot(kernel bool, m mm.MFN) {
	if kernel {
		g.roots[0] = m
	} else {
		g.roots[1] = m
	}
}
func (g *mmuGuest) SetLDT(_ mm.GuestVirt, n uint32) error { g.ldt = n; return nil }

func newMMUGuest(tb testing.TB, bits int) *mmuGuest {
	g := &mmuGuest{guest: newGuest(tb, bits), m2p: map[mm.MFN]uint64{}}
	mem := g.m.Host.Memory
	types := pvmmu.NewTypes(make([]pvmmu.FrameType, 4096))
	g.mmu = pvmmu.NewDomain(pvmmu.Config{ID: g.d.ID, Memory: mem, Types: types, Flusher: g, PAE: bits == 32,
		Descriptor: func(d uint64) (uint64, bool) { return d, d != 13<<32 },
		M2P:        func(m mm.MFN, pfn uint64) { g.m2p[m] = pfn }})
	for _, v := range g.d.VCPUs {
		v.MMU = g.mmu.AddVCPU(g)
	}
	for range 300 {
		m, ok := mem.AllocFrames(0, mm.FrameGuest, g.d.ID, mm.ZoneAny)
		if !ok {
			tb.Fatal("no memory")
		}
		mem.Page(m).Clear()
		g.f = append(g.f, m)
	}
	tb.Cleanup(func() {
		for g.mmu.Release() == pvmmu.ErrAgain {
		}
		for _, m := range g.f {
			if s := mem.FreeFrames(m, 0); s != mm.FrameOK {
				tb.Errorf("frame %#x: %v, %+v", m, s, types.Info(m))
			}
		}
	})
	for i := range 3 {
		if bits == 32 && i == 0 {
			continue // there is no L4
		}
		mem.Page(g.f[i]).Store64(0, uint64(g.f[i+1])<<12|1)
	}
	return g
}

// top is the frame of the highest table, and its level.
func (g *mmuGuest) top() (mm.MFN, uint64) {
	if g.bits == 32 {
		return g.f[1], xenabi.MMUExtPinL3Table
	}
	return g.f[0], xenabi.MMUExtPinL4Table
}

// made makes a hypercall of the table under test until it is done.
func (g *mmuGuest) made(nr uint64, args ...uint64) int64 {
	g.Helper()
	r := g.v.HV.Regs()
	var a [6]uint64
	copy(a[:], args)
	r.RAX = nr
	if g.bits == 64 {
		r.RDI, r.RSI, r.RDX, r.R10, r.R8, r.R9 = a[0], a[1], a[2], a[3], a[4], a[5]
	} else {
		r.RBX, r.RCX, r.RDX, r.RSI, r.RDI, r.RBP = a[0], a[1], a[2], a[3], a[4], a[5]
	}
	for n := 0; ; n++ {
		if g.last = pvMMU.handle(g.v); g.last.Kind != Repeat {
			return g.rax()
		}
		if n == 100000 {
			g.Fatalf("hypercall %d %#x does not come to an end", nr, args)
		}
	}
}

func (g *mmuGuest) is(want any, nr uint64, args ...uint64) {
	g.Helper()
	w := int64(0)
	if e, ok := want.(xenabi.Errno); ok {
		w = -int64(e)
	}
	if got := g.made(nr, args...); got != w {
		g.Errorf("hypercall %d %#x = %d, want %v", nr, args, got, want)
	}
}

// updates puts pairs of ptr and val at dataAt.
func (g *mmuGuest) updates(pairs ...uint64) uint64 {
	g.Helper()
	var b []byte
	for _, x := range pairs {
		b = binary.LittleEndian.AppendUint64(b, x)
	}
	g.put(dataAt, b)
	return dataAt
}

// exts puts operations at dataAt.
func (g *mmuGuest) exts(ops ...xenabi.MMUExtOp) uint64 {
	g.Helper()
	n := xenabi.Size(g.w(), &xenabi.MMUExtOp{})
	b := make([]byte, n*len(ops))
	for i := range ops {
		xenabi.Encode(g.w(), b[n*i:], &ops[i])
	}
	g.put(dataAt, b)
	return dataAt
}

// pte reads an entry.
func (g *mmuGuest) pte(f, i int) uint64 { return g.m.Host.Memory.Page(g.f[f]).Load64(8 * i) }

// at is the machine address of an entry.
func (g *mmuGuest) at(f, i int) uint64 { return uint64(g.f[f])<<12 | uint64(i)<<3 }

// to is an entry for a frame.
func (g *mmuGuest) to(f int, flags uint64) uint64 { return uint64(g.f[f])<<12 | flags }

const (
	self     = uint64(mm.DomIDSelf)
	doneAt   = argAt + 0x100
	extNr    = xenabi.HypercallMMUExtOp
	updateNr = xenabi.HypercallMMUUpdate
	vaNr     = xenabi.HypercallUpdateVAMapping
)

// bothMMU runs a test as a guest of each width.
func bothMMU(t *testing.T, f func(t *testing.T, g *mmuGuest)) {
	t.Run("64", func(t *testing.T) { f(t, newMMUGuest(t, 64)) })
	t.Run("32", func(t *testing.T) { f(t, newMMUGuest(t, 32)) })
}

// pinned makes the tables the guest's.
func (g *mmuGuest) pinned() {
	g.Helper()
	top, pin := g.top()
	g.is(0, extNr, g.exts(
		xenabi.MMUExtOp{Cmd: uint32(pin), Arg1: uint64(top)},
		xenabi.MMUExtOp{Cmd: xenabi.MMUExtNewBaseptr, Arg1: uint64(top)}), 2, doneAt, self)
	if n := g.get32(doneAt); n != 2 {
		g.Errorf("%d were done", n)
	}
}

func TestMMUUpdate(t *testing.T) {
	bothMMU(t, func(t *testing.T, g *mmuGuest) {
		g.pinned()
		list := g.updates(g.at(3, 1), g.to(5, 3), g.at(3, 2), g.to(6, 1), uint64(g.f[5])<<12|xenabi.MMUMachphysUpdate, 0x123)
		g.is(0, updateNr, list, 3, doneAt, self)
		if n := g.get32(doneAt); n != 3 {
			t.Errorf("%d were done", n)
		}
		user := uint64(0)
		if g.bits == 64 {
			user = 4
		}
		if e := g.pte(3, 1); e != g.to(5, 3|user) {
			t.Errorf("the entry is %#x", e)
		}
		if g.m2p[g.f[5]] != 0x123 {
			t.Errorf("the table says %#x", g.m2p)
		}
		// The second one is bad: the first is done, the third isn't.
		list = g.updates(g.at(3, 3), g.to(5, 1), g.at(3, 4), g.to(3, 3), g.at(3, 5), g.to(5, 1))
		g.is(xenabi.EBUSY, updateNr, list, 3, doneAt, self)
		if n := g.get32(doneAt); n != 1 || g.pte(3, 3) == 0 || g.pte(3, 5) != 0 {
			t.Errorf("%d were done", n)
		}
		// What accesses set stays.
		g.is(0, updateNr, g.updates(g.at(3, 3), g.to(5, 0x61)), 1, 0, self)
		g.is(0, updateNr, g.updates(g.at(3, 3)|xenabi.MMUPTUpdatePreserveAD, g.to(5, 3)), 1, 0, self)
		if e := g.pte(3, 3); e != g.to(5, 0x63|user) {
			t.Errorf("the entry is %#x", e)
		}
		g.is(xenabi.ENOSYS, updateNr, g.updates(g.at(3, 3)|4, 0), 1, 0, self)
		g.is(xenabi.EPERM, updateNr, g.updates(g.at(3, 3), 1<<45|1), 1, 0, self)
		g.is(xenabi.EINVAL, updateNr, g.updates(g.at(3, 3), g.to(5, 0x11)), 1, 0, self)
		// Many, at the end of the memory that there is.
		for n, want := range map[uint64]any{200: 0, 256: 0, 300: xenabi.EFAULT} {
			at := uint64(absentAt) - 256*16
			b := make([]byte, 256*16)
			for i := range 256 {
				binary.LittleEndian.PutUint64(b[16*i:], g.at(3, 8+i))
				binary.LittleEndian.PutUint64(b[16*i+8:], g.to(7, 1))
			}
			if g.bits == 32 {
				at = 256*4096 - uint64(len(b)) // the end of its memory
			}
			if err := g.d.Space.WritePhys(mm.GuestPhys(at), b); err != nil {
				t.Fatal(err)
			}
			g.is(want, updateNr, at, n, doneAt, self)
			if done := g.get32(doneAt); uint64(done) != min(n, 256) {
				t.Errorf("%d of %d were done", done, n)
			}
		}
		for _, fd := range []struct {
			id   uint64
			want any
		}{{0, xenabi.EPERM}, {uint64(g.d.ID), 0}, {99, xenabi.ESRCH}, {uint64(mm.DomIDIO), xenabi.EINVAL}, {uint64(mm.DomIDXen), xenabi.EPERM},
			{self | uint64(g.d.ID+1)<<16, 0}, {self | 1<<16, xenabi.EPERM}, {self | 100<<16, xenabi.ESRCH}} {
			g.is(fd.want, updateNr, g.updates(g.at(3, 3), 0), 1, 0, fd.id)
		}
		g.is(0, updateNr, badCanon, 0, 0, self)
		if g.bits == 64 {
			g.is(xenabi.EFAULT, updateNr, badCanon, 1, 0, self)
			g.is(xenabi.EFAULT, updateNr, dataAt, 1, badCanon, self)
		}
	})
}

func TestMMUExt(t *testing.T) {
	bothMMU(t, func(t *testing.T, g *mmuGuest) {
		g.pinned()
		top, _ := g.top()
		user, wantRoot := any(0), g.f[9]
		if g.bits == 32 {
			user, wantRoot = xenabi.ENOSYS, 0
		}
		for _, x := range []struct {
			op   xenabi.MMUExtOp
			want any
		}{
			{xenabi.MMUExtOp{Cmd: xenabi.MMUExtPinL1Table, Arg1: uint64(g.f[8])}, 0},
			{xenabi.MMUExtOp{Cmd: xenabi.MMUExtPinL1Table, Arg1: uint64(g.f[8])}, xenabi.EINVAL},
			{xenabi.MMUExtOp{Cmd: xenabi.MMUExtPinL2Table, Arg1: uint64(g.f[8])}, xenabi.EINVAL},
			{xenabi.MMUExtOp{Cmd: xenabi.MMUExtUnpinTable, Arg1: uint64(g.f[8])}, 0},
			{xenabi.MMUExtOp{Cmd: xenabi.MMUExtUnpinTable, Arg1: uint64(g.f[8])}, xenabi.EINVAL},
			{xenabi.MMUExtOp{Cmd: xenabi.MMUExtUnpinTable, Arg1: ^uint64(0)}, xenabi.EINVAL},
			{xenabi.MMUExtOp{Cmd: xenabi.MMUExtNewUserBaseptr, Arg1: uint64(g.f[9])}, user},
			{xenabi.MMUExtOp{Cmd: xenabi.MMUExtNewBaseptr, Arg1: 0}, xenabi.EINVAL},
			{xenabi.MMUExtOp{Cmd: xenabi.MMUExtTlbFlushLocal}, 0},
			{xenabi.MMUExtOp{Cmd: xenabi.MMUExtTlbFlushAll}, 0},
			{xenabi.MMUExtOp{Cmd: xenabi.MMUExtTlbFlushMulti, Arg2: dataAt + 0x800}, 0},
			{xenabi.MMUExtOp{Cmd: xenabi.MMUExtInvlpgLocal, Arg1: 0x1234}, 0},
			{xenabi.MMUExtOp{Cmd: xenabi.MMUExtInvlpgAll, Arg1: 0x1235}, 0},
			{xenabi.MMUExtOp{Cmd: xenabi.MMUExtInvlpgMulti, Arg1: 0x1236, Arg2: dataAt + 0x800}, 0},
			{xenabi.MMUExtOp{Cmd: xenabi.MMUExtTlbFlushMulti, Arg2: 0xf5000000}, xenabi.EFAULT},
			{xenabi.MMUExtOp{Cmd: xenabi.MMUExtInvlpgMulti, Arg2: 0xf5000000}, xenabi.EFAULT},
			{xenabi.MMUExtOp{Cmd: xenabi.MMUExtFlushCache}, xenabi.EACCES},
			{xenabi.MMUExtOp{Cmd: xenabi.MMUExtFlushCacheGlobal}, xenabi.EACCES},
			{xenabi.MMUExtOp{Cmd: xenabi.MMUExtSetLDT, Arg1: 0x5000, Arg2: 33}, 0},
			{xenabi.MMUExtOp{Cmd: xenabi.MMUExtSetLDT, Arg1: 0x5001, Arg2: 33}, xenabi.EINVAL},
			{xenabi.MMUExtOp{Cmd: xenabi.MMUExtSetLDT, Arg1: 0x5000, Arg2: 8193}, xenabi.EINVAL},
			{xenabi.MMUExtOp{Cmd: xenabi.MMUExtClearPage, Arg1: uint64(g.f[10])}, 0},
			{xenabi.MMUExtOp{Cmd: xenabi.MMUExtClearPage, Arg1: uint64(top)}, xenabi.EINVAL},
			{xenabi.MMUExtOp{Cmd: xenabi.MMUExtCopyPage, Arg1: uint64(g.f[10]), Arg2: uint64(top)}, 0},
			{xenabi.MMUExtOp{Cmd: xenabi.MMUExtCopyPage, Arg1: uint64(top), Arg2: uint64(g.f[10])}, xenabi.EINVAL},
			{xenabi.MMUExtOp{Cmd: xenabi.MMUExtMarkSuper}, xenabi.EOPNOTSUPP},
			{xenabi.MMUExtOp{Cmd: xenabi.MMUExtUnmarkSuper}, xenabi.EOPNOTSUPP},
			{xenabi.MMUExtOp{Cmd: 14}, xenabi.ENOSYS},
			{xenabi.MMUExtOp{Cmd: 21}, xenabi.ENOSYS},
			{xenabi.MMUExtOp{Cmd: ^uint32(0)}, xenabi.ENOSYS},
		} {
			g.put(dataAt+0x800, []byte{2})
			if got, want := g.made(extNr, g.exts(x.op), 1, doneAt, self), int64(0); true {
				if e, ok := x.want.(xenabi.Errno); ok {
					want = -int64(e)
				}
				if got != want {
					t.Errorf("%+v: %d, want %d", x.op, got, want)
				}
			}
		}
		if g.roots[1] != wantRoot || g.ldt != 33 || len(g.pages) != 3 || len(g.sets) != 2 || g.sets[1] != (pvmmu.CPUSet{2}) {
			t.Errorf("root %#x, LDT %d, pages %#x, sets %v", g.roots, g.ldt, g.pages, g.sets)
		}
	})
}

// TestMMULongPin pins tables that take more than one go: the guest repeats the call by its
// own registers.
func TestMMULongPin(t *testing.T) {
	bothMMU(t, func(t *testing.T, g *mmuGuest) {
		for i := range 200 {
			g.m.Host.Memory.Page(g.f[2]).Store64(8*(1+i), g.to(50+i, 1))
		}
		top, pin := g.top()
		list := g.exts(xenabi.MMUExtOp{Cmd: xenabi.MMUExtTlbFlushLocal}, xenabi.MMUExtOp{Cmd: uint32(pin), Arg1: uint64(top)},
			xenabi.MMUExtOp{Cmd: xenabi.MMUExtTlbFlushLocal})
		steps := 0
		r := g.v.HV.Regs()
		r.RAX = extNr
		r.RDI, r.RSI, r.RDX, r.R10 = list, 3, doneAt, self
		if g.bits == 32 {
			r.RBX, r.RCX, r.RDX, r.RSI = list, 3, doneAt, self
		}
		for ; ; steps++ {
			if pvMMU.handle(g.v).Kind != Repeat {
				break
			}
		}
		if done := g.get32(doneAt); steps < 10 || g.rax() != 0 || done != 3 {
			t.Errorf("result %d after %d steps, %d were done", g.rax(), steps, done)
		}
		steps = 0
		g.is(0, extNr, g.exts(xenabi.MMUExtOp{Cmd: xenabi.MMUExtUnpinTable, Arg1: uint64(top)}), 1, doneAt, self)
		if done := g.get32(doneAt); done != 1 {
			t.Errorf("%d were done", done)
		}
		if g.mmu.Pending() != nil {
			t.Error("the call came to its end before its work")
		}
	})
}

func TestUpdateVAMapping(t *testing.T) {
	bothMMU(t, func(t *testing.T, g *mmuGuest) {
		g.pinned()
		args := func(va, val, flags uint64, more ...uint64) []uint64 {
			if g.bits == 32 {
				return append([]uint64{va, val & (1<<32 - 1), val >> 32, flags}, more...)
			}
			return append([]uint64{va, val, flags}, more...)
		}
		g.put(dataAt, []byte{2})
		for _, x := range []struct {
			va, val, flags uint64
			want           any
		}{
			{0x1000, g.to(5, 3), xenabi.UVMFNone, 0},
			{0x1000, g.to(5, 1), xenabi.UVMFTLBFlush | xenabi.UVMFLocal, 0},
			{0x1000, g.to(5, 1), xenabi.UVMFInvlpg | xenabi.UVMFAll, 0},
			{0x1000, g.to(5, 1), xenabi.UVMFInvlpg | dataAt, 0},
			{0x1000, g.to(5, 1), xenabi.UVMFTLBFlush | 0xf5000000, xenabi.EFAULT},
			{0x1000, g.to(5, 1), 3 | xenabi.UVMFAll, 0},
			{0x1000, g.to(3, 3), xenabi.UVMFNone, xenabi.EBUSY},
			{0x200000, g.to(5, 1), xenabi.UVMFNone, xenabi.EINVAL},
			{0xf5800000, g.to(5, 1), xenabi.UVMFNone, xenabi.EINVAL},
		} {
			g.is(x.want, vaNr, args(x.va, x.val, x.flags)...)
		}
		if len(g.pages) != 2 || len(g.sets) != 1 {
			t.Errorf("flushes of %#x, %v", g.pages, g.sets)
		}
		for id, want := range map[uint64]any{self: 0, uint64(g.d.ID): 0, 0: xenabi.EPERM, 99: xenabi.ESRCH, uint64(mm.DomIDIO): xenabi.EINVAL} {
			g.is(want, xenabi.HypercallUpdateVAMappingOtherdomain, args(0x1000, g.to(5, 3), 0, id)...)
		}
		if g.bits == 64 {
			for _, va := range []uint64{badCanon, 0xffff800000000000, 0xffff87fffffff000} {
				g.is(xenabi.EINVAL, vaNr, args(va, 0, 0)...)
			}
		}
	})
}

// update is a mmu_update of a 64-bit guest, and nothing besides.
func (g *mmuGuest) update(list, n uint64) { g.list(updateNr, list, n) }

// list is a hypercall with a list of requests.
func (g *mmuGuest) list(nr, list, n uint64) {
	r := g.v.HV.Regs()
	r.RAX, r.RDI, r.RSI, r.RDX, r.R10 = nr, list, n, 0, self
	if g.last = pvMMU.handle(g.v); r.RAX != 0 {
		g.Fatalf("hypercall %d: %d", nr, int64(r.RAX))
	}
}

func TestUpdateDescriptor(t *testing.T) {
	bothMMU(t, func(t *testing.T, g *mmuGuest) {
		g.pinned()
		if err := g.mmu.GetDescriptors(g.f[8]); err != nil {
			t.Fatal(err)
		}
		args := func(ptr, desc uint64) []uint64 {
			if g.bits == 32 {
				return []uint64{ptr & (1<<32 - 1), ptr >> 32, desc & (1<<32 - 1), desc >> 32}
			}
			return []uint64{ptr, desc}
		}
		for _, x := range []struct {
			ptr, desc uint64
			want      any
		}{
			{g.at(8, 2), 0x123400005678, 0},
			{g.at(8, 2), 13 << 32, xenabi.EINVAL},
			{g.at(8, 2) + 4, 0, xenabi.EINVAL},
			{g.at(3, 2), 0, xenabi.EINVAL},
			{1 << 50, 0, xenabi.EINVAL},
		} {
			g.is(x.want, xenabi.HypercallUpdateDescriptor, args(x.ptr, x.desc)...)
		}
		if e := g.pte(8, 2); e != 0x123400005678 {
			t.Errorf("the descriptor is %#x", e)
		}
		g.mmu.PutDescriptors(g.f[8])
	})
}

func TestMMUUpdateDoesNotAllocate(t *testing.T) {
	g := newMMUGuest(t, 64)
	g.pinned()
	list := g.updates(g.at(3, 1), g.to(5, 3), g.at(3, 1), g.to(6, 3))
	if n := testing.AllocsPerRun(100, func() { g.update(list, 2) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestMMUExtDoesNotAllocate(t *testing.T) {
	g := newMMUGuest(t, 64)
	g.pinned()
	list := g.exts(xenabi.MMUExtOp{Cmd: xenabi.MMUExtTlbFlushAll}, xenabi.MMUExtOp{Cmd: xenabi.MMUExtTlbFlushAll})
	if n := testing.AllocsPerRun(100, func() { g.list(xenabi.HypercallMMUExtOp, list, 2) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if g.all < 200 {
		t.Errorf("%d flushes", g.all)
	}
}

func BenchmarkMMUUpdate(b *testing.B) {
	g := newMMUGuest(b, 64)
	g.pinned()
	list := g.updates(g.at(3, 1), g.to(5, 3), g.at(3, 1), g.to(6, 3))
	for _, n := range []uint64{1, 2} {
		b.Run(map[uint64]string{1: "one", 2: "two"}[n], func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				g.update(list, n)
			}
		})
	}
}
