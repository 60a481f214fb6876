package pvmmu

import (
	"errors"
	"sync"
	"testing"

	"nidus/mm"
)

// Frames of the machine under test: RAM begins at base.
const (
	base   = mm.MFN(16)
	myself = mm.DomID(3)
	other  = mm.DomID(5)
)

// machine is a small machine in Go's heap.
type machine struct {
	testing.TB
	*mm.Pool
	f     mm.Frames
	lock  sync.Mutex
	pages []mm.Page
	types *Types
}

func newMachine(tb testing.TB, n int) *machine {
	k := &machine{TB: tb}
	k.f.Init(make([]mm.FrameInfo, int(base)+n))
	if s := k.f.AddRange(base, base+mm.MFN(n)); s != mm.FrameOK {
		tb.Fatal(s)
	}
	k.pages = make([]mm.Page, n)
	for i := range k.pages {
		k.pages[i] = mm.NewPage()
	}
	k.Pool = mm.NewPool(&k.f, mm.Locked(&k.f, &k.lock), k)
	k.types = NewTypes(make([]FrameType, int(base)+n))
	return k
}

// Page implements mm.DirectMap.
func (k *machine) Page(m mm.MFN) mm.Page { return k.pages[m-base] }

// guest is a domain under test with frames m[0] and on, and the TLB flushes it asked for.
type guest struct {
	*machine
	d     *Domain
	v     *VCPU
	m     []mm.MFN
	all   int // FlushAll
	sets  []CPUSet
	addrs []mm.GuestVirt
	roots map[bool]mm.MFN
	ldt   uint32
}

func (g *guest) FlushAll()                                { g.all++ }
func (g *guest) FlushSet(s CPUSet)                        { g.sets = append(g.sets, s) }
func (g *guest) FlushPage(s CPUSet, va mm.GuestVirt)      { g.addrs = append(g.addrs, va) }
func (g *guest) SetRoot(kernel bool, m mm.MFN)            { g.roots[kernel] = m }
func (g *guest) SetLDT(base mm.GuestVirt, n uint32) error { g.ldt = n; return nil }

func (k *machine) guest(id mm.DomID, frames int, change func(*Config)) *guest {
	g := &guest{machine: k, roots: map[bool]mm.MFN{}}
	c := Config{ID: id, Memory: k.Pool, Types: k.types, Flusher: g}
	for i := range c.Hole {
		c.Hole[i] = 0xabc000 + uint64(i)<<12 | 1
	}
	for i := range c.HoleL2 {
		c.HoleL2[i] = 0xdef000 + uint64(i)<<12 | 1
	}
	if change != nil {
		change(&c)
	}
	g.d = NewDomain(c)
	g.v = g.d.AddVCPU(g)
	for range frames {
		m, ok := k.AllocFrames(0, mm.FrameGuest, id, mm.ZoneAny)
		if !ok {
			k.Fatal("no memory")
		}
		k.Page(m).Clear()
		g.m = append(g.m, m)
	}
	return g
}

// put writes an entry where the guest can.
func (g *guest) put(m mm.MFN, i int, e entry) {
	g.Helper()
	if t := g.d.types.Info(m); t.Count > 0 && t.Type != Writable {
		g.Fatalf("frame %#x is %v: the guest can't write to it", m, t)
	}
	g.Page(m).Store64(8*i, uint64(e))
}

func (g *guest) entry(m mm.MFN, i int) entry { return entry(g.Page(m).Load64(8 * i)) }

// pt is the machine address of an entry.
func pt(m mm.MFN, i int) uint64 { return uint64(m)<<12 | uint64(i)<<3 }

// to is an entry that is present.
func to(m mm.MFN, flags entry) entry { return entryOf(m) | present | flags }

// do repeats an operation until it is done, and the rest of it.
func do(op func() error, d *Domain) error {
	for {
		err := op()
		if errors.Is(err, ErrAgain) {
			continue
		}
		for d.Pending() == ErrAgain {
		}
		return err
	}
}

func (g *guest) want(err error, op func() error) {
	g.Helper()
	if got := do(op, g.d); got != err {
		g.Errorf("%v, want %v", got, err)
	}
}

func (g *guest) pin(err error, m mm.MFN, level int) {
	g.Helper()
	g.want(err, func() error { return g.v.Pin(m, level) })
}

func (g *guest) unpin(err error, m mm.MFN) {
	g.Helper()
	g.want(err, func() error { return g.v.Unpin(m) })
}

func (g *guest) update(err error, m mm.MFN, i int, e entry) {
	g.Helper()
	g.want(err, func() error { return g.v.Update(pt(m, i), uint64(e)) })
}

// is checks a frame's type and counts.
func (g *guest) is(m mm.MFN, typ Type, count, refs uint32) {
	g.Helper()
	i := g.d.types.Info(m)
	if i.Type != typ || i.Count != count || g.f.Info(m).Refs != refs {
		g.Errorf("frame %#x is %+v with %d references, want %v with %d and %d", m, i, g.f.Info(m).Refs, typ, count, refs)
	}
}

// end releases the domain and checks that nothing is left.
func (g *guest) end() {
	g.Helper()
	g.want(nil, g.d.Release)
	g.d.Close()
	for _, m := range g.m {
		if i := g.d.types.Info(m); i.Count != 0 || i.Pinned || g.f.Info(m).Refs != 1 {
			g.Errorf("frame %#x is left with %+v and %d references", m, i, g.f.Info(m).Refs)
		}
		if s := g.FreeFrames(m, 0); s != mm.FrameOK {
			g.Errorf("frame %#x: %v", m, s)
		}
	}
	if st := g.Stats(); st.Kinds[mm.FrameTable] != 0 {
		g.Errorf("%d tables left", st.Kinds[mm.FrameTable])
	}
}

// tree makes m[0] to m[3] the tables of level 4 to 1 for address 0, which maps m[4].
func (g *guest) tree(flags entry) {
	for i := range 4 {
		g.put(g.m[i], 0, to(g.m[i+1], writable))
	}
	g.put(g.m[3], 0, to(g.m[4], flags))
}

// AllocAtFor takes a frame for another domain.
func (k *machine) AllocAtFor(m mm.MFN, d mm.DomID) {
	k.Helper()
	if s := k.f.AllocAt(m, 0, mm.FrameGuest, d); s != mm.FrameOK {
		k.Fatal(s)
	}
}
