package endpoint

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/arp"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"

	"nidus/drivers/device/devicetest"
	"nidus/drivers/link"
	"nidus/drivers/link/pipe"
	"nidus/mm"
)

func newStack(t *testing.T, port link.Port, mem *devicetest.Host, last byte) (*stack.Stack, *Endpoint) {
	t.Helper()
	s := stack.New(stack.Options{
		NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol, arp.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol, udp.NewProtocol},
	})
	e := New(port, mem, nil)
	if err := s.CreateNIC(1, e); err != nil {
		t.Fatal(err)
	}
	a := tcpip.ProtocolAddress{Protocol: ipv4.ProtocolNumber, AddressWithPrefix: tcpip.AddressWithPrefix{Address: addr(last), PrefixLen: 24}}
	if err := s.AddProtocolAddress(1, a, stack.AddressProperties{}); err != nil {
		t.Fatal(err)
	}
	s.SetRouteTable([]tcpip.Route{{Destination: header.IPv4EmptySubnet, NIC: 1}})
	return s, e
}

func addr(last byte) tcpip.Address { return tcpip.AddrFrom4([4]byte{10, 0, 0, last}) }

// wire counts what passes, and checks that it is what the port takes.
type wire struct {
	*pipe.End
	t       *testing.T
	mu      sync.Mutex
	partial int
	longest int
	spoil   func(*link.Frame)
}

func (w *wire) Send(frames []*link.Frame) {
	w.mu.Lock()
	for _, f := range frames {
		i := w.Info()
		switch {
		case len(f.Head) < 14 || len(f.Head) > link.HeadSize || len(f.Segments) > i.Take.Gather || f.Checksum == link.Partial && !i.Take.Checksum,
			f.Segmentation == link.TCPv4 && !i.Take.TCPv4, f.Segmentation == link.Whole && f.Len() > i.MTU+14:
			w.t.Errorf("a frame of %d bytes, head %d, %d segments, checksum %d, segmentation %d, for %+v", f.Len(), len(f.Head), len(f.Segments), f.Checksum, f.Segmentation, i)
		}
		if f.Checksum == link.Partial {
			w.partial++
		}
		w.longest = max(w.longest, f.Len())
		if w.spoil != nil {
			w.spoil(f)
		}
	}
	w.mu.Unlock()
	w.End.Send(frames)
}

func pair(t *testing.T, take link.Offloads, mtu int) (a, b *wire) {
	x, y := pipe.New(link.Info{Name: "a", MAC: link.MAC{2, 0, 0, 0, 0, 1}, MTU: mtu, Take: take}, link.Info{Name: "b", MAC: link.MAC{2, 0, 0, 0, 0, 2}, MTU: mtu, Take: take})
	return &wire{End: x, t: t}, &wire{End: y, t: t}
}

var settings = map[string]link.Offloads{
	"nothing":      {Gather: link.MaxSegments},
	"checksum":     {Checksum: true, Gather: link.MaxSegments},
	"segmentation": {Checksum: true, TCPv4: true, Gather: link.MaxSegments},
}

// What is sent by TCP and UDP arrives, whatever the port takes off the stack's hands, and
// all memory comes back.
func TestStacks(t *testing.T) {
	for name, take := range settings {
		for _, mtu := range []int{1500, 9000} {
			t.Run(fmt.Sprintf("%s-%d", name, mtu), func(t *testing.T) { testStacks(t, take, mtu) })
		}
	}
}

func testStacks(t *testing.T, take link.Offloads, mtu int) {
	var mem devicetest.Host
	x, y := pair(t, take, mtu)
	a, _ := newStack(t, x, &mem, 1)
	b, _ := newStack(t, y, &mem, 2)
	to := tcpip.FullAddress{Addr: addr(2), Port: 7}
	l, err := gonet.ListenTCP(b, to, ipv4.ProtocolNumber)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		if c, err := l.Accept(); err == nil {
			io.Copy(c, c)
			c.Close()
		}
	}()
	c, err := gonet.DialTCP(a, to, ipv4.ProtocolNumber)
	if err != nil {
		t.Fatal(err)
	}
	data := make([]byte, 4<<20)
	r := rand.NewChaCha8([32]byte{1})
	r.Read(data)
	go c.Write(data)
	got := make([]byte, len(data))
	c.SetReadDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, data) {
		t.Fatalf("%v, or other bytes", err)
	}
	// UDP, of one frame and in fragments.
	e, err := gonet.DialUDP(b, &to, nil, ipv4.ProtocolNumber)
	if err != nil {
		t.Fatal(err)
	}
	u, err := gonet.DialUDP(a, nil, &to, ipv4.ProtocolNumber)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{1, 1000, 20000} {
		if _, err := u.Write(data[:n]); err != nil {
			t.Fatal(err)
		}
		e.SetReadDeadline(time.Now().Add(5 * time.Second))
		if k, _, err := e.ReadFrom(got); err != nil || !bytes.Equal(got[:k], data[:n]) {
			t.Fatalf("UDP of %d bytes: %d, %v", n, k, err)
		}
	}
	x.mu.Lock()
	partial, longest := x.partial, x.longest
	x.mu.Unlock()
	if (partial > 0) != take.Checksum || (longest > mtu+14) != take.TCPv4 {
		t.Errorf("%d frames without a checksum, the longest has %d bytes, with %+v", partial, longest, take)
	}
	a.Destroy()
	b.Destroy()
	if n := mem.Frames(); n != 0 {
		t.Errorf("%d pages are lost", n)
	}
}

// What was spoilt on its way is not taken, though other frames come with a word that their
// checksum is right.
func TestChecksum(t *testing.T) {
	for name, spoilt := range map[string]func(*link.Frame){
		"no": nil,
		"data": func(f *link.Frame) {
			f.Head[len(f.Head)-1] ^= 1
		},
		"vouched for": func(f *link.Frame) {
			f.Head[len(f.Head)-1] ^= 1
			f.Checksum = link.Verified
		},
		"vouched for, header": func(f *link.Frame) {
			f.Head[14+8] ^= 1 // time to live
			f.Checksum = link.Verified
		},
	} {
		var mem devicetest.Host
		x, y := pair(t, settings["nothing"], 1500)
		a, _ := newStack(t, x, &mem, 1)
		b, _ := newStack(t, y, &mem, 2)
		to := tcpip.FullAddress{Addr: addr(2), Port: 7}
		e, err := gonet.DialUDP(b, &to, nil, ipv4.ProtocolNumber)
		if err != nil {
			t.Fatal(err)
		}
		u, err := gonet.DialUDP(a, nil, &to, ipv4.ProtocolNumber)
		if err != nil {
			t.Fatal(err)
		}
		// Packets that wait for the other's address may be overtaken by the next ones: first
		// one that has it known.
		e.SetReadDeadline(time.Now().Add(5 * time.Second))
		buf := make([]byte, 10)
		u.Write([]byte("first"))
		if _, _, err := e.ReadFrom(buf); err != nil {
			t.Fatal(err)
		}
		x.mu.Lock()
		x.spoil = func(f *link.Frame) {
			if spoilt != nil && len(f.Head) > 42 && f.Head[23] == 17 && f.Head[42] == 'x' {
				spoilt(f)
			}
		}
		x.mu.Unlock()
		u.Write([]byte("xyz"))
		u.Write([]byte("end"))
		n, _, err := e.ReadFrom(buf)
		taken := string(buf[:n]) != "end"
		if want := name == "no" || name == "vouched for"; err != nil || taken != want {
			t.Errorf("%s: taken %v, want %v; %v", name, taken, want, err)
		}
		a.Destroy()
		b.Destroy()
	}
}

// Nothing that a guest sends does harm: neither by what is in it, nor by how much it is.
func TestHostileFrames(t *testing.T) {
	var mem devicetest.Host
	x, y := pair(t, settings["segmentation"], 1500)
	s, e := newStack(t, y, &mem, 2)
	page, _ := mem.Alloc(0, mm.ZoneAny)
	r := rand.New(rand.NewPCG(5, 6))
	done := 0
	var frames []*link.Frame
	for range 20000 {
		head := make([]byte, r.IntN(link.HeadSize+1))
		for i := range head {
			head[i] = byte(r.Uint32())
		}
		if len(head) >= 34 && r.IntN(4) > 0 {
			copy(head, []byte{2, 0, 0, 0, 0, 2})
			binary.BigEndian.PutUint16(head[12:], []uint16{0x0800, 0x0806}[r.IntN(2)])
			head[14] = byte(0x40 | r.IntN(16))
			head[23] = []byte{1, 6, 17}[r.IntN(3)]
			copy(head[30:], []byte{10, 0, 0, 2})
		}
		f := &link.Frame{Head: head, Checksum: link.Checksum(r.IntN(3)), CsumStart: uint16(r.Uint32()), CsumOffset: uint16(r.Uint32()),
			Segmentation: link.Segmentation(r.IntN(3)), MSS: uint16(r.Uint32()), Done: func(*link.Frame) { done++ }}
		for range r.IntN(link.MaxSegments) {
			off := r.IntN(mm.PageSize)
			f.Segments = append(f.Segments, link.Segment{Frame: page, Off: uint16(off), Len: uint16(1 + r.IntN(mm.PageSize-off))})
		}
		frames = append(frames, f)
	}
	x.End.Send(frames)
	if done != len(frames) {
		t.Errorf("%d frames of %d are done", done, len(frames))
	}
	if e.in.dropped.Load() == 0 {
		t.Error("no frame was dropped: what waits has no bound")
	}
	s.Destroy()
	mem.Free(page, 0)
	if n := mem.Frames(); n != 0 {
		t.Errorf("%d pages are lost", n)
	}
}

// A receiver that keeps frames gets no more than there is room for, and the stack gets its
// memory back when it is done with them, even after the end.
func TestFull(t *testing.T) {
	var mem devicetest.Host
	x, y := pair(t, settings["nothing"], 1500)
	s, _ := newStack(t, x, &mem, 1)
	var kept []*link.Frame
	y.Receive(func(fs []*link.Frame) { kept = append(kept, fs...) })
	u, err := gonet.DialUDP(s, &tcpip.FullAddress{Port: 9}, nil, ipv4.ProtocolNumber)
	if err != nil {
		t.Fatal(err)
	}
	to := &tcpip.FullAddress{NIC: 1, Addr: tcpip.AddrFrom4([4]byte{224, 0, 0, 9}), Port: 9}
	for range 3 * maxPages {
		u.WriteTo([]byte("x"), fullUDP(to))
	}
	if len(kept) != maxPages {
		t.Errorf("%d frames are out, want %d", len(kept), maxPages)
	}
	if f := kept[0]; f.Buffers != 1 || !f.Lender.Keep(0, maxPages/4) || f.Lender.Keep(0, maxPages/4) {
		t.Errorf("%d buffers of %+v", f.Buffers, f.Lender)
	}
	s.Destroy()
	for _, f := range kept {
		f.Done(f)
	}
	if n := mem.Frames(); n != 0 {
		t.Errorf("%d pages are lost", n)
	}
}

func fullUDP(a *tcpip.FullAddress) *net.UDPAddr {
	return &net.UDPAddr{IP: a.Addr.AsSlice(), Port: int(a.Port)}
}
