package netback_test

import (
	"bytes"
	"strings"
	"testing"

	"nidus/drivers/backend"
	"nidus/drivers/link"
)

// TestPadding: bytes behind the datagram are no part of what is summed up.
func TestPadding(t *testing.T) {
	g := newGuest(t)
	g.connect(nil)
	udp := tcp(0)[:46] // 4 bytes of data
	udp[23] = 17
	be.PutUint16(udp[16:], 32)
	be.PutUint16(udp[38:], 12)
	for i, c := range []struct {
		frame []byte
		per   int
		want  int // bytes that arrive; 0: none
	}{
		{append(bytes.Clone(udp), make([]byte, 14)...), 4096, 46},
		{append(bytes.Clone(udp), make([]byte, 400)...), 4096, 46},
		{append(bytes.Clone(udp), make([]byte, 4000)...), 1000, 46},
		{udp, 4096, 46},
		{udp[:45], 4096, 0},
	} {
		before, _, _ := g.last()
		g.send(c.frame, 1, c.per)
		g.push(&g.tx)
		for range (len(c.frame) + c.per - 1) / c.per {
			if _, status := g.status(); (status == 0) != (c.want != 0) {
				t.Errorf("%d: status %d", i, status)
			}
		}
		if n, b, f := g.last(); c.want == 0 && n != before || c.want != 0 && (n != before+1 || len(b) != c.want || len(f.Segments) != 0) {
			t.Errorf("%d: %d frames, %d bytes", i, n-before, len(b))
		}
	}
	long := tcp(1000) // the datagram ends in the third segment
	be.PutUint16(long[16:], 540)
	g.send(long, 1, 200)
	g.push(&g.tx)
	for range 6 {
		g.status()
	}
	if _, b, f := g.last(); len(b) != 554 || f.Len() != 554 {
		t.Errorf("%d bytes, %d segments", len(b), len(f.Segments))
	}
}

// TestPlainGuest: a guest that takes no offloads gets none.
func TestPlainGuest(t *testing.T) {
	for name, c := range map[string]struct {
		nodes  map[string]string
		pieces int
	}{
		"no IPv6 checksums":     {map[string]string{"feature-ipv6-csum-offload": "0"}, 3},
		"no checksums":          {map[string]string{"feature-no-csum-offload": "1"}, 3},
		"no segmentation":       {map[string]string{"feature-gso-tcpv4": "0"}, 3},
		"no further slots":      {map[string]string{"feature-sg": "0"}, 3},
		"no IPv6 segmentation":  {map[string]string{"feature-gso-tcpv6": "0"}, 1},
		"everything but events": {nil, 1},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGuest(t)
			g.connect(c.nodes)
			done := 0
			f := hostFrame(g, tcp(3000), &done)
			f.Checksum, f.CsumStart, f.CsumOffset, f.Segmentation, f.MSS = link.Partial, 34, 16, link.TCPv4, 1400
			g.offerPages(8)
			g.port.Send([]*link.Frame{f})
			var data []byte
			for range c.pieces {
				r := g.receive()
				data = append(data, r.data[54:]...)
				if c.pieces > 1 && (r.flags != 0 || len(r.data) > 1454) {
					t.Errorf("%d bytes, flags %d", len(r.data), r.flags)
				}
			}
			if !bytes.Equal(data, tcp(3000)[54:]) || done != 1 || g.rx.page.Load32(8) != g.rx.cons {
				t.Errorf("%d bytes of data; %d done; %d of %d responses", len(data), done, g.rx.cons, g.rx.page.Load32(8))
			}
			if _, ok := c.nodes["feature-sg"]; ok {
				g.port.Send([]*link.Frame{hostFrame(g, tcp(5000), &done)})
				if g.port.Stats().SentDropped != 1 {
					t.Error("a frame of two slots is given to who takes one")
				}
			}
		})
	}
}

// FuzzSend: whatever a guest puts into its ring, all of it is answered or the device is
// closed with one line, and nothing of the host's is lost.
func FuzzSend(f *testing.F) {
	for _, s := range [][]byte{
		request{ref: firstData, size: 100}.bytes(),
		append(request{ref: firstData, size: 300, flags: 4}.bytes(), request{ref: firstData + 1, off: 4000, size: 90}.bytes()...),
		append(request{ref: firstData, size: 3000, flags: 9}.bytes(), gso(1000, 1)...),
		append(request{ref: firstData, flags: 8}.bytes(), 2, 0, 1, 0, 0x5e, 0, 0, 0, 0, 0, 0, 0),
	} {
		f.Add(s, uint32(len(s)/12))
	}
	f.Fuzz(func(t *testing.T, data []byte, prod uint32) {
		g := newGuest(t)
		g.connect(nil)
		frame := tcp(4000)
		for i := range 64 {
			g.Page(firstData+i).Write(0, frame[:4054])
		}
		for len(data) >= 12 && g.tx.prod < slots {
			g.tx.put(data[:12])
			data = data[12:]
		}
		g.tx.page.Store32(0, prod)
		if err := g.D.Events.Send(g.tx.port); err != nil {
			t.Fatal(err)
		}
		g.until("an answer", func() bool { return g.tx.page.Load32(8) == prod || g.Dev.State() == backend.Closed })
		if l := g.lines(); strings.Contains(l, "\n") || g.Dev.State() == backend.Closed && l == "" {
			t.Errorf("state %d, log %q", g.Dev.State(), l)
		}
	})
}
