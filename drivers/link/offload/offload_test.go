package offload

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"

	"nidus/drivers/link"
	"nidus/drivers/link/packet"
	"nidus/kernel/domain/domaintest"
	"nidus/mm"
)

var be = binary.BigEndian

// port collects what it is sent, as bytes.
type port struct {
	t    *testing.T
	mem  mm.FrameMemory
	got  [][]byte
	desc []link.Frame
	keep bool
	kept []*link.Frame
}

func (p *port) send(frames []*link.Frame) {
	for _, f := range frames {
		b := bytes.Clone(f.Head)
		for _, s := range f.Segments {
			b = append(b, p.mem.Page(s.Frame).Bytes(int(s.Off), int(s.Len))...)
		}
		p.got, p.desc = append(p.got, b), append(p.desc, *f)
		if f.HeadAt.Frame != 0 && !bytes.Equal(p.mem.Page(f.HeadAt.Frame).Bytes(int(f.HeadAt.Off), int(f.HeadAt.Len)), f.Head) {
			p.t.Error("the head is not where it is said to be")
		}
	}
	if p.keep {
		p.kept = append(p.kept, frames...)
	} else {
		link.Drop(frames)
	}
}

// maker makes frames.
type maker struct {
	mem  mm.FrameMemory
	done int
}

// frame puts the first head bytes of b into a head, and the rest into segments of at most
// per bytes.
func (m *maker) frame(t *testing.T, b []byte, head, per int) *link.Frame {
	head = min(head, len(b))
	f := &link.Frame{Head: bytes.Clone(b[:head]), Done: func(*link.Frame) { m.done++ }}
	for rest := b[head:]; len(rest) > 0; {
		x, ok := m.mem.AllocFrames(0, mm.FrameKernel, mm.DomIDXen, mm.ZoneAny)
		if !ok {
			t.Fatal("no memory")
		}
		t.Cleanup(func() { m.mem.FreeFrames(x, 0) })
		n := min(len(rest), per)
		m.mem.Page(x).Write(mm.PageSize-n, rest[:n])
		f.Segments = append(f.Segments, link.Segment{Frame: x, Off: uint16(mm.PageSize - n), Len: uint16(n)})
		rest = rest[n:]
	}
	return f
}

// packetOf makes a frame of TCP or UDP, whose field for the checksum has the pseudo header's sum.
func packetOf(proto byte, six, tagged bool, options int, data []byte) (b []byte, l3, l4 int) {
	b = []byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2}
	if tagged {
		b = append(b, 0x81, 0, 0, 7)
	}
	head := 8
	if proto == packet.TCP {
		head = 20 + options
	}
	l3 = len(b) + 2
	n := head + len(data)
	var pseudo uint32
	if six {
		b = append(b, 0x86, 0xdd, 0x60, 0, 0, 0, byte(n>>8), byte(n), proto, 64)
		for i := range byte(32) {
			b = append(b, i*7)
		}
		pseudo = sumOf(b[l3+8:])
	} else {
		ip := []byte{0x45, 0, byte((20 + n) >> 8), byte(20 + n), 0xff, 0xfe, 0x40, 0, 64, proto, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2}
		be.PutUint16(ip[10:], ^fold(sumOf(ip)))
		b = append(append(b, 8, 0), ip...)
		pseudo = sumOf(ip[12:])
	}
	l4 = len(b)
	pseudo += uint32(proto) + uint32(n)
	h := make([]byte, head)
	be.PutUint32(h, 0x12345678)
	if proto == packet.TCP {
		be.PutUint32(h[4:], 0xfffff000) // wraps
		h[12], h[13] = byte(head/4)<<4, 0x80|0x10|0x08|0x01
		be.PutUint16(h[16:], fold(pseudo))
	} else {
		be.PutUint16(h[4:], uint16(n))
		be.PutUint16(h[6:], fold(pseudo))
	}
	return append(append(b, h...), data...), l3, l4
}

// sumOf is RFC 1071's sum, as plain as can be.
func sumOf(b []byte) (sum uint32) {
	for i, x := range b {
		if i&1 == 0 {
			sum += uint32(x) << 8
		} else {
			sum += uint32(x)
		}
	}
	return sum
}

func fold(x uint32) uint16 {
	for x > 0xffff {
		x = x>>16 + x&0xffff
	}
	return uint16(x)
}

// sound checks a packet's checksums and lengths.
func sound(t *testing.T, b []byte, six bool, proto byte, l3, l4 int) {
	t.Helper()
	n := len(b) - l4
	addrs := b[l3+12 : l3+20]
	if six {
		addrs = b[l3+8 : l3+40]
	}
	if !six {
		if fold(sumOf(b[l3:l4])) != 0xffff || int(be.Uint16(b[l3+2:])) != len(b)-l3 {
			t.Errorf("IPv4's header: %x, %d bytes", b[l3:l4], len(b)-l3)
		}
	} else if int(be.Uint16(b[l3+4:])) != len(b)-l3-40 {
		t.Errorf("IPv6's length is %d, not %d", be.Uint16(b[l3+4:]), len(b)-l3-40)
	}
	if got := fold(sumOf(addrs) + uint32(proto) + uint32(n) + sumOf(b[l4:])); got != 0xffff {
		t.Errorf("the checksum adds up to %#x", got)
	}
}

func data(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rand.Uint32())
	}
	return b
}

// TestCut: the pieces of a long frame are sound, and together what it was.
func TestCut(t *testing.T) {
	m := domaintest.New(t, 2048)
	defer m.CheckFree(t)
	mem := m.Host.Memory
	for range 60 {
		t.Run("", func(t *testing.T) { // the frames' memory is freed
			six, tagged, options := rand.IntN(2) == 0, rand.IntN(2) == 0, 4*rand.IntN(11)
			d := data(1 + rand.IntN(60000))
			b, l3, l4 := packetOf(packet.TCP, six, tagged, options, d)
			p := &port{t: t, mem: mem}
			mtu := 1500
			if rand.IntN(3) == 0 {
				mtu = 9000
			}
			c := New(mem, link.Offloads{Gather: 18}, mtu, p.send)
			defer c.Close()
			mk := &maker{mem: mem}
			hdr := l4 + 20 + options
			mss := mtu - (hdr - l3) - rand.IntN(600)
			f := mk.frame(t, b, hdr+rand.IntN(link.HeadFill-hdr+1), 1+4000+rand.IntN(96))
			f.Checksum, f.CsumStart, f.CsumOffset, f.Segmentation, f.MSS = link.Partial, uint16(l4), 16, link.TCPv4, uint16(mss)
			if six {
				f.Segmentation = link.TCPv6
			}
			if f.Len() <= hdr {
				t.Skip()
			}
			c.Send([]*link.Frame{f})
			if mk.done != 1 || c.Lost.Load() != 0 {
				t.Fatalf("%d done, %d lost", mk.done, c.Lost.Load())
			}
			var all []byte
			for i, x := range p.got {
				sound(t, x, six, packet.TCP, l3, l4)
				last := i == len(p.got)-1
				if n := len(x) - hdr; n > mss || n < mss && !last || n == 0 {
					t.Fatalf("piece %d has %d bytes of %d", i, n, mss)
				}
				if got, want := be.Uint32(x[l4+4:]), 0xfffff000+uint32(len(all)); got != want {
					t.Fatalf("piece %d: number %#x, want %#x", i, got, want)
				}
				want := byte(0x10)
				if last {
					want |= 0x09
				}
				if i == 0 {
					want |= 0x80
				}
				if x[l4+13] != want {
					t.Fatalf("piece %d of %d: flags %#x, want %#x", i, len(p.got), x[l4+13], want)
				}
				if !six && be.Uint16(x[l3+4:]) != uint16(0xfffe+i) {
					t.Fatalf("piece %d: id %#x", i, be.Uint16(x[l3+4:]))
				}
				if d := p.desc[i]; d.Checksum != link.Complete || d.Segmentation != link.Whole {
					t.Fatalf("piece %d: %+v", i, d)
				}
				all = append(all, x[hdr:]...)
			}
			if !bytes.Equal(all, d) {
				t.Error("the pieces are not the whole")
			}
		})
	}
}

// TestChecksum: it is completed for frames of all lengths and shapes, odd ones as well.
func TestChecksum(t *testing.T) {
	m := domaintest.New(t, 2048)
	defer m.CheckFree(t)
	mem := m.Host.Memory
	t.Run("", func(t *testing.T) {
		p := &port{t: t, mem: mem}
		c := New(mem, link.Offloads{Gather: 3}, 9000, p.send)
		defer c.Close()
		mk := &maker{mem: mem}
		for i := range 300 {
			six, tagged, proto := rand.IntN(2) == 0, rand.IntN(2) == 0, byte(packet.TCP)
			off := 16
			if rand.IntN(2) == 0 {
				proto, off = packet.UDP, 6
			}
			d := data(rand.IntN(300))
			if i%50 == 0 {
				d = data(8800)
			}
			b, l3, l4 := packetOf(proto, six, tagged, 0, d)
			if proto == packet.UDP && i&1 == 0 && len(d) >= 2 { // whose sum is 0, which is to be written 0xffff
				d = b[l4+8:]
				d[0], d[1] = 0, 0
				sum := fold(sumOf(b[l4:]))
				be.PutUint16(d, ^sum)
			}
			f := mk.frame(t, b, l4+off+2+rand.IntN(100), 1+3000+rand.IntN(1000))
			f.Checksum, f.CsumStart, f.CsumOffset = link.Partial, uint16(l4), uint16(off)
			c.Send([]*link.Frame{f})
			if len(p.got) != i+1 || mk.done != i+1 {
				t.Fatalf("%d sent, %d done; %d lost", len(p.got), mk.done, c.Lost.Load())
			}
			x := p.got[i]
			sound(t, x, six, proto, l3, l4)
			if be.Uint16(x[l4+off:]) == 0 {
				t.Error("no checksum")
			}
			x[l4+off], x[l4+off+1] = b[l4+off], b[l4+off+1]
			if !bytes.Equal(x, b) {
				t.Error("more has changed than the checksum")
			}
		}
	})
}

// TestPass: what a port takes passes as it is, in order with what doesn't; what can't be
// done is dropped.
func TestPass(t *testing.T) {
	m := domaintest.New(t, 2048)
	defer m.CheckFree(t)
	mem := m.Host.Memory
	t.Run("", func(t *testing.T) {
		p := &port{t: t, mem: mem}
		c := New(mem, link.Offloads{Gather: 2}, 1500, p.send)
		defer c.Close()
		mk := &maker{mem: mem}
		var frames []*link.Frame
		var want []string
		for i := range 40 {
			b, _, l4 := packetOf(packet.UDP, false, false, 0, []byte(fmt.Sprintf("number %02d and more", i)))
			f := mk.frame(t, b, 50, 4)
			if len(f.Segments) <= 2 {
				t.Fatal("too few segments")
			}
			f.Checksum = link.Verified
			switch i % 4 {
			case 0:
				f = mk.frame(t, b, 60, 100)
			case 1:
				f.Checksum, f.CsumStart, f.CsumOffset = link.Partial, uint16(l4), 6
			case 2: // a checksum that is not in the head, and one beyond the frame
				f.Checksum, f.CsumStart, f.CsumOffset = link.Partial, uint16(l4), uint16(200*(i&4)/4+17)
				frames = append(frames, f)
				continue
			}
			frames = append(frames, f)
			want = append(want, fmt.Sprintf("%02d", i))
		}
		long, _, l4 := packetOf(packet.TCP, false, false, 0, data(3000))
		for _, bad := range []func(f *link.Frame){
			func(f *link.Frame) { f.MSS = LeastMSS - 1 },
			func(f *link.Frame) { f.Segmentation = link.TCPv6 },
			func(f *link.Frame) { f.Head[23] = packet.UDP },
			func(f *link.Frame) { f.Head[20] = 0x20 }, // a fragment
			func(f *link.Frame) { f.Head[14] = 0x41 },
			func(f *link.Frame) { f.Head[46] = 0xf0; f.Head = f.Head[:93] },
			func(f *link.Frame) { f.Head = f.Head[:50] },
			func(f *link.Frame) { f.MSS = 60000 },
		} {
			f := mk.frame(t, long, 100, 4096)
			f.Checksum, f.CsumStart, f.CsumOffset, f.Segmentation, f.MSS = link.Partial, uint16(l4), 16, link.TCPv4, 1000
			bad(f)
			frames = append(frames, f)
		}
		c.Send(frames)
		var got []string
		for i, b := range p.got {
			got = append(got, string(b[49:51]))
			if len(p.desc[i].Segments) > 2 || p.desc[i].Checksum == link.Partial {
				t.Errorf("%+v", p.desc[i])
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(want) || mk.done != len(frames) || int(c.Lost.Load()) != len(frames)-len(want) {
			t.Errorf("%v, want %v; %d of %d done, %d lost", got, want, mk.done, len(frames), c.Lost.Load())
		}
	})
}

// TestMost: copies that are not given back are all there are.
func TestMost(t *testing.T) {
	m := domaintest.New(t, 2048)
	defer m.CheckFree(t)
	p := &port{t: t, mem: m.Host.Memory, keep: true}
	c := New(m.Host.Memory, link.Offloads{Gather: 1}, 1500, p.send)
	mk := &maker{mem: m.Host.Memory}
	b, _, l4 := packetOf(packet.UDP, false, false, 0, nil)
	for range most + 3 {
		f := mk.frame(t, b, 100, 100)
		f.Checksum, f.CsumStart, f.CsumOffset = link.Partial, uint16(l4), 6
		c.Send([]*link.Frame{f})
	}
	if len(p.kept) != most || mk.done != most+3 || c.Lost.Load() != 3 {
		t.Errorf("%d sent, %d done, %d lost", len(p.kept), mk.done, c.Lost.Load())
	}
	closed := make(chan struct{})
	go func() { c.Close(); close(closed) }()
	select {
	case <-closed:
		t.Error("Close doesn't wait")
	default:
	}
	link.Drop(p.kept)
	<-closed
	f := mk.frame(t, b, 100, 100)
	f.Checksum, f.CsumStart, f.CsumOffset = link.Partial, uint16(l4), 6
	c.Send([]*link.Frame{f})
	if c.Lost.Load() != 4 || mk.done != most+4 {
		t.Error("a frame is sent after Close")
	}
}
