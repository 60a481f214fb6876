package xenstore

import (
	"bytes"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"nidus/mm"
)

// guest speaks the protocol over a page as a guest kernel does.
type guest struct {
	t     testing.TB
	page  mm.Page
	r     *Ring
	reqID uint32
	kicks atomic.Int64
	full  atomic.Int64 // times that notify said so
	in    []byte
	ev    []string
}

func newGuest(t testing.TB, s *Store, dom mm.DomID, start uint32) *guest {
	g := &guest{t: t, page: mm.NewPage()}
	for off := offReqCons; off <= offRspProd; off += 4 {
		g.page.Store32(off, start)
	}
	r, err := s.Introduce(dom, g.page, func(full bool) {
		g.kicks.Add(1)
		if full {
			g.full.Add(1)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	g.r = r
	return g
}

func (g *guest) put(b []byte) {
	for len(b) > 0 {
		prod, cons := g.page.Load32(offReqProd), g.page.Load32(offReqCons)
		n := min(len(b), ringSize-int(prod-cons))
		if n == 0 {
			g.t.Fatal("request ring full and the server does not read")
		}
		for i := range n {
			g.page.Store8(offReq+int((prod+uint32(i))%ringSize), b[i])
		}
		g.page.Store32(offReqProd, prod+uint32(n))
		b = b[n:]
		g.r.Poll()
	}
}

func (g *guest) take() {
	prod, cons := g.page.Load32(offRspProd), g.page.Load32(offRspCons)
	for ; cons != prod; cons++ {
		g.in = append(g.in, g.page.Load8(offRsp+int(cons%ringSize)))
	}
	g.page.Store32(offRspCons, cons)
}

// next returns the next reply; watch events go to g.ev. However many events come
// first, it ends with the invalid type when round after round brings nothing.
func (g *guest) next() (Header, string) {
	for idle := 0; idle < 100; idle++ {
		g.take()
		g.r.Poll()
		if len(g.in) < HeaderSize {
			continue
		}
		h := DecodeHeader(g.in)
		if len(g.in) < HeaderSize+int(h.Len) {
			continue
		}
		body := string(g.in[HeaderSize : HeaderSize+h.Len])
		g.in = g.in[HeaderSize+h.Len:]
		if h.Type != MsgWatchEvent {
			return h, body
		}
		g.ev = append(g.ev, strings.ReplaceAll(strings.TrimSuffix(body, "\x00"), "\x00", "|"))
		idle = 0
	}
	return Header{Type: 0xffff}, ""
}

// ask returns the reply with | for NUL; errors are their names.
func (g *guest) ask(tx uint32, t MsgType, payload string) string {
	g.reqID++
	payload = strings.ReplaceAll(payload, "|", "\x00")
	g.put(append(Header{Type: t, ReqID: g.reqID, TxID: tx, Len: uint32(len(payload))}.Append(nil), payload...))
	h, body := g.next()
	if h.ReqID != g.reqID || h.TxID != tx || h.Type != t && h.Type != MsgError {
		g.t.Fatalf("reply %+v to request %d of type %d", h, g.reqID, t)
	}
	return strings.ReplaceAll(body, "\x00", "|")
}

func (g *guest) events() string {
	g.next()
	s := strings.Join(g.ev, " ")
	g.ev = nil
	return s
}

func newHome(t testing.TB, q Quota, dom mm.DomID) (*Store, *Conn) {
	s := New(q)
	c := s.Open(0)
	d := DomainPaths{Dom: dom, Name: "g", UUID: "u-1", VCPUs: 1, MaxVCPUs: 2}
	if err := d.Write(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	return s, c
}

func TestProtocol(t *testing.T) {
	s, _ := newHome(t, DefaultQuota, 3)
	g := newGuest(t, s, 3, 0xffffff00) // indexes wrap on the way
	long := strings.Repeat("x", 2049)
	for i, c := range []struct {
		tx      uint32
		typ     MsgType
		payload string
		want    string
	}{
		{0, MsgRead, "name|", "g"},
		{0, MsgRead, "/local/domain/3/domid|", "3"},
		{0, MsgRead, "name", "EINVAL|"},
		{0, MsgRead, "|", "EINVAL|"},
		{0, MsgRead, "a//b|", "EINVAL|"},
		{0, MsgRead, "a/|", "EINVAL|"},
		{0, MsgRead, "a b|", "EINVAL|"},
		{0, MsgRead, "@releaseDomain|", "EINVAL|"},
		{0, MsgRead, "nothing|", "ENOENT|"},
		{0, MsgRead, "/|", "EACCES|"},
		{0, MsgRead, "/tool/secret|", "EACCES|"},
		{7, MsgRead, "name|", "ENOENT|"},
		{0, MsgWrite, "data/a/b|1|2", "OK|"},
		{0, MsgRead, "data/a/b|", "1|2"},
		{0, MsgRead, "data/a|", ""},
		{0, MsgWrite, "name|x", "EACCES|"},
		{0, MsgWrite, "data/a|" + long, "ENOSPC|"},
		{0, MsgWrite, "data" + strings.Repeat("/d", 61) + "|x", "ENOSPC|"},
		{0, MsgMkdir, "data/c|", "OK|"},
		{0, MsgMkdir, "data/c|", "OK|"},
		{0, MsgDirectory, "data|", "a|c|"},
		{0, MsgDirectory, "data/c|", ""},
		{0, MsgDirectory, "device|", "suspend|"},
		{0, MsgDirectoryPart, "data|9|", "EINVAL|"},
		{0, MsgDirectoryPart, "data|x|", "EINVAL|"},
		{0, MsgGetPerms, "data/a|", "n3|"},
		{0, MsgGetPerms, "name|", "n0|r3|"},
		{0, MsgSetPerms, "data/a|n3|r0|b4|", "OK|"},
		{0, MsgGetPerms, "data/a|", "n3|r0|b4|"},
		{0, MsgSetPerms, "data/a|n4|", "EPERM|"},
		{0, MsgSetPerms, "data/a|n3|n3|n3|n3|n3|n3|", "ENOSPC|"},
		{0, MsgSetPerms, "data/a|q3|", "EINVAL|"},
		{0, MsgSetPerms, "data/a|", "EINVAL|"},
		{0, MsgSetPerms, "name|n3|", "EACCES|"},
		{0, MsgRm, "data/a|", "OK|"},
		{0, MsgRm, "data/a|", "OK|"},
		{0, MsgRm, "data/a/b/c|", "ENOENT|"},
		{0, MsgRm, "name|", "EACCES|"},
		{0, MsgRm, "/|", "EINVAL|"},
		{0, MsgTransactionStart, "|", "1|"},
		{1, MsgTransactionStart, "|", "EBUSY|"},
		{1, MsgWrite, "data/t|v", "OK|"},
		{1, MsgRead, "data/t|", "v"},
		{0, MsgRead, "data/t|", "ENOENT|"},
		{1, MsgTransactionEnd, "X|", "EINVAL|"},
		{1, MsgTransactionEnd, "T|", "OK|"},
		{1, MsgTransactionEnd, "T|", "ENOENT|"},
		{0, MsgRead, "data/t|", "v"},
		{0, MsgGetDomainPath, "7|", "/local/domain/7|"},
		{0, MsgGetDomainPath, "70000|", "EINVAL|"},
		{0, MsgIsDomainIntroduced, "3|", "EACCES|"},
		{0, MsgIntroduce, "3|1|1|", "EACCES|"},
		{0, MsgRelease, "3|", "EACCES|"},
		{0, MsgControl, "help|", "EACCES|"},
		{0, 20, "", "ENOSYS|"},
		{0, 12345, "x", "ENOSYS|"},
		{0, MsgWatchEvent, "x|y|", "ENOSYS|"},
		{0, MsgWatch, "data|", "EINVAL|"},
		{0, MsgWatch, "data|" + strings.Repeat("t", 1023) + "|", "E2BIG|"},
		{0, MsgWatch, "data|tok|", "OK|"},
		{0, MsgWatch, "data|tok|", "EEXIST|"},
		{0, MsgUnwatch, "data|other|", "ENOENT|"},
		{0, MsgUnwatch, "data|tok|", "OK|"},
		{0, MsgResetWatches, "|", "OK|"},
	} {
		if got := g.ask(c.tx, c.typ, c.payload); got != c.want {
			t.Errorf("%d: type %d %.40q: got %q, want %q", i, c.typ, c.payload, got, c.want)
		}
	}
}

func TestAdmin(t *testing.T) {
	s := New(DefaultQuota)
	g := newGuest(t, s, 0, 0)
	newGuest(t, s, 5, 0)
	for _, c := range []struct {
		typ           MsgType
		payload, want string
	}{
		{MsgIsDomainIntroduced, "5|", "T|"}, {MsgIsDomainIntroduced, "6|", "F|"},
		{MsgResume, "6|", "ENOENT|"}, {MsgResume, "5|", "OK|"},
		{MsgSetTarget, "5|0|", "ENOSYS|"}, {MsgIntroduce, "8|1|1|", "ENOSYS|"},
		{MsgRelease, "5|", "OK|"}, {MsgIsDomainIntroduced, "5|", "F|"},
		{MsgRelease, "0|", "EINVAL|"}, {MsgControl, "check|", "OK|"}, {MsgControl, "x|", "EINVAL|"},
	} {
		if got := g.ask(0, c.typ, c.payload); got != c.want {
			t.Errorf("type %d %q: got %q, want %q", c.typ, c.payload, got, c.want)
		}
	}
}

func TestDirectoryPart(t *testing.T) {
	s, c := newHome(t, DefaultQuota, 3)
	var want strings.Builder
	for i := range 600 {
		n := fmt.Sprintf("child-%06d", i)
		want.WriteString(n + "|")
		if err := c.Write("/local/domain/3/data/"+n, ""); err != nil {
			t.Fatal(err)
		}
	}
	g := newGuest(t, s, 3, 0)
	if got := g.ask(0, MsgDirectory, "data|"); got != "E2BIG|" {
		t.Fatalf("whole list: %q", got)
	}
	var all string
	for range 10 {
		part := g.ask(0, MsgDirectoryPart, fmt.Sprintf("data|%d|", len(all)))
		_, names, _ := strings.Cut(part, "|")
		last := names == "|" || strings.HasSuffix(names, "||")
		if last {
			names = names[:len(names)-1]
		}
		all += names
		if last {
			break
		}
	}
	if all != want.String() {
		t.Errorf("parts make %d bytes, want %d", len(all), want.Len())
	}
}

func TestWatchEvents(t *testing.T) {
	s, c := newHome(t, DefaultQuota, 3)
	g := newGuest(t, s, 3, 0)
	step := func(want string, do func() error) {
		t.Helper()
		if err := do(); err != nil {
			t.Fatal(err)
		}
		if got := g.events(); got != want {
			t.Errorf("events %q, want %q", got, want)
		}
	}
	ask := func(typ MsgType, p string) func() error {
		return func() error {
			if got := g.ask(0, typ, p); got != "OK|" {
				return fmt.Errorf("%s: %s", p, got)
			}
			return nil
		}
	}
	home := DomainPath(3)
	step("data|rel", ask(MsgWatch, "data|rel|"))
	step(home+"/data|abs", ask(MsgWatch, home+"/data|abs|"))
	step("data/x/y|deep", ask(MsgWatch, "data/x/y|deep|"))
	step("@releaseDomain|r", ask(MsgWatch, "@releaseDomain|r|"))
	step("/tool|t", ask(MsgWatch, "/tool|t|"))
	step("data/x/y/z|rel "+home+"/data/x/y/z|abs data/x/y/z|deep", func() error { return c.Write(home+"/data/x/y/z", "1") })
	step("data/x|rel "+home+"/data/x|abs data/x/y|deep", ask(MsgRm, "data/x|"))
	step("", func() error { return c.Write("/tool/secret", "1") })
	step("", func() error { s.DomainShutdown(3); return nil })
	if err := c.SetPerms(ReleaseDomain, Perm{0, AccessNone}, Perm{3, AccessRead}); err != nil {
		t.Fatal(err)
	}
	step("@releaseDomain|r", func() error { s.DomainShutdown(3); return nil })
	// In a transaction only the commit is heard of.
	tx, _ := c.Begin()
	step("", func() error { return tx.Write(home+"/data/q", "1") })
	step("data/q|rel "+home+"/data/q|abs", tx.Commit)
	step("", ask(MsgResetWatches, "|"))
	step("", func() error { return c.Write(home+"/data/q", "2") })
	if g.kicks.Load() == 0 {
		t.Error("guest never signalled")
	}
	if len(s.watches) != 0 {
		t.Errorf("watches left: %v", s.watches)
	}
}

func TestSnapshot(t *testing.T) {
	s, c := newHome(t, DefaultQuota, 3)
	g := newGuest(t, s, 3, 0xfffffffe)
	g.ask(0, MsgWatch, "data|w|")
	g.ask(0, MsgWatch, "@introduceDomain|i|")
	g.ask(0, MsgTransactionStart, "|")
	g.events()
	// Half a request, and events that are not read.
	req := append(Header{Type: MsgRead, ReqID: 9, Len: 5}.Append(nil), "name\x00"...)
	g.put(req[:18])
	for i := range 50 {
		_ = c.Write(fmt.Sprintf("/local/domain/3/data/n%d", i), "")
	}
	sn := s.Snapshot()
	s2, err := Restore(DefaultQuota, sn)
	if err != nil {
		t.Fatal(err)
	}
	if a, b := fmt.Sprintf("%+v", sn), fmt.Sprintf("%+v", s2.Snapshot()); a != b {
		t.Errorf("snapshot of the restored store differs:\n%s\n%s", a, b)
	}
	total := s.Totals()
	if want := (Totals{Domains: 1, Nodes: s.Nodes(0) + s.Nodes(3), Watches: 2, Transactions: 1}); total != want || s2.Totals() != want {
		t.Errorf("in all %+v, restored %+v, want %+v", total, s2.Totals(), want)
	}
	s.Release(3)
	if left := s.Totals(); left != (Totals{Nodes: total.Nodes}) {
		t.Errorf("released, it leaves %+v", left)
	}
	if g.r, err = s2.Attach(3, g.page, func(bool) {}); err != nil {
		t.Fatal(err)
	}
	g.put(req[18:])
	if h, body := g.next(); h.ReqID != 9 || body != "g" {
		t.Fatalf("reply %+v %q", h, body)
	}
	if len(g.ev) != 50 {
		t.Errorf("%d events came through, want 50", len(g.ev))
	}
	if got := g.ask(1, MsgTransactionEnd, "T|"); got != "EAGAIN|" {
		t.Errorf("transaction across restore: %s", got)
	}
	if s2.Nodes(3) != s.Nodes(3) {
		t.Errorf("%d nodes counted, were %d", s2.Nodes(3), s.Nodes(3))
	}
	for name, bad := range map[string]*Snapshot{
		"version": {Version: 9},
		"orphan":  {Version: 1, Nodes: []NodeState{{Path: "/", Perms: []Perm{{}}}, {Path: "/a/b", Perms: []Perm{{}}}}},
		"perms":   {Version: 1, Nodes: []NodeState{{Path: "/"}}},
		"twice":   {Version: 1, Nodes: []NodeState{{Path: "/", Perms: []Perm{{}}}}, Domains: []DomainState{{Dom: 1}, {Dom: 1}}},
		"out":     {Version: 1, Nodes: []NodeState{{Path: "/", Perms: []Perm{{}}}}, Domains: []DomainState{{Dom: 1, Out: bytes.Repeat([]byte{255}, 40)}}},
	} {
		if _, err := Restore(DefaultQuota, bad); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// TestFull: notify tells once that the ring has no room for all events, when it becomes full.
func TestFull(t *testing.T) {
	s, c := newHome(t, DefaultQuota, 3)
	g := newGuest(t, s, 3, 0)
	if got := g.ask(0, MsgWatch, "data|tok|"); got != "OK|" {
		t.Fatal(got)
	}
	g.events()
	for i := range 100 {
		if err := c.Write(fmt.Sprintf("/local/domain/3/data/%d", i), ""); err != nil {
			t.Fatal(err)
		}
		room := ringSize - (g.page.Load32(offRspProd) - g.page.Load32(offRspCons))
		if n := g.full.Load(); n > 1 || n == 1 && room != 0 || n == 0 && room == 0 {
			t.Fatalf("after %d events: room for %d bytes, and notify said full %d times", i+1, room, n)
		}
	}
	if g.full.Load() == 0 {
		t.Error("100 events are less than a ring")
	}
}

func BenchmarkRingRead(b *testing.B) {
	s, _ := newHome(b, DefaultQuota, 3)
	g := newGuest(b, s, 3, 0)
	req := append(Header{Type: MsgRead, Len: 5}.Append(nil), "name\x00"...)
	b.ReportAllocs()
	for b.Loop() {
		prod := g.page.Load32(offReqProd)
		for i, c := range req {
			g.page.Store8(int((prod+uint32(i))%ringSize), c)
		}
		g.page.Store32(offReqProd, prod+uint32(len(req)))
		g.r.Poll()
		g.page.Store32(offRspCons, g.page.Load32(offRspProd))
	}
}
