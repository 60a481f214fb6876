package pvmmu

import (
	"testing"

	"nidus/mm"
)

func TestPin(t *testing.T) {
	g := newMachine(t, 64).guest(myself, 16, nil)
	defer g.end()
	g.tree(writable | global)
	g.pin(nil, g.m[0], 4)
	g.is(g.m[0], L4, 1, 2)
	g.is(g.m[1], L3, 1, 2)
	g.is(g.m[2], L2, 1, 2)
	g.is(g.m[3], L1, 1, 2)
	g.is(g.m[4], Writable, 1, 2)
	if e := g.entry(g.m[3], 0); e != to(g.m[4], writable|user) {
		t.Errorf("the L1 entry is %#x", e)
	}
	if e := g.entry(g.m[0], 0); e != to(g.m[1], writable|user) {
		t.Errorf("the L4 entry is %#x", e)
	}
	for i := range HoleSlots {
		if e := g.entry(g.m[0], holeStart+i); uint64(e) != g.d.cfg.Hole[i] {
			t.Errorf("the hypervisor's entry %d is %#x", i, e)
		}
	}
	g.pin(ErrState, g.m[0], 4)
	g.pin(ErrType, g.m[0], 3)
	g.pin(ErrType, g.m[4], 1)
	g.pin(ErrArgument, g.m[5], 5)
	g.pin(ErrArgument, g.m[5], 0)
	g.pin(ErrFrame, 1, 1)
	g.pin(ErrFrame, 1<<40, 1)
	g.unpin(ErrState, g.m[1])
	g.unpin(ErrFrame, 1<<40)
	g.unpin(nil, g.m[0])
	for i := range 5 {
		if i := g.d.types.Info(g.m[i]); i.Count != 0 || i.Validated {
			t.Errorf("after it was unpinned: %+v", i)
		}
		g.is(g.m[i], g.d.types.Info(g.m[i]).Type, 0, 1)
	}
	if e := g.entry(g.m[0], holeStart); e != 0 {
		t.Errorf("the guest finds the hypervisor's entry %#x", e)
	}
	g.unpin(ErrState, g.m[0])
}

// TestInvalidTables shows what no table may have, and that nothing is left of an attempt.
func TestInvalidTables(t *testing.T) {
	for name, bad := range map[string]func(g *guest) error{
		"own table writable":      func(g *guest) error { g.put(g.m[3], 1, to(g.m[3], writable)); return ErrProtected },
		"L2 table writable":       func(g *guest) error { g.put(g.m[3], 1, to(g.m[2], writable)); return ErrProtected },
		"foreign frame":           func(g *guest) error { g.put(g.m[3], 511, to(base+60, 0)); return ErrFrame },
		"beyond memory":           func(g *guest) error { g.put(g.m[3], 511, to(1<<39, 0)); return ErrMachine },
		"L1 write-through":        func(g *guest) error { g.put(g.m[3], 1, to(g.m[4], pwt)); return ErrEntry },
		"L1 uncached":             func(g *guest) error { g.put(g.m[3], 1, to(g.m[4], pcd)); return ErrEntry },
		"L1 PAT":                  func(g *guest) error { g.put(g.m[3], 1, to(g.m[4], large)); return ErrEntry },
		"large page":              func(g *guest) error { g.put(g.m[2], 1, to(g.m[8], large)); return ErrEntry },
		"global L3":               func(g *guest) error { g.put(g.m[1], 1, to(g.m[2], global)); return ErrEntry },
		"L2 uncached":             func(g *guest) error { g.put(g.m[2], 1, to(g.m[3], pcd)); return ErrEntry },
		"L1 as L2":                func(g *guest) error { g.put(g.m[1], 1, to(g.m[3], 0)); return ErrType },
		"L4 in L2":                func(g *guest) error { g.put(g.m[2], 1, to(g.m[0], 0)); return ErrType },
		"writable linear":         func(g *guest) error { g.put(g.m[0], 1, to(g.m[0], writable)); return ErrLinear },
		"L1 table foreign":        func(g *guest) error { g.put(g.m[2], 9, to(base+61, 0)); return ErrFrame },
		"linear to one not valid": func(g *guest) error { g.put(g.m[1], 9, to(g.m[9], 0)); g.put(g.m[9], 3, to(g.m[1], 0)); return ErrType },
	} {
		t.Run(name, func(t *testing.T) {
			k := newMachine(t, 64)
			k.AllocAtFor(base+60, other)
			k.AllocAtFor(base+61, other)
			g := k.guest(myself, 16, nil)
			g.tree(writable)
			g.pin(bad(g), g.m[0], 4)
			for i, m := range g.m {
				if g.f.Info(m).Refs != 1 || g.d.types.Info(m).Count != 0 {
					t.Errorf("frame %d is left with %d references, %+v", i, g.f.Info(m).Refs, g.d.types.Info(m))
				}
			}
			g.end()
		})
	}
}

// AllocAtFor takes a frame for another domain.
func (k *machine) AllocAtFor(m mm.MFN, d mm.DomID) {
	k.Helper()
	if s := k.f.AllocAt(m, 0, mm.FrameGuest, d); s != mm.FrameOK {
		k.Fatal(s)
	}
}

func TestUpdate(t *testing.T) {
	k := newMachine(t, 64)
	k.AllocAtFor(base+60, other)
	g := k.guest(myself, 16, nil)
	defer g.end()
	g.tree(writable)
	g.pin(nil, g.m[0], 4)
	// L1 entries.
	g.update(nil, g.m[3], 1, to(g.m[5], writable))
	g.is(g.m[5], Writable, 1, 2)
	g.update(nil, g.m[3], 1, to(g.m[5], 0))
	g.is(g.m[5], Writable, 0, 2)
	g.update(nil, g.m[3], 1, to(g.m[5], noExec))
	g.is(g.m[5], Writable, 0, 2)
	g.update(nil, g.m[3], 1, 0xabcd0) // any that is not present
	g.is(g.m[5], Writable, 0, 1)
	g.update(ErrFrame, g.m[3], 1, to(base+60, 0))
	g.update(ErrProtected, g.m[3], 1, to(g.m[2], writable))
	g.update(ErrMachine, g.m[3], 1, to(1<<38, 0))
	g.update(ErrEntry, g.m[3], 1, to(g.m[5], pcd))
	g.update(nil, g.m[3], 1, to(g.m[2], 0))
	g.update(nil, g.m[3], 1, 0)
	g.update(ErrFrame, base+60, 1, 0)
	g.update(ErrFrame, 1<<39, 1, 0)
	g.want(ErrUnsupported, func() error { return g.v.Update(pt(g.m[3], 1)|4, 0) })
	// Accessed and dirty.
	g.update(nil, g.m[3], 1, to(g.m[5], dirtied))
	g.want(nil, func() error { return g.v.Update(pt(g.m[3], 1)|2, uint64(to(g.m[5], noExec))) })
	if e := g.entry(g.m[3], 1); e != to(g.m[5], noExec|user|dirtied) {
		t.Errorf("the entry is %#x", e)
	}
	// Upper levels: a new L1 table, a table for a page, the hypervisor's entries.
	g.put(g.m[6], 0, to(g.m[7], writable))
	g.update(nil, g.m[2], 1, to(g.m[6], writable))
	g.is(g.m[6], L1, 1, 2)
	g.update(nil, g.m[2], 1, to(g.m[6], 0))
	g.is(g.m[6], L1, 1, 2)
	g.update(nil, g.m[2], 2, to(g.m[6], 0))
	g.is(g.m[6], L1, 2, 3)
	g.update(ErrType, g.m[2], 1, to(g.m[4], 0))
	g.update(ErrEntry, g.m[2], 1, to(g.m[6], large))
	for i := holeStart; i < holeEnd; i++ {
		g.update(ErrSlot, g.m[0], i, to(g.m[1], 0))
		g.update(ErrSlot, g.m[0], i, 0)
	}
	g.update(nil, g.m[2], 1, 0)
	g.update(nil, g.m[2], 2, 0)
	g.is(g.m[6], L1, 0, 1)
	// Ordinary memory.
	g.update(nil, g.m[9], 4, 0x1234567)
	if e := g.entry(g.m[9], 4); e != 0x1234567 {
		t.Errorf("the word is %#x", e)
	}
	g.is(g.m[9], Writable, 0, 1)
}

func TestLinear(t *testing.T) {
	g := newMachine(t, 64).guest(myself, 24, nil)
	defer g.end()
	g.tree(writable)
	g.put(g.m[0], 300, to(g.m[0], 0)) // itself
	g.pin(nil, g.m[0], 4)
	g.is(g.m[0], L4, 1, 2)
	g.update(ErrLinear, g.m[0], 300, to(g.m[0], writable))
	g.update(nil, g.m[0], 300, to(g.m[0], noExec))
	g.pin(nil, g.m[8], 4)
	g.pin(nil, g.m[9], 4)
	// 0 refers to 8: 8 may refer to nobody then, and nobody to 0.
	g.update(nil, g.m[0], 301, to(g.m[8], 0))
	g.is(g.m[8], L4, 2, 3)
	g.update(nil, g.m[0], 302, to(g.m[8], 0))
	g.update(ErrLinear, g.m[0], 301, to(g.m[8], writable))
	g.update(ErrLinear, g.m[8], 301, to(g.m[0], 0))
	g.update(ErrLinear, g.m[9], 301, to(g.m[0], 0))
	g.update(ErrLinear, g.m[8], 301, to(g.m[9], 0))
	g.update(nil, g.m[8], 301, to(g.m[8], 0))
	g.update(nil, g.m[9], 301, to(g.m[8], 0))
	// It lives on as long as it is referred to.
	g.unpin(nil, g.m[8])
	g.is(g.m[8], L4, 3, 4)
	g.update(nil, g.m[0], 301, 0)
	g.update(nil, g.m[0], 302, 0)
	g.update(nil, g.m[9], 301, 0)
	g.is(g.m[8], L4, 0, 1)
	g.update(nil, g.m[9], 301, to(g.m[0], 0))
	g.unpin(nil, g.m[0])
	g.is(g.m[0], L4, 1, 2)
	g.unpin(nil, g.m[9])
	g.is(g.m[0], L4, 0, 1)
}

func TestRoots(t *testing.T) {
	g := newMachine(t, 64).guest(myself, 24, nil)
	defer g.end()
	g.tree(0)
	root := func(err error, kernel bool, m mm.MFN) {
		t.Helper()
		g.want(err, func() error { return g.v.SetRoot(kernel, m) })
	}
	root(nil, true, g.m[0])
	root(nil, true, g.m[0])
	root(nil, false, g.m[0])
	g.is(g.m[0], L4, 2, 3)
	root(ErrType, true, g.m[1])
	root(ErrFrame, true, 0)
	root(nil, true, g.m[10])
	if g.roots[true] != g.m[10] || g.roots[false] != g.m[0] {
		t.Errorf("roots %v", g.roots)
	}
	g.is(g.m[0], L4, 1, 2)
	root(nil, false, 0)
	g.is(g.m[0], L4, 0, 1)
	if _, ok := g.v.Translate(true, 0); ok {
		t.Error("a page is mapped by an empty table")
	}
	root(nil, true, g.m[0])
	if m, ok := g.v.Translate(true, 0); !ok || m != (Mapping{Frame: g.m[4], User: true}) {
		t.Errorf("mapped is %+v, %v", m, ok)
	}
	g.want(nil, func() error { return g.v.UpdateVA(0x1000, uint64(to(g.m[5], writable))) })
	g.is(g.m[5], Writable, 1, 2)
	for _, va := range []mm.GuestVirt{1 << 47, 0xffff800000000000, 0xffff87fffffff000, 1 << 30, 0x200000} {
		g.want(ErrAddress, func() error { return g.v.UpdateVA(va, 0) })
	}
}

// TestFlush shows that no frame changes its use while a translation to it may be left.
func TestFlush(t *testing.T) {
	g := newMachine(t, 64).guest(myself, 24, nil)
	defer g.end()
	g.d.AddVCPU(g)
	flushes := func(n int, op func()) {
		t.Helper()
		before := g.all
		if op(); g.all-before != n {
			t.Errorf("%d flushes, want %d", g.all-before, n)
		}
	}
	g.tree(writable)
	g.pin(nil, g.m[0], 4)
	// Writable, then a page table.
	flushes(0, func() { g.update(nil, g.m[3], 0, to(g.m[4], 0)) })
	flushes(1, func() { g.pin(nil, g.m[4], 1) })
	// A table that is linked in and taken out, then writable.
	flushes(0, func() { g.unpin(nil, g.m[4]) })
	flushes(1, func() { g.update(nil, g.m[3], 1, to(g.m[4], writable)) })
	// The flush was since: no other.
	g.update(nil, g.m[3], 1, 0)
	g.v.FlushAll()
	flushes(0, func() { g.pin(nil, g.m[4], 1); g.unpin(nil, g.m[4]) })
	// A frame that goes.
	g.update(nil, g.m[3], 1, to(g.m[5], 0))
	flushes(0, func() {
		if s := g.d.Claim(g.m[5], 0); s != mm.FrameBusy {
			t.Error(s)
		}
	})
	g.update(nil, g.m[3], 1, 0)
	flushes(1, func() {
		if s := g.d.Claim(g.m[5], 0); s != mm.FrameOK {
			t.Error(s)
		}
	})
	g.f.Unclaim(g.m[5], 0)
	g.is(g.m[5], None, 0, 1)
	if s := g.d.Claim(g.m[0], 0); s != mm.FrameBusy {
		t.Error("a pinned table can go:", s)
	}
	if s := g.d.Claim(1<<40, 0); s != mm.FrameBadRange {
		t.Error(s)
	}
}

// TestBoundedSteps validates and unmakes a large tree.
func TestBoundedSteps(t *testing.T) {
	g := newMachine(t, 256).guest(myself, 200, nil)
	w := g.d.AddVCPU(g)
	g.tree(writable)
	for i := 0; i < 100; i++ {
		g.put(g.m[2], i, to(g.m[50+i], 0))
		for k := range 512 {
			g.put(g.m[50+i], k, to(g.m[4], entry(k&1)<<1))
		}
	}
	again := 0
	for g.v.Pin(g.m[0], 4) == ErrAgain {
		again++
		if again == 3 { // another one comes in between
			for w.Pin(g.m[10], 1) == ErrAgain {
			}
		}
	}
	if again < 3 {
		t.Errorf("only %d steps", again)
	}
	g.is(g.m[0], L4, 1, 2)
	g.is(g.m[4], Writable, 100*256, 1+100*512)
	if err := g.v.Unpin(g.m[0]); err != nil {
		t.Fatal(err)
	}
	if g.d.Pending() != ErrAgain {
		t.Error("all was unmade in two steps")
	}
	g.end()
}

// TestAbandoned begins operations that are never repeated.
func TestAbandoned(t *testing.T) {
	for name, next := range map[string]func(g *guest, w *VCPU){
		"release":    func(g *guest, w *VCPU) {},
		"another":    func(g *guest, w *VCPU) { g.pin(nil, g.m[10], 2) },
		"by another": func(g *guest, w *VCPU) { g.want(nil, func() error { return w.Pin(g.m[10], 2) }) },
		"same by both": func(g *guest, w *VCPU) {
			g.want(nil, func() error { return w.Pin(g.m[0], 4) })
			g.pin(ErrState, g.m[0], 4)
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := newMachine(t, 256).guest(myself, 200, nil)
			w := g.d.AddVCPU(g)
			g.tree(writable)
			for i := 0; i < 100; i++ {
				g.put(g.m[2], i, to(g.m[50+i], 0))
			}
			if err := g.v.Pin(g.m[0], 4); err != ErrAgain {
				t.Fatal(err)
			}
			next(g, w)
			g.end()
		})
	}
}

func TestEmulate(t *testing.T) {
	g := newMachine(t, 64).guest(myself, 16, nil)
	defer g.end()
	g.tree(0)
	g.pin(nil, g.m[0], 4)
	e := to(g.m[5], writable)
	if _, ok, err := g.v.Emulate(pt(g.m[3], 2), 8, uint64(e), false, 0); !ok || err != nil {
		t.Error(ok, err)
	}
	g.is(g.m[5], Writable, 1, 2)
	if seen, ok, err := g.v.Emulate(pt(g.m[3], 2), 8, 0, true, 1); ok || err != nil || entry(seen) != e|user {
		t.Errorf("%#x, %v, %v", seen, ok, err)
	}
	// A byte: no longer writable.
	if seen, ok, err := g.v.Emulate(pt(g.m[3], 2), 1, 1, true, 7); !ok || err != nil || seen != 7 {
		t.Errorf("%#x, %v, %v", seen, ok, err)
	}
	g.is(g.m[5], Writable, 0, 2)
	// The high half of the frame's number.
	if _, _, err := g.v.Emulate(pt(g.m[3], 2)+4, 4, 0xff, false, 0); err != ErrMachine {
		t.Error(err)
	}
	if _, ok, err := g.v.Emulate(pt(g.m[2], 3), 8, uint64(to(g.m[6], 0)), false, 0); !ok || err != nil {
		t.Error(ok, err)
	}
	g.is(g.m[6], L1, 1, 2)
	for _, bad := range []struct {
		ptr  uint64
		size int
		err  error
	}{{pt(g.m[3], 2) + 1, 8, ErrArgument}, {pt(g.m[3], 2), 3, ErrArgument}, {pt(g.m[3], 2), 16, ErrArgument}, {pt(g.m[3], 2), 0, ErrArgument},
		{pt(g.m[8], 0), 8, ErrType}, {1 << 60, 8, ErrFrame}, {pt(g.m[0], holeStart), 8, ErrSlot}} {
		if _, _, err := g.v.Emulate(bad.ptr, bad.size, 0, false, 0); err != bad.err {
			t.Errorf("%#x, %d: %v, want %v", bad.ptr, bad.size, err, bad.err)
		}
	}
}

func TestDescriptors(t *testing.T) {
	g := newMachine(t, 64).guest(myself, 16, func(c *Config) {
		c.Descriptor = func(d uint64) (uint64, bool) { return d | 0x60, d != 13 }
	})
	defer g.end()
	g.tree(0)
	g.pin(nil, g.m[0], 4)
	if err := g.d.GetDescriptors(g.m[8]); err != nil {
		t.Fatal(err)
	}
	if err := g.d.GetDescriptors(g.m[8]); err != nil {
		t.Fatal(err)
	}
	g.is(g.m[8], Descriptors, 2, 3)
	if e := g.entry(g.m[8], 7); e != 0x60 {
		t.Errorf("%#x", e)
	}
	g.update(ErrProtected, g.m[3], 1, to(g.m[8], writable))
	g.update(ErrType, g.m[8], 1, 0)
	g.pin(ErrType, g.m[8], 1)
	for _, u := range []struct {
		ptr, desc uint64
		err       error
	}{{pt(g.m[8], 3), 0x100, nil}, {pt(g.m[8], 3), 13, ErrDescriptor}, {pt(g.m[8], 3) + 4, 0, ErrArgument},
		{pt(g.m[3], 3), 0, ErrType}, {pt(g.m[9], 3), 0x200, nil}, {1 << 60, 0, ErrFrame}} {
		if err := g.d.UpdateDescriptor(u.ptr, u.desc); err != u.err {
			t.Errorf("%#x, %#x: %v, want %v", u.ptr, u.desc, err, u.err)
		}
	}
	if e := g.entry(g.m[8], 3); e != 0x160 {
		t.Errorf("%#x", e)
	}
	g.put(g.m[10], 511, 13)
	if err := g.d.GetDescriptors(g.m[10]); err != ErrDescriptor {
		t.Error(err)
	}
	if err := g.d.GetDescriptors(g.m[3]); err != ErrType {
		t.Error(err)
	}
	o := g.guest(other, 2, func(c *Config) { c.Descriptor = g.d.cfg.Descriptor })
	if err := o.d.UpdateDescriptor(pt(g.m[8], 3), 0); err != ErrFrame {
		t.Error(err)
	}
	o.end()
	g.d.PutDescriptors(g.m[8])
	g.v.FlushAll()
	before := g.all
	g.d.PutDescriptors(g.m[8])
	g.update(nil, g.m[3], 1, to(g.m[8], writable))
	if g.all != before+1 {
		t.Errorf("%d flushes before it can be written", g.all-before)
	}
}

func TestSpecial(t *testing.T) {
	k := newMachine(t, 64)
	frame := func(kind mm.FrameKind, owner mm.DomID) mm.MFN {
		m, _ := k.AllocFrames(0, kind, owner, mm.ZoneAny)
		return m
	}
	m2p, shared, table, kernel := frame(mm.FrameKernel, mm.DomIDXen), frame(mm.FrameSpecial, mm.DomIDXen), frame(mm.FrameTable, myself), frame(mm.FrameKernel, mm.DomIDXen)
	g := k.guest(myself, 16, func(c *Config) {
		c.Special = func(m mm.MFN, f mm.Frame) Rights {
			switch m {
			case m2p:
				return ReadOnly
			case kernel:
				if f := k.f.Info(m); f.Refs != 1 {
					t.Error("a frame that is not for the guest was referenced")
				}
				return NoRights
			case table:
				t.Error("asked for a page table")
			}
			return ReadWrite
		}
	})
	g.tree(0)
	g.pin(nil, g.m[0], 4)
	g.update(nil, g.m[3], 1, to(m2p, 0))
	g.update(ErrFrame, g.m[3], 1, to(m2p, writable))
	g.update(nil, g.m[3], 2, to(shared, writable))
	g.is(shared, Writable, 1, 2)
	g.update(ErrFrame, g.m[3], 3, to(table, 0))
	g.update(ErrFrame, g.m[3], 3, to(kernel, 0))
	g.update(ErrFrame, g.m[2], 3, to(shared, 0))
	g.update(ErrFrame, shared, 3, 0)
	if s := g.d.Claim(table, 0); s != mm.FrameBadState {
		t.Error(s)
	}
	before := g.all
	g.update(nil, g.m[3], 2, 0)
	if g.all == before {
		t.Error("a page of the hypervisor's was not flushed when it was unmapped")
	}
	g.update(nil, g.m[3], 1, 0)
	g.is(m2p, None, 0, 1)
	k.FreeFrames(table, 0)
	g.end()
}

func TestForeign(t *testing.T) {
	k := newMachine(t, 64)
	o := k.guest(other, 4, nil)
	g := k.guest(myself, 16, nil)
	g.tree(0)
	g.pin(nil, g.m[0], 4)
	at := pt(g.m[3], 1)
	if err := g.v.MapForeign(at, uint64(to(o.m[0], writable)), other); err != nil {
		t.Fatal(err)
	}
	g.is(o.m[0], Writable, 1, 2)
	o.pin(ErrType, o.m[0], 1)
	if s := o.d.Claim(o.m[0], 0); s != mm.FrameBusy {
		t.Error(s)
	}
	// It can't be used for more.
	g.update(ErrFrame, g.m[3], 2, to(o.m[0], 0))
	g.update(ErrFrame, g.m[2], 2, to(o.m[0], 0))
	g.update(ErrFrame, g.m[3], 1, to(o.m[0], 0))
	g.update(nil, g.m[3], 1, to(o.m[0], writable|noExec))
	if err := g.v.UnmapForeign(at, 0, o.m[1]); err != ErrState {
		t.Error(err)
	}
	if err := g.v.UnmapForeign(at, uint64(to(o.m[0], writable)), o.m[0]); err != ErrArgument {
		t.Error(err)
	}
	before := g.all
	if err := g.v.UnmapForeign(at, 0, o.m[0]); err != nil {
		t.Fatal(err)
	}
	if g.all == before {
		t.Error("the mapping was not flushed")
	}
	g.is(o.m[0], Writable, 0, 1)
	o.pin(nil, o.m[0], 1)
	if err := g.v.MapForeign(at, uint64(to(o.m[0], writable)), other); err != ErrProtected {
		t.Error(err)
	}
	if err := g.v.MapForeign(at, uint64(to(o.m[0], 0)), myself); err != ErrFrame {
		t.Error(err)
	}
	if err := g.v.MapForeign(pt(g.m[2], 5), uint64(to(o.m[1], 0)), other); err != ErrType {
		t.Error(err)
	}
	// An unmap that does not say what is mapped.
	if err := g.v.MapForeign(at, uint64(to(o.m[1], writable)), other); err != nil {
		t.Error(err)
	}
	for _, ptr := range []uint64{at, at, pt(g.m[3], 0), pt(g.m[2], 0), pt(g.m[9], 0), pt(o.m[1], 0)} {
		if err := g.v.DropForeign(ptr); err != nil {
			t.Errorf("%#x: %v", ptr, err)
		}
	}
	for _, ptr := range []uint64{at + 1, 1 << 60} {
		if err := g.v.DropForeign(ptr); err != ErrArgument {
			t.Errorf("%#x: %v", ptr, err)
		}
	}
	g.is(o.m[1], Writable, 0, 1)
	g.is(g.m[4], None, 0, 2)
	// A table with a mapping goes.
	if err := g.v.MapForeign(at, uint64(to(o.m[1], writable)), other); err != nil {
		t.Error(err)
	}
	g.unpin(nil, g.m[0])
	g.is(o.m[1], Writable, 0, 1)
	g.end()
	o.end()
}

func TestPages(t *testing.T) {
	g := newMachine(t, 64).guest(myself, 16, nil)
	defer g.end()
	g.tree(0)
	g.pin(nil, g.m[0], 4)
	g.put(g.m[8], 5, 77)
	g.want(nil, func() error { return g.v.CopyPage(g.m[9], g.m[8]) })
	if g.entry(g.m[9], 5) != 77 {
		t.Error("not copied")
	}
	g.want(nil, func() error { return g.v.ClearPage(g.m[9]) })
	if g.entry(g.m[9], 5) != 0 {
		t.Error("not cleared")
	}
	g.want(ErrType, func() error { return g.v.ClearPage(g.m[3]) })
	g.want(ErrType, func() error { return g.v.CopyPage(g.m[3], g.m[8]) })
	g.want(nil, func() error { return g.v.CopyPage(g.m[9], g.m[3]) })
	g.want(ErrFrame, func() error { return g.v.CopyPage(g.m[9], 2) })
	g.want(ErrFrame, func() error { return g.v.CopyPage(1<<50, g.m[9]) })
	g.want(ErrFrame, func() error { return g.v.ClearPage(1 << 50) })
}

func BenchmarkUpdateL1(b *testing.B) {
	g := newMachine(b, 64).guest(myself, 16, nil)
	g.tree(0)
	g.pin(nil, g.m[0], 4)
	e := [2]uint64{uint64(to(g.m[5], writable)), uint64(to(g.m[6], writable))}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if err := g.v.Update(pt(g.m[3], 1), e[i&1]); err != nil {
			b.Fatal(err)
		}
	}
}
