package pvmmu

import (
	"errors"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"nidus/mm"
)

// racer is a vcpu of a guest whose vcpus do as they like at the same time.
type racer struct {
	*racers
	v      *VCPU
	r      *rand.Rand
	kernel atomic.Uint64
	user   atomic.Uint64
}

// racers is the guest.
type racers struct {
	*machine
	d    *Domain
	m    []mm.MFN
	all  []*racer
	pins [256]atomic.Int32 // by frame: what the vcpus were told
}

func (*racers) FlushAll()                        { runtime.Gosched() }
func (*racers) FlushSet(CPUSet)                  {}
func (*racers) FlushPage(CPUSet, mm.GuestVirt)   {}
func (*racer) SetLDT(mm.GuestVirt, uint32) error { return nil }
func (c *racer) SetRoot(kernel bool, m mm.MFN) {
	if kernel {
		c.kernel.Store(uint64(m))
	} else {
		c.user.Store(uint64(m))
	}
}

func newRacers(tb testing.TB, seed uint64, pae bool) *racers {
	g := &racers{machine: newMachine(tb, 60)}
	c := Config{ID: myself, Memory: g.Pool, Types: g.types, Flusher: g, PAE: pae,
		Descriptor: func(d uint64) (uint64, bool) { return d, d>>44&0xf != 4 }}
	g.d = NewDomain(c)
	g.d.budget = 700
	for range 14 {
		m, _ := g.AllocFrames(0, mm.FrameGuest, myself, mm.ZoneAny)
		g.Page(m).Clear()
		g.m = append(g.m, m)
	}
	for i := range uint64(3) {
		r := &racer{racers: g, r: rand.New(rand.NewPCG(seed, i))}
		r.v = g.d.AddVCPU(r)
		g.all = append(g.all, r)
	}
	return g
}

func (c *racer) frame() mm.MFN { return c.m[c.r.IntN(len(c.m))] }

func (c *racer) value() uint64 {
	if c.r.IntN(5) == 0 {
		return 0
	}
	return uint64(c.frame())<<12 | c.r.Uint64()&0x66 | 1
}

// until repeats an operation until it is done.
func (c *racer) until(op func() error) error {
	for {
		err := op()
		if !errors.Is(err, ErrAgain) {
			for c.d.Pending() == ErrAgain {
			}
			return err
		}
	}
}

// step does one thing. It copies and clears no pages: that is no atomic access, and a guest
// that does it to a page in use has what it asked for.
func (c *racer) step() {
	m := c.frame()
	ptr, val := uint64(m)<<12|uint64(slots[c.r.IntN(4)])<<3, c.value()
	switch k := c.r.IntN(20); {
	case k < 9:
		ptr |= 2 * (val >> 5 & 1)
		if val&4 == 0 || !quick(c.v, ptr, val) {
			c.until(func() error { return c.v.Update(ptr, val) })
		}
	case k < 12:
		level := 1 + c.r.IntN(4)
		if c.until(func() error { return c.v.Pin(m, level) }) == nil {
			c.pins[m].Add(1)
		}
	case k < 14:
		if c.until(func() error { return c.v.Unpin(m) }) == nil {
			c.pins[m].Add(-1)
		}
	case k < 15:
		kernel := val&2 != 0
		c.until(func() error { return c.v.SetRoot(kernel, m) })
	case k < 16:
		c.until(func() error { _, _, err := c.v.Emulate(ptr, 8, val, val&4 != 0, 0); return err })
	case k < 17:
		if c.until(func() error { return c.d.GetDescriptors(m) }) == nil {
			c.until(func() error { return c.d.UpdateDescriptor(ptr, val) })
			c.d.PutDescriptors(m)
		}
	case k < 18: // a backend, which sees nobody else's idea of the page
		if c.f.Ref(m, myself) == mm.FrameOK {
			if c.types.GetWritable(m, myself) {
				c.Page(m).Store64(8*slots[c.r.IntN(4)], val)
				c.types.PutWritable(m)
			}
			c.f.Unref(m)
		}
	case k < 19:
		if c.d.Claim(m, 0) == mm.FrameOK {
			c.f.Unclaim(m, 0)
		}
	default:
		c.v.Translate(val&2 == 0, mm.GuestVirt(slots[c.r.IntN(4)])<<12)
	}
}

// TestRaces lets three vcpus race on few frames, and checks now and then, while they rest,
// what could be reached and what a recount finds.
func TestRaces(t *testing.T) {
	for seed := range uint64(max(4, *modelSteps/10_000)) {
		g := newRacers(t, seed, seed%3 == 2)
		for range 8 {
			var wg sync.WaitGroup
			for _, c := range g.all {
				wg.Go(func() {
					for range 600 {
						c.step()
					}
				})
			}
			wg.Wait()
			g.check()
			if t.Failed() {
				t.Fatalf("seed %d", seed)
			}
		}
		for g.d.Release() == ErrAgain {
		}
		for _, m := range g.m {
			if s := g.FreeFrames(m, 0); s != mm.FrameOK {
				t.Errorf("frame %#x: %v, %+v", m, s, g.types.Info(m))
			}
		}
		if st := g.Stats(); st.Free != st.Total {
			t.Fatalf("seed %d: %d frames are lost", seed, st.Total-st.Free)
		}
	}
}

// check is the model's checks of a guest that rests.
func (g *racers) check() {
	g.Helper()
	w := &world{machine: g.machine, m2p: mm.InvalidMFN, secret: mm.InvalidMFN, shared: mm.InvalidMFN}
	a := &actor{w: w, d: g.d, id: myself, pae: g.d.pae, m: g.m}
	a.forget()
	for m := range g.pins {
		switch n := g.pins[m].Load(); n {
		case 0:
		case 1:
			a.pins[mm.MFN(m)] = g.types.Info(mm.MFN(m)).Type.level()
		default:
			g.Errorf("frame %#x is pinned %d times", m, n)
		}
	}
	for _, c := range g.all {
		a.vcpus = append(a.vcpus, &cpu{a: a, v: c.v, kernel: mm.MFN(c.kernel.Load()), user: mm.MFN(c.user.Load())})
	}
	w.guests = []*actor{a}
	w.checkWalks(true)
	w.recount()
}
