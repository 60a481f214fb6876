package xenstore

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"

	"nidus/mm"
)

func TestQuotas(t *testing.T) {
	q := DefaultQuota
	q.Nodes, q.Watches, q.Transactions, q.TxOps = 20, 2, 2, 3
	s, _ := newHome(t, q, 3)
	g := newGuest(t, s, 3, 0)
	had := s.Nodes(3)
	for i := range 30 {
		want := "OK|"
		if had+i >= 20 {
			want = "ENOSPC|"
		}
		if got := g.ask(0, MsgWrite, fmt.Sprintf("data/n%d|", i)); got != want {
			t.Fatalf("node %d: %s, want %s", i, got, want)
		}
	}
	if got := g.ask(0, MsgRm, "data|"); got != "OK|" {
		t.Fatal(got)
	}
	if n := s.Nodes(3); n != had-1 {
		t.Errorf("%d nodes held, want %d", n, had-1)
	}
	for i, want := range []string{"OK|", "OK|", "ENOSPC|"} {
		if got := g.ask(0, MsgWatch, fmt.Sprintf("data|%d|", i)); got != want {
			t.Errorf("watch %d: %s", i, got)
		}
	}
	for i, want := range []string{"1|", "2|", "ENOSPC|"} {
		if got := g.ask(0, MsgTransactionStart, "|"); got != want {
			t.Errorf("transaction %d: %s", i, got)
		}
	}
	for i, want := range []string{"g", "g", "g", "ENOSPC|"} {
		if got := g.ask(1, MsgRead, "name|"); got != want {
			t.Errorf("transaction request %d: %s", i, got)
		}
	}
}

// A guest that asks and never reads is not served until it does, and loses no
// reply; events for it pile up to a limit only.
func TestBackpressure(t *testing.T) {
	s, c := newHome(t, DefaultQuota, 3)
	g := newGuest(t, s, 3, 0)
	req := append(Header{Type: MsgGetDomainPath, Len: 2}.Append(nil), "3\x00"...)
	sent := 0
	for g.page.Load32(offReqProd)-g.page.Load32(offReqCons) <= ringSize-uint32(len(req)) {
		g.put(req)
		if sent++; sent > 1000 {
			t.Fatal("server never stops taking requests")
		}
	}
	if g.r.msgs > DefaultQuota.Outstanding {
		t.Errorf("%d replies queued", g.r.msgs)
	}
	for i := range sent {
		if h, _ := g.next(); h.Type != MsgGetDomainPath {
			t.Fatalf("reply %d of %d is %+v", i, sent, h)
		}
	}
	g.ask(0, MsgWatch, "data|w|")
	for i := range 5000 {
		if err := c.Write(fmt.Sprintf("/local/domain/3/data/n%d", i), ""); err != nil {
			t.Fatal(err)
		}
	}
	if len(g.r.out) > DefaultQuota.EventBytes+32<<10 || g.r.Lost() == 0 {
		t.Errorf("%d bytes queued, %d events lost", len(g.r.out), g.r.Lost())
	}
}

func TestSameEventPendsOnce(t *testing.T) {
	s, c := newHome(t, DefaultQuota, 3)
	g := newGuest(t, s, 3, 0)
	g.ask(0, MsgWatch, "data|w|")
	g.events()
	for i := range 1000 {
		_ = c.Write("/local/domain/3/data/n", fmt.Sprint(i))
	}
	if len(g.r.out)-g.r.sent > 100 || g.r.Lost() != 0 {
		t.Errorf("%d bytes queued, %d lost", len(g.r.out)-g.r.sent, g.r.Lost())
	}
	if got := g.events(); !strings.HasPrefix(got, "data/n|w") {
		t.Errorf("events %q", got)
	}
}

func TestHostileRing(t *testing.T) {
	for name, c := range map[string]struct {
		do   func(p mm.Page)
		want uint32
	}{
		"producer": {func(p mm.Page) { p.Store32(offReqProd, 5000) }, errorRingIndex},
		"consumer": {func(p mm.Page) { p.Store32(offRspCons, 77); p.Store32(offReqProd, 16); p.Store32(0, 99) }, errorRingIndex},
		"length": {func(p mm.Page) {
			p.Write(0, Header{Type: MsgRead, Len: PayloadMax + 1}.Append(nil))
			p.Store32(offReqProd, 16)
		}, errorProtocol},
		"own indexes": {func(p mm.Page) { p.Store32(offReqCons, 999); p.Store32(offRspProd, 999) }, errorNone},
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := newHome(t, DefaultQuota, 3)
			g := newGuest(t, s, 3, 0)
			c.do(g.page)
			g.r.Poll()
			if got := g.page.Load32(offError); got != c.want {
				t.Fatalf("error field %d, want %d", got, c.want)
			}
			g.page.Store32(offConnection, reconnect)
			if kick, _ := g.r.Poll(); !kick {
				t.Error("not signalled after reconnect")
			}
			if g.page.Load32(offConnection) != connected || g.page.Load32(offError) != 0 {
				t.Fatal("not connected again")
			}
			if got := g.ask(0, MsgRead, "name|"); got != "g" {
				t.Errorf("after reconnect: %q", got)
			}
		})
	}
}

// A released domain's page is not touched any more.
func TestReleaseLeavesPage(t *testing.T) {
	s, c := newHome(t, DefaultQuota, 3)
	g := newGuest(t, s, 3, 0)
	g.ask(0, MsgWatch, "data|w|")
	s.Release(3)
	s.Release(3)
	g.page.Clear()
	g.page.Store32(offReqProd, 16)
	g.r.Poll()
	_ = c.Write("/local/domain/3/data/x", "")
	b := make([]byte, mm.PageSize)
	g.page.Read(0, b)
	b[offReqProd] = 0
	if !bytes.Equal(b, make([]byte, mm.PageSize)) {
		t.Error("page written after release")
	}
	if _, err := s.Introduce(3, g.page, nil); err != nil {
		t.Error(err)
	}
}

// Guests and the host at once: each finds its own world in order.
func TestConcurrent(t *testing.T) {
	s, c := newHome(t, DefaultQuota, 1)
	var wg sync.WaitGroup
	for dom := mm.DomID(1); dom <= 4; dom++ {
		d := DomainPaths{Dom: dom, Name: "g", UUID: fmt.Sprint(dom)}
		if err := d.Write(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		g := newGuest(t, s, dom, 0)
		wg.Go(func() {
			if got := g.ask(0, MsgWatch, "data|w|"); got != "OK|" {
				t.Error(got)
			}
			for i := range 300 {
				tx := g.ask(0, MsgTransactionStart, "|")
				var id uint32
				fmt.Sscan(strings.TrimSuffix(tx, "|"), &id)
				v := fmt.Sprint(i)
				if got := g.ask(id, MsgWrite, "data/n|"+v); got != "OK|" {
					t.Error(got)
				}
				if got := g.ask(id, MsgTransactionEnd, "T|"); got != "OK|" {
					t.Errorf("domain %d: end: %s", dom, got)
				}
				if got := g.ask(0, MsgRead, "data/n|"); got != v {
					t.Errorf("domain %d reads %q, want %q", dom, got, v)
				}
				g.ev = nil
			}
		})
		wg.Go(func() {
			for i := range 300 {
				if err := c.Write(DomainPath(dom)+"/data/h", fmt.Sprint(i)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

func FuzzRing(f *testing.F) {
	f.Add(append(Header{Type: MsgRead, Len: 5}.Append(nil), "name\x00"...), uint32(21), uint32(0))
	f.Add(append(Header{Type: MsgWatch, Len: 7}.Append(nil), "data\x00t\x00"...), uint32(23), uint32(0))
	f.Add(append(Header{Type: MsgSetPerms, Len: 9}.Append(nil), "data\x00n3\x00b0"...), uint32(1024), uint32(1020))
	f.Add(append(Header{Type: MsgTransactionStart, Len: 1}.Append(nil), 0), uint32(17), uint32(4096))
	f.Fuzz(func(t *testing.T, b []byte, prod, cons uint32) {
		s, c := newHome(t, DefaultQuota, 3)
		page := mm.NewPage()
		r, err := s.Introduce(3, page, func(bool) {})
		if err != nil {
			t.Fatal(err)
		}
		page.Write(0, b[:min(len(b), 2048)])
		page.Store32(offReqProd, prod)
		for i := range 8 {
			r.Poll()
			_ = c.Write("/local/domain/3/data/z", fmt.Sprint(i))
			page.Store32(offReqProd, page.Load32(offReqProd)+prod%777)
			page.Store32(offRspCons, page.Load32(offRspProd)+cons)
		}
		if s.Nodes(3) > DefaultQuota.Nodes || r.c.nwatches > DefaultQuota.Watches {
			t.Error("quota exceeded")
		}
		if _, err := Restore(DefaultQuota, s.Snapshot()); err != nil {
			t.Error(err)
		}
		if v, err := c.Read("/local/domain/3/name"); err != nil || v != "g" {
			t.Errorf("name is %q, %v", v, err)
		}
	})
}
