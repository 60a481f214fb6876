package pvmmu

import (
	"errors"
	"flag"
	"math/rand/v2"
	"testing"

	"nidus/mm"
)

// The model: guests that do what they like, by hypercalls and by the processor's own
// accesses, on a machine whose processor keeps every translation until it is told to forget
// it. After each step it is checked what the processor could reach (walk_test.go), which
// looks at nothing but memory and the roots; and when no work is left over, whether the counts are
// what a recount of all tables finds (recount_test.go).

var modelSteps = flag.Int("steps", 150_000, "steps of the model, for each kind of guest")

// slots are the entries that the guests use: enough for all that is special.
var slots = []int{0, 1, 2, 3, 4, 255, 256, 260, 271, 272, 427, 428, 511}

// world is a machine with two hostile guests.
type world struct {
	*machine
	r      *rand.Rand
	guests []*actor
	m2p    mm.MFN // of the hypervisor, which guests may read
	secret mm.MFN // and this they may not
	shared mm.MFN // and this they may write
	log    []string
}

// actor is one guest.
type actor struct {
	w     *world
	d     *Domain
	id    mm.DomID
	pae   bool
	m     []mm.MFN // its frames
	vcpus []*cpu
	// What the model knows that the guest has, by what it was told.
	pins        map[mm.MFN]int // levels
	descriptors map[mm.MFN]int
	written     map[mm.MFN]int // by backends
	grants      map[uint64]grant
}

// grant is another guest's frame that is mapped by the entry at a machine address.
type grant struct {
	m     mm.MFN
	owner *actor
	write bool
}

// cpu is a vcpu and what its processor remembers.
type cpu struct {
	a      *actor
	v      *VCPU
	kernel mm.MFN
	user   mm.MFN
	tlb    []translation
}

// translation is what a walk found, and which tables it went through.
type translation struct {
	va     mm.GuestVirt
	leaf   mm.MFN
	write  bool
	tables [4]mm.MFN
	types  [4]Type
	rights [4]bool // to write, of the entries before each
	n      int
}

func (a *actor) FlushAll() {
	for _, c := range a.vcpus {
		c.tlb = c.tlb[:0]
	}
}

func (a *actor) FlushSet(s CPUSet) {
	for i, c := range a.vcpus {
		if s[0]>>i&1 != 0 {
			c.tlb = c.tlb[:0]
		}
	}
}

func (a *actor) FlushPage(s CPUSet, va mm.GuestVirt) {
	for i, c := range a.vcpus {
		if s[0]>>i&1 == 0 {
			continue
		}
		keep := c.tlb[:0]
		for _, t := range c.tlb {
			if t.va>>12 != va>>12 {
				keep = append(keep, t)
			}
		}
		c.tlb = keep
	}
}

// SetRoot implements CPU: it is a write to CR3.
func (c *cpu) SetRoot(kernel bool, m mm.MFN) {
	if kernel {
		c.kernel = m
	} else {
		c.user = m
	}
	c.tlb = c.tlb[:0]
}

func (c *cpu) SetLDT(mm.GuestVirt, uint32) error { return nil }

func newWorld(tb testing.TB, seed uint64, pae ...bool) *world {
	w := &world{machine: newMachine(tb, 90), r: rand.New(rand.NewPCG(seed, 11))}
	frame := func(kind mm.FrameKind) mm.MFN {
		m, _ := w.AllocFrames(0, kind, mm.DomIDXen, mm.ZoneAny)
		return m
	}
	w.m2p, w.secret, w.shared = frame(mm.FrameKernel), frame(mm.FrameKernel), frame(mm.FrameSpecial)
	for i, p := range pae {
		w.guests = append(w.guests, w.newActor(myself+mm.DomID(i), p, 26))
	}
	return w
}

func (w *world) newActor(id mm.DomID, pae bool, frames int) *actor {
	a := &actor{w: w, id: id, pae: pae}
	c := Config{ID: id, Memory: w.Pool, Types: w.types, Flusher: a, PAE: pae,
		M2P: func(mm.MFN, uint64) {},
		Special: func(m mm.MFN, f mm.Frame) Rights {
			switch m {
			case w.m2p:
				return ReadOnly
			case w.shared:
				return ReadWrite
			}
			return NoRights
		},
		Descriptor: func(d uint64) (uint64, bool) { return d, d>>44&0xf != 4 },
	}
	for i := range c.Hole {
		c.Hole[i] = uint64(w.secret)<<12 | 1 // not the user's
	}
	for i := range c.HoleL2 {
		c.HoleL2[i] = uint64(w.m2p)<<12 | 1
	}
	a.d = NewDomain(c)
	a.d.budget = 1 + w.r.IntN(3000)
	for range 2 {
		v := &cpu{a: a}
		v.v = a.d.AddVCPU(v)
		a.vcpus = append(a.vcpus, v)
	}
	a.forget()
	for range frames {
		m, ok := w.AllocFrames(0, mm.FrameGuest, id, mm.ZoneAny)
		if !ok {
			w.Fatal("no memory")
		}
		w.Page(m).Clear()
		a.m = append(a.m, m)
	}
	a.begin()
	return a
}

func (a *actor) forget() {
	a.pins, a.descriptors, a.written = map[mm.MFN]int{}, map[mm.MFN]int{}, map[mm.MFN]int{}
	a.grants = map[uint64]grant{}
}

// begin makes the first tables: they map all the guest's frames, writable but for themselves.
func (a *actor) begin() {
	w, l3 := a.w, a.m[1]
	if !a.pae {
		w.Page(a.m[0]).Store64(0, uint64(l3)<<12|7)
	}
	w.Page(l3).Store64(0, uint64(a.m[2])<<12|1)
	w.Page(a.m[2]).Store64(0, uint64(a.m[3])<<12|7)
	for i, m := range a.m {
		e := uint64(m)<<12 | 7
		if i < 4 {
			e &^= 2
		}
		w.Page(a.m[3]).Store64(8*i, e)
	}
	root := a.m[0]
	if a.pae {
		root = l3
	}
	for _, c := range a.vcpus {
		if err := do(func() error { return c.v.SetRoot(true, root) }, a.d); err != nil {
			w.Fatal(err)
		}
	}
}

// frame is any frame, mostly one of the guest's own.
func (a *actor) frame() mm.MFN {
	w := a.w
	switch w.r.IntN(24) {
	case 0:
		return mm.MFN(w.r.IntN(int(base) + len(w.pages) + 3))
	case 1:
		return []mm.MFN{w.m2p, w.secret, w.shared, 1 << 39, mm.InvalidMFN}[w.r.IntN(5)]
	case 2:
		g := w.guests[w.r.IntN(len(w.guests))]
		return g.m[w.r.IntN(len(g.m))]
	case 3, 4, 5, 6:
		return a.m[w.r.IntN(5)]
	}
	return a.m[w.r.IntN(len(a.m))]
}

// value is any entry, mostly one that could be good.
func (a *actor) value() uint64 {
	r := a.w.r
	switch r.IntN(12) {
	case 0:
		return 0
	case 1:
		return r.Uint64()
	case 2:
		return uint64(a.frame())<<12 | r.Uint64()&0xfff | r.Uint64()&(0x7ff<<52)
	}
	e := uint64(a.frame())<<12&uint64(frameBits) | 1
	if r.IntN(2) == 0 {
		e |= 2
	}
	return e | r.Uint64()&(4|0x60|0xe00)
}

func (a *actor) ptr() uint64 {
	return uint64(a.frame())<<12 | uint64(slots[a.w.r.IntN(len(slots))])<<3
}

func (a *actor) va() mm.GuestVirt {
	s := func() mm.GuestVirt { return mm.GuestVirt(slots[a.w.r.IntN(len(slots))]) }
	va := s()<<39 | s()<<30 | s()<<21 | s()<<12
	if a.pae {
		return va & 0xffffffff
	}
	if va>>47 != 0 {
		va |= 0xffff << 48
	}
	return va
}

// step does one thing, of any guest and vcpu.
func (w *world) step() {
	a := w.guests[w.r.IntN(len(w.guests))]
	c := a.vcpus[w.r.IntN(len(a.vcpus))]
	r := w.r
	switch n := r.IntN(100); {
	case n < 25:
		ptr, val := a.ptr()|uint64([]int{0, 0, 0, 2, 3, 1}[r.IntN(6)]), a.value()
		if r.IntN(2) == 0 && quick(c.v, ptr, val) {
			break
		}
		c.repeat(func() error { return c.v.Update(ptr, val) })
	case n < 32:
		c.repeat(func() error { return c.v.UpdateVA(a.va(), a.value()) })
	case n < 40:
		m, level := a.frame(), 1+r.IntN(4)
		if c.repeat(func() error { return c.v.Pin(m, level) }) == nil {
			a.pins[m] = level
		}
	case n < 45:
		m := a.frame()
		if c.repeat(func() error { return c.v.Unpin(m) }) == nil {
			delete(a.pins, m)
		}
	case n < 49:
		m, kernel := a.frame(), r.IntN(2) == 0
		if !kernel && r.IntN(3) == 0 {
			m = 0
		}
		c.repeat(func() error { return c.v.SetRoot(kernel, m) })
	case n < 54:
		ptr, size := a.ptr(), 1<<r.IntN(4)
		ptr += uint64(r.IntN(8)) &^ uint64(size-1)
		val, old, exchange := a.value(), a.value(), r.IntN(2) == 0
		if m := mm.MFN(ptr >> 12); exchange && r.IntN(2) == 0 && m >= base && int(m-base) < len(w.pages) {
			old = w.Page(m).Load64(int(ptr & 0xff8))
		}
		c.repeat(func() error { _, _, err := c.v.Emulate(ptr, size, val, exchange, old); return err })
	case n < 70:
		c.access()
	case n < 73:
		c.dirty()
	case n < 76:
		a.descriptorsStep()
	case n < 79:
		a.backendStep()
	case n < 84:
		a.grantStep(c)
	case n < 87:
		w.exchange(a)
	case n < 89:
		x, y := a.frame(), a.frame()
		c.repeat(func() error { return c.v.ClearPage(x) })
		c.repeat(func() error { return c.v.CopyPage(x, y) })
	case n < 90:
		[]func(){c.v.FlushLocal, c.v.FlushAll, func() { c.v.FlushPage(c.v.AllSet(), a.va()) },
			func() { c.v.FlushSet(CPUSet{r.Uint64() & 3}) }}[r.IntN(4)]()
	default:
		c.remember()
	}
}

// repeat makes a hypercall: with its arguments again and again until it is done, as the
// guest's registers do that; or, seldom, not.
func (c *cpu) repeat(op func() error) error {
	r := c.a.w.r
	seed := [2]uint64{r.Uint64(), r.Uint64()}
	for {
		// The same arguments each time.
		c.a.w.r = rand.New(rand.NewPCG(seed[0], seed[1]))
		err := op()
		c.a.w.r = r
		if !errors.Is(err, ErrAgain) {
			for r.IntN(50) != 0 && c.a.d.Pending() == ErrAgain {
			}
			return err
		}
		if r.IntN(50) == 0 {
			return err
		}
	}
}

// end ends all guests, and checks that nothing is left.
func (w *world) end() {
	w.Helper()
	for _, a := range w.guests {
		a.letGo()
	}
	for _, a := range w.guests {
		for a.d.Release() == ErrAgain {
		}
		a.d.Close()
	}
	for _, a := range w.guests {
		for _, m := range a.m {
			if i := w.types.Info(m); i.Count != 0 || i.Pinned {
				w.Errorf("frame %#x is left as %+v", m, i)
			}
			if s := w.FreeFrames(m, 0); s != mm.FrameOK {
				w.Errorf("frame %#x: %v, %+v", m, s, w.f.Info(m))
			}
		}
	}
	for _, m := range []mm.MFN{w.m2p, w.secret, w.shared} {
		w.FreeFrames(m, 0)
	}
	if st := w.Stats(); st.Free != st.Total {
		w.Errorf("%d frames are lost: %v", st.Total-st.Free, st.Kinds)
	}
}

func TestModel(t *testing.T) {
	for name, pae := range map[string][]bool{"64": {false, false}, "32": {true, true}, "mixed": {false, true}} {
		t.Run(name, func(t *testing.T) {
			for done, seed := 0, uint64(1); done < *modelSteps && !t.Failed(); seed++ {
				w := newWorld(t, seed, pae...)
				for i := 0; i < 4000 && !t.Failed(); i++ {
					w.step()
					w.checkWalks(i%256 == 0)
					if i%8 == 0 {
						w.recount()
					}
					if t.Failed() {
						t.Fatalf("seed %d, step %d", seed, i)
					}
					done++
				}
				w.end()
			}
		})
	}
}
