package netback_test

import (
	"bytes"
	"fmt"
	"math/rand"
	"strings"
	"testing"

	"nidus/drivers/backend"
	"nidus/drivers/link"
	"nidus/drivers/netback"
	"nidus/mm"
)

// TestSend: what the guest sends arrives, described as it asks for.
func TestSend(t *testing.T) {
	g := newGuest(t)
	g.connect(nil)
	whole := tcp(100)
	udp := tcp(100)
	udp[23] = 17
	be.PutUint16(udp[38:], 108)
	long := tcp(60000)
	for i, c := range []struct {
		name   string
		frame  []byte
		flags  int
		per    int
		extra  [][]byte
		want   link.Frame // but for Head and Segments
		status int        // of the response
		nulls  int        // responses to extra infos
	}{
		{name: "plain", frame: whole, per: 4096},
		{name: "checked", frame: whole, flags: 2, per: 4096, want: link.Frame{Checksum: link.Verified}},
		{name: "blank", frame: whole, flags: 3, per: 4096, want: link.Frame{Checksum: link.Partial, CsumStart: 34, CsumOffset: 16}},
		{name: "blank UDP", frame: udp, flags: 1, per: 4096, want: link.Frame{Checksum: link.Partial, CsumStart: 34, CsumOffset: 6}},
		{name: "small slots", frame: whole, flags: 1, per: 20, want: link.Frame{Checksum: link.Partial, CsumStart: 34, CsumOffset: 16}},
		{name: "cut", frame: long, flags: 3, per: 4096, extra: [][]byte{gso(1448, 1)}, nulls: 1,
			want: link.Frame{Checksum: link.Partial, CsumStart: 34, CsumOffset: 16, Segmentation: link.TCPv4, MSS: 1448}},
		{name: "cut though it fits", frame: whole, flags: 3, per: 4096, extra: [][]byte{gso(1448, 1)}, nulls: 1,
			want: link.Frame{Checksum: link.Partial, CsumStart: 34, CsumOffset: 16}},
		{name: "group", frame: whole, per: 4096, extra: [][]byte{{0: 2, 2: 1, 4: 0x5e, 11: 0}}, status: -2, nulls: 1},
		{name: "no group's address", frame: whole, per: 4096, extra: [][]byte{{0: 2, 2: 2, 11: 0}}, status: -1, nulls: 1},
		{name: "hash", frame: whole, per: 4096, extra: [][]byte{{0: 4, 11: 0}}, nulls: 1},
		{name: "short", frame: whole[:13], per: 4096, status: -1},
		{name: "ARP can't be blank", frame: append(bytes.Clone(whole[:12]), make([]byte, 60)...), flags: 1, per: 4096, status: -1},
		{name: "IPv6 pieces of IPv4", frame: long, flags: 1, per: 4096, extra: [][]byte{gso(1448, 2)}, status: -1, nulls: 1},
		{name: "tiny pieces", frame: long, flags: 1, per: 4096, extra: [][]byte{gso(1, 1)}, status: -1, nulls: 1},
		{name: "pieces of UDP", frame: udp, flags: 1, per: 4096, extra: [][]byte{gso(48, 1)}, status: -1, nulls: 1},
	} {
		before, _, _ := g.last()
		g.send(c.frame, c.flags, c.per, c.extra...)
		g.push(&g.tx)
		n := (len(c.frame) + c.per - 1) / c.per
		for k := range n + c.nulls {
			id, status := g.status()
			want, wantID := c.status, k+1
			switch {
			case k >= n:
				want, wantID = 1, 0
			case want == -2:
				want = 0
			}
			if status != want || id != wantID {
				t.Fatalf("%d %s: response %d has id %d, status %d", i, c.name, k, id, status)
			}
		}
		after, b, f := g.last()
		if c.status != 0 {
			if after != before {
				t.Errorf("%d %s: is delivered", i, c.name)
			}
			continue
		}
		if after != before+1 {
			t.Fatalf("%d %s: %d frames are delivered; log %q", i, c.name, after-before, g.lines())
		}
		if f.Checksum == link.Partial { // the pseudo header's sum is put in
			at := int(f.CsumStart + f.CsumOffset)
			sum := uint32(c.frame[23]) + uint32(len(c.frame)-34) + 0x0a00 + 1 + 0x0a00 + 2
			if want := uint16(sum + sum>>16); be.Uint16(b[at:]) != want {
				t.Errorf("%d %s: pseudo header's sum %#x, want %#x", i, c.name, be.Uint16(b[at:]), want)
			}
			b[at], b[at+1] = c.frame[at], c.frame[at+1]
		}
		if !bytes.Equal(b, c.frame) || len(f.Head) != min(len(c.frame), link.HeadFill) {
			t.Errorf("%d %s: %d bytes arrive, %d of them in the head, not what was sent", i, c.name, len(b), len(f.Head))
		}
		if f.Checksum != c.want.Checksum || f.CsumStart != c.want.CsumStart || f.CsumOffset != c.want.CsumOffset || f.Segmentation != c.want.Segmentation || f.MSS != c.want.MSS {
			t.Errorf("%d %s: %+v", i, c.name, f)
		}
	}
	if s := g.port.Stats(); s.ReceivedBad != 5 || g.Dev.State() != backend.Connected {
		t.Errorf("%+v; state %d", s, g.Dev.State())
	}
}

// TestBreach: a guest that breaks the protocol loses its device, which says so once.
func TestBreach(t *testing.T) {
	const more, extra = 4, 8
	slot := func(r request) []byte { return r.bytes() }
	ok := request{ref: firstData, size: 100}
	for _, c := range []struct {
		name, log string
		do        func(g *guest)
	}{
		{"requests run away", "requests up to", func(g *guest) { g.tx.prod = slots + 2 }},
		{"requests run far away", "requests up to", func(g *guest) { g.tx.prod = 1 << 31 }},
		{"requests run backwards", "requests up to", func(g *guest) { g.tx.prod-- }},
		{"no such grant", "grant 4000", func(g *guest) { g.tx.put(slot(request{ref: 4000, size: 100})) }},
		{"huge reference", "grant 4294967295", func(g *guest) { g.tx.put(slot(request{ref: -1, size: 100})) }},
		{"another domain's grant", "grant 40 ", func(g *guest) { g.Grant(40, 7, 40, 0); g.tx.put(slot(request{ref: 40, size: 100})) }},
		{"grant of no memory", "grant 40", func(g *guest) { g.Grant(40, 0, 1<<30, 0); g.tx.put(slot(request{ref: 40, size: 100})) }},
		{"bad grant after good ones", "slot 2: grant 4000", func(g *guest) {
			g.tx.put(slot(request{ref: firstData, size: 3000, flags: more}))
			g.tx.put(slot(request{ref: firstData + 1, size: 1000, flags: more}))
			g.tx.put(slot(request{ref: 4000, size: 1000}))
		}},
		{"beyond the page", "from 4000 on of a page", func(g *guest) { g.tx.put(slot(request{ref: firstData, off: 4000, size: 97})) }},
		{"offset beyond the page", "from 65535 on of a page", func(g *guest) { g.tx.put(slot(request{ref: firstData, off: 65535, size: 65535})) }},
		{"second slot beyond the page", "slot 1", func(g *guest) {
			g.tx.put(slot(request{ref: firstData, size: 300, flags: more}))
			g.tx.put(slot(request{ref: firstData, off: 4095, size: 2}))
		}},
		{"sizes don't add up", "without the first slot", func(g *guest) {
			g.tx.put(slot(request{ref: firstData, size: 100, flags: more}))
			g.tx.put(slot(request{ref: firstData, size: 101}))
		}},
		{"nothing in the first slot", "without the first slot", func(g *guest) {
			g.tx.put(slot(request{ref: firstData, size: 100, flags: more}))
			g.tx.put(slot(request{ref: firstData, size: 100}))
		}},
		{"an empty slot", "slot 1: 0 bytes", func(g *guest) {
			g.tx.put(slot(request{ref: firstData, size: 100, flags: more}))
			g.tx.put(slot(request{ref: firstData, size: 0}))
		}},
		{"too many slots", "more than 18 slots", func(g *guest) {
			for range 19 {
				g.tx.put(slot(request{ref: firstData, size: 30, flags: more}))
			}
		}},
		{"the rest is missing", "are missing", func(g *guest) { g.tx.put(slot(request{ref: firstData, size: 100, flags: more})) }},
		{"the extra info is missing", "are missing", func(g *guest) { g.tx.put(slot(request{ref: firstData, size: 100, flags: extra})) }},
		{"extra infos without end", "extra infos", func(g *guest) {
			g.tx.put(slot(request{ref: firstData, size: 100, flags: extra}))
			for range 20 {
				g.tx.put([]byte{0: 4, 1: 1, 11: 0})
			}
		}},
		{"unknown extra info", "type 9", func(g *guest) {
			g.tx.put(slot(request{ref: firstData, size: 100, flags: extra}))
			g.tx.put([]byte{0: 9, 11: 0})
		}},
		{"two GSO infos", "two extra infos", func(g *guest) {
			g.tx.put(slot(request{ref: firstData, size: 100, flags: extra}))
			x := gso(1448, 1)
			x[1] = 1
			g.tx.put(x)
			g.tx.put(gso(1448, 1))
		}},
		{"GSO of 0 bytes", "into 0 bytes", func(g *guest) { g.send(tcp(100), 1, 4096, gso(0, 1)) }},
		{"GSO of an unknown type", "type 3", func(g *guest) { g.send(tcp(100), 1, 4096, gso(1448, 3)) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := newGuest(t)
			g.connect(nil)
			g.tx.put(slot(ok)) // what came before is delivered
			g.push(&g.tx)
			g.status()
			c.do(g)
			g.tx.page.Store32(0, g.tx.prod)
			if err := g.D.Events.Send(g.tx.port); err != nil {
				t.Fatal(err)
			}
			g.Await(backend.Closed)
			if l := g.lines(); strings.Count(l, "\n") != 0 || !strings.Contains(l, "vif 0 of d1 closed: ") || !strings.Contains(l, c.log) {
				t.Errorf("log %q, want one line with %q", l, c.log)
			}
			if n, _, _ := g.last(); n != 1 {
				t.Errorf("%d frames delivered", n)
			}
		})
	}
}

// TestReceiveBreach: the same with the pages that it wants to receive in.
func TestReceiveBreach(t *testing.T) {
	for _, c := range []struct {
		name, log string
		do        func(g *guest)
	}{
		{"requests run away", "has 257 requests", func(g *guest) { g.rx.page.Store32(0, slots+1) }},
		{"requests run backwards", "requests", func(g *guest) { g.rx.page.Store32(0, 1<<32-1) }},
		{"no such grant", "rx request 0: grant 4000", func(g *guest) {
			g.rx.put([]byte{4: 4000 & 255, 5: 4000 >> 8, 7: 0})
			g.push(&g.rx)
		}},
		{"a read-only page", "rx request 0: grant 18", func(g *guest) {
			g.rx.put([]byte{4: readOnly, 7: 0})
			g.push(&g.rx)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := newGuest(t)
			g.connect(nil)
			c.do(g)
			done := 0
			f := hostFrame(g, tcp(10), &done)
			g.port.Send([]*link.Frame{f, f}) // twice: the second finds a queue that is closed
			g.Await(backend.Closed)
			if l := g.lines(); strings.Count(l, "\n") != 0 || !strings.Contains(l, c.log) {
				t.Errorf("log %q, want one line with %q", l, c.log)
			}
			g.until("the frames are done", func() bool { g.mu.Lock(); defer g.mu.Unlock(); return done == 2 })
		})
	}
}

// hostFrame makes a frame of b, whose bytes after 100 are in a frame of the host's, which
// must live as long; done counts.
func hostFrame(g *guest, b []byte, done *int) *link.Frame {
	f := &link.Frame{Head: b, Done: func(*link.Frame) { g.mu.Lock(); *done++; g.mu.Unlock() }}
	if len(b) <= 100 {
		return f
	}
	f.Head = b[:100]
	for rest := b[100:]; len(rest) > 0; {
		m, ok := g.M.Host.Memory.AllocFrames(0, mm.FrameKernel, mm.DomIDXen, mm.ZoneAny)
		if !ok {
			g.T.Fatal("no memory")
		}
		g.T.Cleanup(func() { g.M.Host.Memory.FreeFrames(m, 0) })
		n := min(len(rest), mm.PageSize-10)
		g.M.Host.Memory.Page(m).Write(10, rest[:n])
		f.Segments = append(f.Segments, link.Segment{Frame: m, Off: 10, Len: uint16(n)})
		rest = rest[n:]
	}
	return f
}

// TestReceive: what is sent to the guest arrives with its description, as it makes room.
func TestReceive(t *testing.T) {
	g := newGuest(t)
	g.connect(nil)
	done := 0
	seg := hostFrame(g, tcp(60000), &done)
	seg.Checksum, seg.Segmentation, seg.MSS = link.Partial, link.TCPv4, 1448
	six := hostFrame(g, tcp(5000), &done)
	six.Checksum, six.Segmentation, six.MSS = link.Partial, link.TCPv6, 1300
	ver := hostFrame(g, tcp(4096), &done)
	ver.Checksum = link.Verified
	short := hostFrame(g, tcp(0)[:13], &done)
	g.offerPages(3)
	g.port.Send([]*link.Frame{hostFrame(g, tcp(1), &done), short, ver, seg, six})
	if f := g.receive(); !bytes.Equal(f.data, tcp(1)) || f.flags != 0 {
		t.Errorf("%d bytes, flags %d", len(f.data), f.flags)
	}
	if f := g.receive(); !bytes.Equal(f.data, tcp(4096)) || f.flags != 1|4 {
		t.Errorf("%d bytes, flags %d", len(f.data), f.flags)
	}
	g.offerPages(15) // one too few
	g.offerPages(10)
	if f := g.receive(); !bytes.Equal(f.data, tcp(60000)) || f.flags != 1|2|4|8 || !bytes.Equal(f.gso, gso(1448, 1)[:8]) {
		t.Errorf("%d bytes, flags %d, %v", len(f.data), f.flags, f.gso)
	}
	if f := g.receive(); !bytes.Equal(f.data, tcp(5000)) || f.flags != 1|2|4|8 || !bytes.Equal(f.gso, gso(1300, 2)[:8]) {
		t.Errorf("%d bytes, flags %d, %v", len(f.data), f.flags, f.gso)
	}
	g.until("all are done", func() bool { g.mu.Lock(); defer g.mu.Unlock(); return done == 5 })
	if s := g.port.Stats(); s.SentFrames != 4 || s.SentDropped != 1 {
		t.Errorf("%+v", s)
	}
}

// TestNodes: what the guest's nodes may say.
func TestNodes(t *testing.T) {
	for name, c := range map[string]struct {
		nodes map[string]string
		log   string // "" if it is taken
	}{
		"one event channel's number is bad": {map[string]string{"event-channel-tx": "9999"}, "event channel 9999"},
		"no ring":                           {map[string]string{"tx-ring-ref": "5"}, "tx-ring-ref: grant 5"},
		"a read-only ring":                  {map[string]string{"rx-ring-ref": fmt.Sprint(readOnly)}, "rx-ring-ref: grant 18"},
		"flipping":                          {map[string]string{"request-rx-copy": "0"}, "request-rx-copy"},
		"too many queues":                   {map[string]string{"multi-queue-num-queues": "5"}, "multi-queue-num-queues"},
		"no queues":                         {map[string]string{"multi-queue-num-queues": "0"}, "multi-queue-num-queues"},
		"queues that are not there":         {map[string]string{"multi-queue-num-queues": "2"}, "queue-0/tx-ring-ref is missing"},
		"no number":                         {map[string]string{"feature-sg": "yes"}, "feature-sg"},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGuest(t)
			g.begin(netback.Rate{})
			g.offer(c.nodes)
			g.Set("state", "4")
			g.Await(backend.Closed)
			if l := g.lines(); strings.Count(l, "\n") != 0 || !strings.Contains(l, c.log) {
				t.Errorf("log %q, want one line with %q", l, c.log)
			}
		})
	}
}

// TestModel: random frames both ways, of random shapes, with a receiver that keeps some for
// a while: what arrives is what was sent, in order, and each request is answered once.
func TestModel(t *testing.T) {
	for seed := range int64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			rnd := rand.New(rand.NewSource(seed))
			g := newGuest(t)
			g.connect(nil)
			var sent, gone [][]byte // by the guest; to it
			answers := uint32(0)
			done := 0
			for range 400 {
				switch rnd.Intn(6) {
				case 0, 1:
					b := tcp(rnd.Intn(9000))
					per := 500 + rnd.Intn(3596)
					need := uint32((len(b)+per-1)/per + 1)
					if need > 18 || g.tx.prod-answers+need > slots {
						break
					}
					var extra [][]byte
					if rnd.Intn(2) == 0 {
						extra = append(extra, []byte{0: 4, 11: 0})
					}
					g.send(b, 0, per, extra...)
					g.push(&g.tx)
					sent = append(sent, b)
					// its pages are used again: it has to be taken before
					g.until("it is taken", func() bool { n, _, _ := g.last(); return n == len(sent) })
				case 2:
					b := tcp(rnd.Intn(9000))
					g.port.Send([]*link.Frame{hostFrame(g, b, &done)})
					gone = append(gone, b)
					g.offerPages((len(b) + mm.PageSize - 1) / mm.PageSize)
					if f := g.receive(); !bytes.Equal(f.data, b) {
						t.Fatalf("%d bytes to the guest arrive as %d others", len(b), len(f.data))
					}
				case 3:
					g.mu.Lock()
					g.keep = true
					g.mu.Unlock()
				case 4:
					g.letGo()
				case 5:
					for g.tx.page.Load32(8) != answers {
						if _, status := g.status(); status < 0 {
							t.Fatalf("status %d", status)
						}
						answers++
					}
				}
			}
			g.letGo()
			for answers != g.tx.prod {
				g.status()
				answers++
			}
			for i, b := range g.got {
				if !bytes.Equal(b, sent[i]) {
					t.Fatalf("frame %d of %d bytes is not what was sent", i, len(b))
				}
			}
			if len(g.got) != len(sent) || len(sent) < 20 || len(gone) < 20 || g.tx.page.Load32(8) != g.tx.prod {
				t.Errorf("%d of %d frames arrive; %d to the guest; %d answers to %d requests", len(g.got), len(sent), len(gone), g.tx.page.Load32(8), g.tx.prod)
			}
		})
	}
}
