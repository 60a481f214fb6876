package evtchn

import (
	"slices"
	"testing"

	"nidus/kernel/xenabi"
	"nidus/mm"
)

func TestFIFOSetup(t *testing.T) {
	var h Hub
	g := newGuest(t, &h, 1, func(c *Config) { c.MaxPorts = 3000 })
	if err := g.d.ExpandArray(0); err != xenabi.ENOSYS {
		t.Errorf("expand_array before init_control: %v", err)
	}
	if err := g.d.SetPriority(1, 1); err != xenabi.ENOSYS {
		t.Errorf("set_priority before init_control: %v", err)
	}
	for _, c := range []struct {
		v    uint32
		g    mm.GFN
		off  uint32
		want error
	}{
		{testVCPUs, 0, 0, xenabi.ENOENT}, {0, 64, 0, xenabi.EINVAL}, {0, mm.InvalidGFN, 0, xenabi.EINVAL},
		{0, 0, 4, xenabi.EINVAL}, {0, 0, mm.PageSize - 64, xenabi.EINVAL}, {0, 0, ^uint32(7), xenabi.EINVAL},
		{0, 0, mm.PageSize - 72, nil}, {0, 1, 0, xenabi.EINVAL}, {3, 0, 0, nil},
	} {
		if err := g.d.InitControl(c.v, c.g, c.off); err != c.want {
			t.Errorf("init_control %+v: %v", c, err)
		}
	}
	if err := g.d.ExpandArray(64); err != xenabi.EINVAL {
		t.Errorf("expand_array with a bad frame: %v", err)
	}
	for i := range 4 { // 3000 ports need 3 pages
		want := error(nil)
		if i == 3 {
			want = xenabi.ENOSPC
		}
		if err := g.d.ExpandArray(mm.GFN(16 + i)); err != want {
			t.Errorf("page %d: %v, want %v", i, err, want)
		}
	}
	if n := g.mem.pinned(); n != 5 {
		t.Errorf("%d pages pinned, want 5", n)
	}
	// Reset gives all back, so that a guest can't make pins grow.
	if err := g.d.Reset(); err != nil {
		t.Fatal(err)
	}
	if n := g.mem.pinned(); n != 0 {
		t.Errorf("%d pages pinned after reset", n)
	}
	n := must(g.d.BindIPI(0))
	g.d.Send(n)
	g.expect(n) // 2-level again
}

func TestFIFOKeepsEarlyEvents(t *testing.T) {
	var h Hub
	g := newGuest(t, &h, 1, nil)
	a, b, c := must(g.d.BindIPI(0)), must(g.d.BindIPI(0)), must(g.d.BindIPI(2))
	g.d.Send(a) // pending by the 2-level ABI when FIFO begins
	g.calls[0].Store(0)
	g.shared.Store8(xenabi.VCPUEvtchnUpcallPending, 0) // the guest takes the upcall, but nothing more
	if err := g.d.InitControl(0, 0, 64); err != nil {
		t.Fatal(err)
	}
	g.d.Send(b) // no event word yet
	g.expect()
	if err := g.d.ExpandArray(16); err != nil {
		t.Fatal(err)
	}
	g.blocks, g.words, g.fifo = g.mem.pages[:4], g.mem.pages[16:17], true
	g.heads = make([][fifoQueues]uint32, testVCPUs)
	g.expect(a, b)
	g.d.Send(c) // vcpu 2 has no control block yet
	g.expect()
	if err := g.d.InitControl(2, 2, 64); err != nil {
		t.Fatal(err)
	}
	g.expect(c)
}

func TestFIFOPriorities(t *testing.T) {
	var h Hub
	g := newGuest(t, &h, 1, nil)
	g.useFIFO(1)
	var ports []uint32
	for range 6 {
		ports = append(ports, must(g.d.BindIPI(0)))
	}
	for i, prio := range []uint32{15, 7, 0, 7, 15, 3} {
		if err := g.d.SetPriority(ports[i], prio); err != nil {
			t.Fatal(err)
		}
	}
	for _, bad := range []struct{ n, prio uint32 }{{ports[0], 16}, {ports[0], ^uint32(0)}, {0, 0}, {999, 0}} {
		if err := g.d.SetPriority(bad.n, bad.prio); err != xenabi.EINVAL {
			t.Errorf("set_priority %+v: %v", bad, err)
		}
	}
	for _, n := range ports {
		g.d.Send(n)
	}
	want := []uint32{ports[2], ports[5], ports[1], ports[3], ports[0], ports[4]}
	if got := g.take(0); !slices.Equal(got, want) {
		t.Errorf("took %v, want %v", got, want)
	}
}

// TestFIFOTailMoves moves the last port of a queue to another queue: the old
// queue must not be linked behind it there.
func TestFIFOTailMoves(t *testing.T) {
	var h Hub
	g, x := newGuest(t, &h, 1, nil), newGuest(t, &h, 2, nil)
	g.useFIFO(1)
	var local, far []uint32
	for i := range 2 {
		far = append(far, must(x.d.AllocUnbound(1)))
		local = append(local, must(g.d.BindInterdomain(2, far[i])))
	}
	g.expect(local...)
	x.d.Send(far[0]) // port 0 is the tail of vcpu 0's queue
	g.expect(local[0])
	g.d.BindVCPU(local[0], 1)
	x.d.Send(far[0]) // and now of vcpu 1's, and stays linked
	x.d.Send(far[1]) // on vcpu 0
	if got := g.take(0); !slices.Equal(got, local[1:]) {
		t.Errorf("vcpu 0 took %v", got)
	}
	if got := g.take(1); !slices.Equal(got, local[:1]) {
		t.Errorf("vcpu 1 took %v", got)
	}
}

func TestFIFOBusyPortIsNotReused(t *testing.T) {
	var h Hub
	g := newGuest(t, &h, 1, nil)
	g.useFIFO(1)
	n := must(g.d.BindIPI(0))
	g.d.Send(n)
	g.d.Close(n)
	if m := must(g.d.BindIPI(0)); m == n {
		t.Error("a port on a list is used again")
	}
	g.expect() // off the list, and nothing pending
	if m := must(g.d.BindIPI(0)); m != n {
		t.Errorf("port %d is used, want %d", m, n)
	}
}

// TestFIFOHostileWords lets the guest put nonsense into every word and block.
func TestFIFOHostileWords(t *testing.T) {
	var h Hub
	g := newGuest(t, &h, 1, nil)
	g.useFIFO(1)
	var ports []uint32
	for i := range 8 {
		ports = append(ports, must(g.d.BindIPI(uint32(i%testVCPUs))))
	}
	for _, junk := range []uint32{^uint32(0), fifoLinked | fifoLinkMask, fifoBusy, fifoMasked | fifoPending, fifoLinkMask} {
		for round := range 3 {
			for _, n := range ports {
				g.words[0].Store32(int(n)*4, junk)
				g.d.Send(n)
				if round == 1 {
					g.d.Unmask(n)
				}
			}
		}
		for _, b := range g.blocks {
			b.Store32(64, junk)
		}
	}
	// It obeys again, and all works again once the words are sane.
	for _, n := range ports {
		g.d.Close(n)
	}
	g.words[0].Clear()
	for v, b := range g.blocks {
		b.Clear()
		g.heads[v] = [fifoQueues]uint32{}
		g.upcall(v)
		g.calls[v].Store(0)
	}
	n := must(g.d.BindIPI(1))
	g.d.Send(n)
	g.expect(n)
}
