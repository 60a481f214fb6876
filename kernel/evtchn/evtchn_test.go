package evtchn

import (
	"errors"
	"testing"

	"nidus/kernel/xenabi"
	"nidus/mm"
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// eachABI runs a test with the 2-level ABI for both widths and with FIFO.
func eachABI(t *testing.T, f func(t *testing.T, make func(h *Hub, id mm.DomID) *guest)) {
	for _, w := range []xenabi.Width{xenabi.Guest64, xenabi.Guest32} {
		t.Run(map[xenabi.Width]string{8: "2level64", 4: "2level32"}[w], func(t *testing.T) {
			f(t, func(h *Hub, id mm.DomID) *guest {
				return newGuest(t, h, id, func(c *Config) { c.Width = w })
			})
		})
	}
	t.Run("fifo", func(t *testing.T) {
		f(t, func(h *Hub, id mm.DomID) *guest {
			g := newGuest(t, h, id, nil)
			g.useFIFO(1)
			return g
		})
	})
}

func TestInterdomain(t *testing.T) {
	eachABI(t, func(t *testing.T, make func(*Hub, mm.DomID) *guest) {
		var h Hub
		a, b := make(&h, 1), make(&h, 2)
		pa := must(a.d.AllocUnbound(2))
		if _, err := b.d.BindInterdomain(1, pa+1); err != xenabi.EINVAL {
			t.Errorf("bind to a port that is none: %v", err)
		}
		if _, err := b.d.BindInterdomain(7, pa); err != xenabi.ESRCH {
			t.Errorf("bind to a domain that is none: %v", err)
		}
		pb := must(b.d.BindInterdomain(1, pa))
		b.expect(pb) // always pending at once
		if _, err := b.d.BindInterdomain(1, pa); err != xenabi.EINVAL {
			t.Errorf("second bind: %v", err)
		}
		for range 3 {
			if err := a.d.Send(pa); err != nil {
				t.Fatal(err)
			}
		}
		b.expect(pb)
		if n := b.calls[0].Load(); n != 0 {
			t.Errorf("%d notifications left", n)
		}
		b.d.Send(pb)
		a.expect(pa)

		// Masked: nothing, then unmask delivers.
		b.mask(pb)
		a.d.Send(pa)
		b.expect()
		if p, err := b.d.AnyPending([]uint32{pb}); !p || err != nil {
			t.Errorf("AnyPending: %v, %v", p, err)
		}
		b.d.Unmask(pb)
		b.expect(pb)

		// Another vcpu.
		if err := b.d.BindVCPU(pb, 3); err != nil {
			t.Fatal(err)
		}
		a.d.Send(pa)
		if got := b.take(0); got != nil {
			t.Errorf("vcpu 0 took %v", got)
		}
		if got := b.take(3); len(got) != 1 {
			t.Errorf("vcpu 3 took %v", got)
		}

		// Closing leaves the peer unbound, and the channel can be made again.
		if err := a.d.Close(pa); err != nil {
			t.Fatal(err)
		}
		if s := must(b.d.Status(pb)); s.Status != xenabi.EvtchnStatUnbound || s.PeerDom != 1 {
			t.Errorf("peer after close: %+v", s)
		}
		if err := b.d.Send(pb); err != nil {
			t.Errorf("send to nobody: %v", err)
		}
		if err := a.d.Send(pa); err != xenabi.EINVAL {
			t.Errorf("send on a closed port: %v", err)
		}
		pa = must(a.d.BindInterdomain(2, pb))
		a.expect(pa)
		a.d.Destroy()
		if s := must(b.d.Status(pb)); s.Status != xenabi.EvtchnStatUnbound {
			t.Errorf("peer after destroy: %+v", s)
		}
		b.d.Destroy()
		if n := a.mem.pinned() + b.mem.pinned(); n != 0 {
			t.Errorf("%d pages pinned", n)
		}
		if h.Domain(1) != nil || h.Domain(2) != nil || a.d.PortsInUse()+b.d.PortsInUse() != 0 {
			t.Error("something is left")
		}
	})
}

func TestVIRQAndIPI(t *testing.T) {
	eachABI(t, func(t *testing.T, make func(*Hub, mm.DomID) *guest) {
		var h Hub
		g := make(&h, 1)
		for _, c := range []struct {
			virq, vcpu uint32
			want       error
		}{
			{xenabi.NrVIRQs, 0, xenabi.EINVAL}, {^uint32(0), 0, xenabi.EINVAL},
			{xenabi.VIRQConsole, 1, xenabi.EINVAL}, {xenabi.VIRQTimer, testVCPUs, xenabi.ENOENT},
		} {
			if _, err := g.d.BindVIRQ(c.virq, c.vcpu); err != c.want {
				t.Errorf("bind virq %d on %d: %v, want %v", c.virq, c.vcpu, err, c.want)
			}
		}
		g.d.RaiseVIRQ(0, xenabi.VIRQTimer) // nobody listens
		t0 := must(g.d.BindVIRQ(xenabi.VIRQTimer, 0))
		t2 := must(g.d.BindVIRQ(xenabi.VIRQTimer, 2))
		co := must(g.d.BindVIRQ(xenabi.VIRQConsole, 0))
		ipi := must(g.d.BindIPI(1))
		if _, err := g.d.BindVIRQ(xenabi.VIRQTimer, 2); err != xenabi.EEXIST {
			t.Errorf("second bind: %v", err)
		}
		g.d.RaiseVIRQ(2, xenabi.VIRQTimer)
		g.d.RaiseVIRQ(3, xenabi.VIRQTimer)
		g.d.RaiseVIRQ(3, xenabi.VIRQConsole)
		g.d.RaiseVIRQ(-1, xenabi.VIRQTimer)
		g.d.RaiseVIRQ(0, 1<<31)
		g.expect(t2, co)
		g.d.Send(ipi)
		if got := g.take(1); len(got) != 1 || got[0] != ipi {
			t.Errorf("ipi: %v", got)
		}
		if err := g.d.Send(t0); err != xenabi.EINVAL {
			t.Errorf("send on a virq: %v", err)
		}
		for _, n := range []uint32{t0, ipi, 900, 0} {
			if err := g.d.BindVCPU(n, 1); err != xenabi.EINVAL {
				t.Errorf("bind_vcpu %d: %v", n, err)
			}
		}
		if err := g.d.BindVCPU(co, testVCPUs); err != xenabi.ENOENT {
			t.Errorf("bind_vcpu: %v", err)
		}
		if err := g.d.BindVCPU(co, 1); err != nil {
			t.Error(err)
		}
		if err := g.d.Close(t2); err != nil {
			t.Error(err)
		}
		g.d.RaiseVIRQ(2, xenabi.VIRQTimer)
		g.expect()
		must(g.d.BindVIRQ(xenabi.VIRQTimer, 2))
	})
}

func TestQuota(t *testing.T) {
	for _, c := range []struct {
		name  string
		max   uint32
		width xenabi.Width
		want  int
	}{
		{"default", 0, 8, DefaultMaxPorts}, {"2level64", 1 << 20, 8, 4095},
		{"2level32", 1 << 20, 4, 1023}, {"ten", 10, 8, 10},
	} {
		t.Run(c.name, func(t *testing.T) {
			var h Hub
			g := newGuest(t, &h, 1, func(cf *Config) { cf.MaxPorts, cf.Width = c.max, c.width })
			seen := map[uint32]bool{}
			for {
				n, err := g.d.BindIPI(0)
				if err == xenabi.ENOSPC {
					break
				}
				if err != nil || n == 0 || seen[n] {
					t.Fatalf("port %d: %v", n, err)
				}
				seen[n] = true
			}
			if len(seen) != c.want || g.d.PortsInUse() != c.want {
				t.Errorf("%d ports, want %d", len(seen), c.want)
			}
			if err := g.d.Close(5); err != nil {
				t.Fatal(err)
			}
			if n := must(g.d.BindIPI(0)); n != 5 {
				t.Errorf("port %d comes after 5 was closed", n)
			}
		})
	}
}

func TestNewDomainRefuses(t *testing.T) {
	var h Hub
	newGuest(t, &h, 1, nil)
	for _, c := range []struct {
		cfg  Config
		want xenabi.Errno
	}{
		{Config{ID: 1, VCPUs: 1}, xenabi.EEXIST}, {Config{ID: mm.DomIDSelf, VCPUs: 1}, xenabi.EINVAL},
		{Config{ID: 2}, xenabi.EINVAL}, {Config{ID: 2, VCPUs: 1, Width: 3}, xenabi.EINVAL},
		{Config{ID: 2, VCPUs: 1 << 20}, xenabi.EINVAL},
	} {
		if _, err := h.NewDomain(c.cfg); !errors.Is(err, c.want) {
			t.Errorf("%+v: %v", c.cfg, err)
		}
	}
}

func TestRegisterVCPUInfo(t *testing.T) {
	var h Hub
	g := newGuest(t, &h, 1, nil)
	ipi := must(g.d.BindIPI(1))
	g.d.Send(ipi) // pending in the old place
	for _, c := range []struct {
		v    uint32
		g    mm.GFN
		off  uint32
		want error
	}{
		{testVCPUs, 5, 0, xenabi.ENOENT}, {1, 1000, 0, xenabi.EINVAL}, {1, 5, mm.PageSize - 56, xenabi.ENXIO},
		{1, 5, 4, xenabi.ENXIO}, {1, mm.InvalidGFN, 0, xenabi.EINVAL}, {1, 5, ^uint32(7), xenabi.ENXIO},
		{1, 5, mm.PageSize - 64, nil}, {1, 6, 0, xenabi.EINVAL},
	} {
		if err := g.d.RegisterVCPUInfo(c.v, c.g, c.off); err != c.want {
			t.Errorf("%+v: %v", c, err)
		}
	}
	if pg, off, _ := g.d.VCPUInfo(1); pg != g.mem.pages[5] || off != mm.PageSize-64 {
		t.Error("vcpu_info did not move")
	}
	g.expect(ipi)
	g.d.Send(ipi)
	g.expect(ipi)
	if n := g.mem.pinned(); n != 1 {
		t.Errorf("%d pages pinned", n)
	}
	g.d.Destroy()
	g.d.Destroy()
	if n := g.mem.pinned(); n != 0 {
		t.Errorf("%d pages pinned after the end", n)
	}
}

func TestUpcallMask(t *testing.T) {
	for _, pv := range []bool{false, true} {
		var h Hub
		g := newGuest(t, &h, 1, func(c *Config) { c.PV = pv })
		n := must(g.d.BindIPI(0))
		g.shared.Store8(xenabi.VCPUEvtchnUpcallMask, 1)
		g.d.Send(n)
		if g.d.PendingUpcall(0) == pv {
			t.Errorf("pv %v: masked upcall: %v", pv, !pv)
		}
		if !g.d.UnmaskUpcall(0) {
			t.Errorf("pv %v: no upcall after unmask", pv)
		}
		if g.d.PendingUpcall(-1) || g.d.PendingUpcall(99) || g.d.PendingUpcall(1) {
			t.Error("upcall for nobody")
		}
	}
}

func TestPoll(t *testing.T) {
	eachABI(t, func(t *testing.T, make func(*Hub, mm.DomID) *guest) {
		var h Hub
		g := make(&h, 1)
		a, b := must(g.d.BindIPI(0)), must(g.d.BindIPI(0))
		g.mask(a) // as the spinlock kicker's port
		for _, bad := range [][]uint32{{0}, {1 << 20}, {^uint32(0)}, append(make129(), 1)} {
			if _, err := g.d.BeginPoll(2, bad); err != xenabi.EINVAL {
				t.Errorf("poll of %d ports: %v", len(bad), err)
			}
		}
		if g.d.pollers.Load() != 0 {
			t.Fatal("a refused poll stays")
		}
		if r, err := g.d.BeginPoll(2, []uint32{a}); r || err != nil {
			t.Fatalf("poll: %v %v", r, err)
		}
		g.d.Send(b)
		if g.calls[2].Load() != 0 {
			t.Error("woken for another port")
		}
		g.d.Send(a)
		if g.calls[2].Swap(0) != 1 {
			t.Error("not woken")
		}
		g.d.EndPoll(2)
		g.d.EndPoll(2)
		if r, _ := g.d.BeginPoll(2, []uint32{b, a}); !r || g.d.pollers.Load() != 0 {
			t.Error("pending port is not seen")
		}
	})
}

func make129() []uint32 {
	s := make([]uint32, MaxPollPorts)
	for i := range s {
		s[i] = 1
	}
	return s
}

func TestLocal(t *testing.T) {
	var h Hub
	dom0 := must(h.NewDomain(Config{ID: 0, VCPUs: 1}))
	g := newGuest(t, &h, 1, nil)
	gp := must(g.d.AllocUnbound(0))
	calls := 0
	lp := must(dom0.BindLocal(1, gp, func() { calls++ }))
	if calls != 1 {
		t.Errorf("%d calls after bind, want 1", calls)
	}
	g.d.Send(gp)
	if calls != 2 {
		t.Errorf("%d calls after send, want 2", calls)
	}
	if n := g.device.Load(); n != 0 {
		t.Errorf("%d devices' events before the backend sent one", n)
	}
	dom0.Send(lp)
	g.expect(gp)
	if n := g.device.Load(); n != 1 {
		t.Errorf("the backend's event came %d times as a device's", n)
	}
	// The backend restarts: events wait.
	if err := dom0.SetLocal(lp, nil); err != nil {
		t.Fatal(err)
	}
	g.d.Send(gp)
	got := 0
	dom0.SetLocal(lp, func() { got++ })
	dom0.SetLocal(lp, func() { got++ })
	if calls != 2 || got != 1 {
		t.Errorf("%d old calls, %d new ones", calls, got)
	}
	// A callback may use the channel.
	dom0.SetLocal(lp, func() { dom0.Send(lp) })
	g.d.Send(gp)
	g.expect(gp)
	// A local port in the guest's own domain is not the guest's.
	own := must(g.d.AllocLocal(0, nil))
	b := []byte{byte(own), 0, 0, 0}
	for _, op := range []uint32{xenabi.EvtchnOpClose, xenabi.EvtchnOpSend} {
		if err := g.d.Hypercall(op, b); err != xenabi.EINVAL {
			t.Errorf("op %d on a local port: %v", op, err)
		}
	}
	if err := g.d.CloseLocal(gp); err != xenabi.EINVAL {
		t.Errorf("CloseLocal of a guest's port: %v", err)
	}
	if err := g.d.SetLocal(gp, nil); err != xenabi.EINVAL {
		t.Errorf("SetLocal of a guest's port: %v", err)
	}
	g.d.Reset()
	if g.d.PortsInUse() != 1 {
		t.Errorf("%d ports after reset, want the local one", g.d.PortsInUse())
	}
	if err := g.d.CloseLocal(own); err != nil {
		t.Error(err)
	}
	if err := dom0.CloseLocal(lp); err != nil {
		t.Error(err)
	}
	g.d.Destroy()
	dom0.Destroy()
}

func TestSendDoesNotAllocate(t *testing.T) {
	eachABI(t, func(t *testing.T, make func(*Hub, mm.DomID) *guest) {
		var h Hub
		a, b := make(&h, 1), make(&h, 2)
		pa := must(a.d.AllocUnbound(2))
		must(b.d.BindInterdomain(1, pa))
		ipi := must(a.d.BindIPI(0))
		virq := must(a.d.BindVIRQ(xenabi.VIRQTimer, 0))
		arg, ipiArg := []byte{byte(pa), 0, 0, 0}, []byte{byte(ipi), 0, 0, 0}
		_ = virq
		if n := testing.AllocsPerRun(100, func() {
			a.d.Hypercall(xenabi.EvtchnOpSend, arg)
			a.d.Hypercall(xenabi.EvtchnOpSend, ipiArg)
			a.d.Hypercall(xenabi.EvtchnOpUnmask, ipiArg)
			a.d.Hypercall(xenabi.EvtchnOpSend, []byte{255, 0, 0, 0})
			a.d.RaiseVIRQ(0, xenabi.VIRQTimer)
			a.d.PendingUpcall(0)
		}); n != 0 {
			t.Errorf("%v allocations", n)
		}
	})
}

func BenchmarkSend(b *testing.B) {
	for _, fifo := range []bool{false, true} {
		b.Run(map[bool]string{false: "2level", true: "fifo"}[fifo], func(b *testing.B) {
			var h Hub
			x, y := newGuest(b, &h, 1, nil), newGuest(b, &h, 2, nil)
			if fifo {
				y.useFIFO(1)
			}
			px := must(x.d.AllocUnbound(2))
			py := must(y.d.BindInterdomain(1, px))
			y.upcall(0)
			arg := []byte{byte(px), 0, 0, 0}
			b.ReportAllocs()
			for b.Loop() {
				x.d.Hypercall(xenabi.EvtchnOpSend, arg)
				// Clear what was sent, so that each round takes the long way.
				pg, off, _ := y.d.VCPUInfo(0)
				pg.Store8(off, 0)
				if fifo {
					y.blocks[0].Store32(64, 0)
					y.words[0].Store32(int(py)*4, 0)
				} else {
					y.shared.And32(off+8, 0)
					y.shared.Store32(xenabi.SharedInfoOf(xenabi.Guest64).EvtchnPending, 0)
				}
			}
		})
	}
}
