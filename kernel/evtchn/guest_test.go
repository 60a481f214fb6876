package evtchn

import (
	"math/bits"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"nidus/kernel/xenabi"
	"nidus/mm"
)

// memory is a guest's memory of the test: pages at frames from 0 on.
type memory struct {
	mu    sync.Mutex
	pages []mm.Page
	pins  map[mm.GFN]int
}

func newMemory(n int) *memory {
	m := &memory{pins: map[mm.GFN]int{}}
	for range n {
		m.pages = append(m.pages, mm.NewPage())
	}
	return m
}

func (m *memory) ReadPhys(mm.GuestPhys, []byte) error  { return mm.ErrBadAddress }
func (m *memory) WritePhys(mm.GuestPhys, []byte) error { return mm.ErrBadAddress }
func (m *memory) Pin(g mm.GFN) (mm.Page, error) {
	if uint64(g) >= uint64(len(m.pages)) {
		return mm.Page{}, mm.ErrBadAddress
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.pins[g]++
	return m.pages[g], nil
}
func (m *memory) Unpin(g mm.GFN) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.pins[g]--; m.pins[g] < 0 {
		panic("unpinned too often")
	}
}
func (m *memory) pinned() (n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range m.pins {
		n += p
	}
	return n
}

// guest plays the guest's part: it takes events as a kernel does, but only on
// vcpus that were notified.
type guest struct {
	t      testing.TB
	d      *Domain
	mem    *memory
	shared mm.Page
	calls  []atomic.Int64 // notifications by vcpu
	device atomic.Int64   // of them, those of devices' events
	fifo   bool
	words  []mm.Page
	blocks []mm.Page
	heads  [][fifoQueues]uint32
}

const testVCPUs = 4

func (g *guest) NotifyVCPU(v int, device bool) {
	g.calls[v].Add(1)
	if device {
		g.device.Add(1)
	}
}

func newGuest(t testing.TB, h *Hub, id mm.DomID, change func(*Config)) *guest {
	t.Helper()
	g := &guest{t: t, mem: newMemory(64), shared: mm.NewPage(), calls: make([]atomic.Int64, testVCPUs)}
	cfg := Config{ID: id, VCPUs: testVCPUs, SharedInfo: g.shared, Memory: g.mem, Notifier: g}
	if change != nil {
		change(&cfg)
	}
	var err error
	if g.d, err = h.NewDomain(cfg); err != nil {
		t.Fatal(err)
	}
	return g
}

// useFIFO registers control blocks in frames from 0 on, and the event array in
// those from 16 on.
func (g *guest) useFIFO(pages int) {
	g.t.Helper()
	for v := range testVCPUs {
		if err := g.d.InitControl(uint32(v), mm.GFN(v), 64); err != nil {
			g.t.Fatalf("init_control: %v", err)
		}
		g.blocks = append(g.blocks, g.mem.pages[v])
	}
	for i := range pages {
		if err := g.d.ExpandArray(mm.GFN(16 + i)); err != nil {
			g.t.Fatalf("expand_array: %v", err)
		}
		g.words = append(g.words, g.mem.pages[16+i])
	}
	g.heads = make([][fifoQueues]uint32, testVCPUs)
	g.fifo = true
}

// take returns the ports whose events vcpu v takes, if it was notified.
func (g *guest) take(v int) (got []uint32) {
	if g.calls[v].Swap(0) == 0 {
		return nil
	}
	return g.upcall(v)
}

// upcall is what a kernel does in its event handler.
func (g *guest) upcall(v int) (got []uint32) {
	pg, off, ok := g.d.VCPUInfo(v)
	if !ok {
		return nil
	}
	for g.d.PendingUpcall(v) {
		pg.Store8(off+xenabi.VCPUEvtchnUpcallPending, 0)
		if g.fifo {
			got = append(got, g.takeFIFO(v)...)
		} else {
			got = append(got, g.take2L(pg, off)...)
		}
	}
	return got
}

func (g *guest) take2L(pg mm.Page, off int) (got []uint32) {
	l := g.d.layout.Load()
	wb := l.Width.Bits()
	for half := 0; half < int(l.Width)/4; half++ {
		sel := pg.And32(off+l.VCPUEvtchnPendingSel+half*4, 0)
		for ; sel != 0; sel &= sel - 1 {
			word := half*32 + bits.TrailingZeros32(sel)
			for n := word * wb; n < (word+1)*wb; n++ {
				o, b := bit2L(0, uint32(n))
				if g.shared.Load32(l.EvtchnMask+o)&b == 0 && g.shared.Load32(l.EvtchnPending+o)&b != 0 {
					g.shared.And32(l.EvtchnPending+o, ^b)
					got = append(got, uint32(n))
				}
			}
		}
	}
	return got
}

func (g *guest) takeFIFO(v int) (got []uint32) {
	cb := g.blocks[v]
	ready := cb.And32(64+xenabi.FIFOControlReady, 0)
	for ready != 0 {
		q := bits.TrailingZeros32(ready)
		head := g.heads[v][q]
		if head == 0 {
			head = cb.Load32(64 + xenabi.FIFOControlHead + q*4)
		}
		if head == 0 {
			ready &^= 1 << q
			continue
		}
		pg, off := g.words[head/fifoWordsPerPage], int(head%fifoWordsPerPage)*4
		link := uint32(0)
		for {
			w := pg.Load32(off)
			link = w & fifoLinkMask
			if pg.CompareAndSwap32(off, w, w&^(fifoLinked|fifoLinkMask)) {
				break
			}
		}
		if link == 0 {
			ready &^= 1 << q
		}
		g.heads[v][q] = link
		if w := pg.Load32(off); w&fifoPending != 0 && w&fifoMasked == 0 {
			pg.And32(off, ^uint32(fifoPending))
			got = append(got, head)
		}
		ready |= cb.And32(64+xenabi.FIFOControlReady, 0)
	}
	return got
}

func (g *guest) mask(n uint32) {
	if g.fifo {
		g.words[n/fifoWordsPerPage].Or32(int(n%fifoWordsPerPage)*4, fifoMasked)
		return
	}
	o, b := bit2L(g.d.layout.Load().EvtchnMask, n)
	g.shared.Or32(o, b)
}

// takeAll returns what all notified vcpus take, sorted.
func (g *guest) takeAll() (got []uint32) {
	for v := range g.calls {
		got = append(got, g.take(v)...)
	}
	slices.Sort(got)
	return got
}

func (g *guest) expect(want ...uint32) {
	g.t.Helper()
	if got := g.takeAll(); !slices.Equal(got, want) {
		g.t.Errorf("domain %d took events %v, want %v", g.d.ID(), got, want)
	}
}
