package pvmmu

import "nidus/mm"

// What guests, their processors, backends and other guests do in the model, besides
// hypercalls.

// walk is the processor's way to va, as a guest's code may go it: in ring 3, or in ring 1
// in a 32-bit guest's kernel.
func (c *cpu) walk(root mm.MFN, va mm.GuestVirt) (t translation, ok bool) {
	w := c.a.w
	if root == 0 {
		return t, false
	}
	t = translation{va: va, write: true}
	for level := 4; level > 0; level-- {
		t.tables[t.n] = root
		t.types[t.n], t.rights[t.n] = w.types.Info(root).Type, t.write
		t.n++
		e := w.Page(root).Load64(8 * int(va>>(12+9*(level-1))&0x1ff))
		if e&1 == 0 || !c.a.pae && e&4 == 0 {
			return t, false
		}
		t.write = t.write && e&2 != 0
		root = mm.MFN(e & uint64(frameBits) >> 12)
	}
	t.leaf = root
	return t, true
}

// root is one of the roots that the processor has.
func (c *cpu) root() mm.MFN {
	if c.user != 0 && c.a.w.r.IntN(3) == 0 {
		return c.user
	}
	return c.kernel
}

// found is a way that leads somewhere, if a few attempts find one.
func (c *cpu) found() (t translation, ok bool) {
	for range 6 {
		va := c.a.va()
		if c.a.w.r.IntN(2) == 0 { // where the first tables are
			va = mm.GuestVirt(c.a.w.r.IntN(32)) << 12
		}
		if t, ok = c.walk(c.root(), va); ok {
			return t, true
		}
	}
	return t, false
}

// remember makes the processor keep a translation.
func (c *cpu) remember() {
	t, ok := c.found()
	if !ok {
		return
	}
	if len(c.tlb) >= 12 {
		c.tlb = c.tlb[:0] // it may forget
	}
	c.tlb = append(c.tlb, t)
}

// access is a store by the guest's code, by tables or by what the processor remembers.
func (c *cpu) access() {
	w := c.a.w
	t, ok := c.found()
	if len(c.tlb) > 0 && (!ok || w.r.IntN(2) == 0) {
		t, ok = c.tlb[w.r.IntN(len(c.tlb))], true
	}
	if !ok || !t.write {
		return
	}
	if t.leaf < base || int(t.leaf-base) >= len(w.pages) {
		w.Errorf("guest %d can write to frame %#x", c.a.id, t.leaf)
		return
	}
	w.Page(t.leaf).Store64(8*slots[w.r.IntN(len(slots))], c.a.value())
}

// dirty sets accessed and dirty on a way.
func (c *cpu) dirty() {
	t, ok := c.found()
	if !ok {
		return
	}
	for i := range t.n {
		bits := uint64(accessed)
		if i == 3 && t.write {
			bits |= uint64(dirty)
		}
		c.a.w.Page(t.tables[i]).Or64(8*int(t.va>>(12+9*(3-i))&0x1ff), bits)
	}
}

func (a *actor) descriptorsStep() {
	r := a.w.r
	switch m := a.frame(); r.IntN(3) {
	case 0:
		if a.d.GetDescriptors(m) == nil {
			a.descriptors[m]++
		}
	case 1:
		for m, n := range a.descriptors {
			a.d.PutDescriptors(m)
			if a.descriptors[m]--; n == 1 {
				delete(a.descriptors, m)
			}
			break
		}
	default:
		a.d.UpdateDescriptor(a.ptr(), a.value())
	}
}

// backendStep lets a backend take a frame of the guest's to write to it, or give it back.
func (a *actor) backendStep() {
	w := a.w
	if m := a.frame(); w.r.IntN(2) == 0 {
		if w.f.Ref(m, a.id) != mm.FrameOK {
			return
		}
		if w.f.Info(m).Kind != mm.FrameGuest || !w.types.GetWritable(m, a.id) {
			w.f.Unref(m)
			return
		}
		a.written[m]++
		w.Page(m).Store64(8*slots[w.r.IntN(len(slots))], a.value())
		return
	}
	for m, n := range a.written {
		w.types.PutWritable(m)
		w.f.Unref(m)
		if a.written[m]--; n == 1 {
			delete(a.written, m)
		}
		break
	}
}

// grantStep maps another guest's frame, or unmaps one.
func (a *actor) grantStep(c *cpu) {
	w := a.w
	o := w.guests[w.r.IntN(len(w.guests))]
	if w.r.IntN(2) == 0 {
		for ptr, g := range a.grants {
			val := a.value()
			if w.r.IntN(2) == 0 {
				if err := c.v.DropForeign(ptr); err != nil {
					w.Errorf("the entry at %#x: %v", ptr, err)
				}
				delete(a.grants, ptr)
			} else if w.r.IntN(2) == 0 {
				m := mm.InvalidMFN
				if w.r.IntN(4) == 0 {
					m = g.m // as if it were its own
				}
				if c.v.ReplaceForeign(ptr, m, a.va()) == nil {
					delete(a.grants, ptr)
				}
			} else if c.v.UnmapForeign(ptr, val, g.m) == nil {
				delete(a.grants, ptr)
			}
			return
		}
	}
	m := o.m[w.r.IntN(len(o.m))]
	if o == a || w.f.Ref(m, o.id) != mm.FrameOK {
		return
	}
	ptr, val := a.ptr(), uint64(m)<<12|uint64(w.r.IntN(4))|1
	if c.v.MapForeign(ptr, val, o.id) == nil {
		a.grants[ptr] = grant{m, o, val&2 != 0}
	}
	w.f.Unref(m)
}

// pruneGrants forgets those whose entry is no longer there.
func (a *actor) pruneGrants() {
	for ptr, g := range a.grants {
		m := mm.MFN(ptr >> 12)
		e := a.w.Page(m).Load64(int(ptr & 0xfff))
		i := a.w.types.Info(m)
		// Of a table that is being unmade the entry may have its references still.
		if a.d.task.depth == 0 && !i.Validated || i.Type != L1 || e&1 == 0 || mm.MFN(e&uint64(frameBits)>>12) != g.m {
			delete(a.grants, ptr)
		}
	}
}

// exchange gives a frame of a guest's back, and somebody gets one.
func (w *world) exchange(a *actor) {
	i := w.r.IntN(len(a.m))
	m := a.m[i]
	if len(a.m) < 10 || a.d.Claim(m, 0) != mm.FrameOK {
		return
	}
	if s := w.FreeFrames(m, 0); s != mm.FrameOK {
		w.Errorf("frame %#x can't be freed: %v", m, s)
	}
	a.m[i] = a.m[len(a.m)-1]
	a.m = a.m[:len(a.m)-1]
	g := w.guests[w.r.IntN(len(w.guests))]
	if n, ok := w.AllocFrames(0, mm.FrameGuest, g.id, mm.ZoneAny); ok {
		w.Page(n).Clear()
		g.m = append(g.m, n)
	}
}

// letGo ends what others have of a guest's frames.
func (a *actor) letGo() {
	for m, n := range a.descriptors {
		for range n {
			a.d.PutDescriptors(m)
		}
	}
	for m, n := range a.written {
		for range n {
			a.w.types.PutWritable(m)
			a.w.f.Unref(m)
		}
	}
	a.forget()
}
