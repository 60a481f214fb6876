// Package nictest has what tests of network cards' drivers share: frames to send, and
// what a card has to do with them.
package nictest

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"nidus/drivers/device/devicetest"
	"nidus/drivers/link"
	"nidus/mm"
)

// Sender makes frames of random data, and holds their memory until they are Done.
type Sender struct {
	T    testing.TB
	Host *devicetest.Host
	Rnd  *rand.Rand
	Out  sync.WaitGroup // of frames that are not Done
}

// NewSender makes one.
func NewSender(t testing.TB, h *devicetest.Host, seed uint64) *Sender {
	return &Sender{T: t, Host: h, Rnd: rand.New(rand.NewPCG(1, seed))}
}

// Frame returns a frame of n bytes, 60 at least, and those. Its first 20 bytes are those of
// one flow. If it is to be cut, there is nothing of IP in its headers, but TCP's length.
func (s *Sender) Frame(kind link.Segmentation, n int) (*link.Frame, []byte) {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(s.Rnd.Uint32())
	}
	copy(b, "\x01\x02\x03\x04\x05\x06\x52\x54\x00\x12\x34\x56\x99\x99")
	f := &link.Frame{Segmentation: kind}
	if kind != link.Whole {
		f.MSS, f.Checksum, f.CsumStart, f.CsumOffset = 1460, link.Partial, 34, 16
		b[34+12], b[34+13] = 5<<4, byte(s.Rnd.UintN(2))<<7
	}
	s.Fill(f, b, 60)
	return f, b
}

// Packet returns a frame of TCP to be cut, with n bytes of data, and its bytes. With a tag,
// it is one of VLAN 5.
func (s *Sender) Packet(kind link.Segmentation, tag bool, n int) (*link.Frame, []byte) {
	be := binary.BigEndian
	random := func(n int) (b []byte) {
		for range n {
			b = append(b, byte(s.Rnd.Uint32()))
		}
		return b
	}
	b := []byte("\x01\x02\x03\x04\x05\x06\x52\x54\x00\x12\x34\x56")
	if tag {
		b = append(b, 0x81, 0, 0, 5)
	}
	var sum []byte // the pseudo header
	const tcp = 20 + 12
	if kind == link.TCPv4 {
		b = append(b, 8, 0)
		ip := be.AppendUint16([]byte{0x45, 0}, uint16(20+tcp+n))
		ip = append(append(ip, 0x12, 0x34, 0x40, 0, 64, 6, 0, 0), random(8)...)
		be.PutUint16(ip[10:], ^Sum(ip))
		b, sum = append(b, ip...), append(sum, ip[12:]...)
	} else {
		ip := be.AppendUint16([]byte{0x86, 0xdd, 0x60, 0, 0, 0}, uint16(tcp+n))
		ip = append(append(ip, 6, 64), random(32)...)
		b, sum = append(b, ip...), append(sum, ip[10:]...)
	}
	start := len(b)
	b = append(b, random(tcp+n)...)
	b[start+12], b[start+13] = tcp/4<<4, 0x18
	be.PutUint16(b[start+16:], Sum(be.AppendUint16(append(sum, 0, 6), uint16(tcp+n))))
	f := &link.Frame{Segmentation: kind, MSS: 1448, Checksum: link.Partial, CsumStart: uint16(start), CsumOffset: 16}
	s.Fill(f, b, start+tcp)
	return f, b
}

// Sum is the sum of RFC 1071, not yet complemented.
func Sum(b []byte) uint16 {
	var s uint32
	for i, c := range b {
		s += uint32(c) << (8 * (1 - i&1))
	}
	for s>>16 != 0 {
		s = s&0xffff + s>>16
	}
	return uint16(s)
}

// Fill gives a frame its bytes, in random pieces, of which the head has least at least.
func (s *Sender) Fill(f *link.Frame, b []byte, least int) {
	n := len(b)
	var frames []mm.MFN
	page := func(b []byte, off int) link.Segment {
		m, err := s.Host.Alloc(0, mm.ZoneAny)
		if err != nil {
			s.T.Error(err)
		}
		s.Host.Page(m).Write(off, b)
		frames = append(frames, m)
		return link.Segment{Frame: m, Off: uint16(off), Len: uint16(len(b))}
	}
	head := min(n, least+s.Rnd.IntN(link.HeadSize-least))
	f.HeadAt = page(b[:head], s.Rnd.IntN(100))
	f.Head = s.Host.Page(f.HeadAt.Frame).Bytes(int(f.HeadAt.Off), head)
	for at := head; at < n; {
		// The rest has to fit into the segments that are left after this one.
		least := max(1, n-at-(link.MaxSegments-1-len(f.Segments))*mm.PageSize)
		l := min(least+s.Rnd.IntN(mm.PageSize-least+1), n-at)
		f.Segments = append(f.Segments, page(b[at:at+l], s.Rnd.IntN(mm.PageSize-l+1)))
		at += l
	}
	s.Out.Add(1)
	f.Done = func(*link.Frame) {
		for _, m := range frames {
			s.Host.Free(m, 0)
		}
		s.Out.Done()
	}
}

// Read copies a frame.
func Read(h *devicetest.Host, f *link.Frame) []byte {
	b := bytes.Clone(f.Head)
	at := make([]byte, len(b))
	h.Page(f.HeadAt.Frame).Read(int(f.HeadAt.Off), at)
	if !bytes.Equal(at, b) {
		panic("the head is not where it says")
	}
	for _, s := range f.Segments {
		p := make([]byte, s.Len)
		h.Page(s.Frame).Read(int(s.Off), p)
		b = append(b, p...)
	}
	return b
}

// Loop is a wire that brings back what is sent: it returns what the model calls with each
// frame, and what ends it. input has a frame come in; it is false if there is no buffer.
func Loop(input func(b []byte) bool) (sent func(b []byte), end func()) {
	wire := make(chan []byte, 1000)
	go func() {
		for b := range wire {
			for !input(b) {
				time.Sleep(time.Millisecond) // no buffers: they come
			}
		}
	}()
	return func(b []byte) { wire <- bytes.Clone(b) }, func() { close(wire) }
}

// Echo sends frames, of which some have a checksum to be done if the port does that, at one of
// offsets, or anywhere; they come back by a Loop with want. Then it closes the port, and looks at what is left.
func Echo(t *testing.T, p link.Port, h *devicetest.Host, want link.Checksum, offsets ...uint16) {
	came := make(chan []byte, 1000)
	p.Receive(func(frames []*link.Frame) {
		for _, f := range frames {
			if f.Checksum != want {
				t.Errorf("checksum %v", f.Checksum)
			}
			came <- Read(h, f)
			f.Done(f)
		}
	})
	s := NewSender(t, h, 1)
	n, size := 0, 0
	for range 60 {
		sent := map[string]bool{}
		var batch []*link.Frame
		for range 10 {
			f, b := s.Frame(link.Whole, 60+s.Rnd.IntN(1458))
			if p.Info().Take.Checksum && s.Rnd.IntN(2) == 0 {
				f.Checksum, f.CsumStart, f.CsumOffset = link.Partial, uint16(14+s.Rnd.IntN(20)), uint16(s.Rnd.IntN(20))
				if len(offsets) > 0 {
					f.CsumOffset = offsets[s.Rnd.IntN(len(offsets))]
				}
				binary.BigEndian.PutUint16(b[f.CsumStart+f.CsumOffset:], ^Sum(b[f.CsumStart:]))
			}
			sent[string(b)] = true
			batch = append(batch, f)
		}
		p.Send(batch)
		for range batch {
			select {
			case b := <-came:
				if !sent[string(b)] {
					t.Fatalf("a frame of %d bytes came, which was not sent", len(b))
				}
				delete(sent, string(b))
				n++
				size += len(b)
			case <-time.After(20 * time.Second):
				t.Fatalf("%d frames did not come back; %+v", len(sent), p.Stats())
			}
		}
	}
	s.Out.Wait()
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if st := p.Stats(); st.SentFrames != uint64(n) || st.ReceivedFrames != uint64(n) || st.SentBytes != uint64(size) || st.ReceivedBytes != uint64(size) {
		t.Errorf("%+v, want %d frames, %d bytes", st, n, size)
	}
	f, _ := s.Frame(link.Whole, 100)
	p.Send([]*link.Frame{f})
	s.Out.Wait()
	if n := h.Frames(); n != 0 {
		t.Errorf("%d frames are in use", n)
	}
}

// UpDown turns a link off and on, and looks at what the port and the log say.
func UpDown(t *testing.T, p card, log *devicetest.Log, link func(up bool)) {
	for _, want := range []bool{false, true, false, true} {
		_, changed := p.Up()
		link(want)
		select {
		case <-changed:
		case <-time.After(20 * time.Second):
			t.Fatal("the link's change is not seen")
		}
		if up, _ := p.Up(); up != want {
			t.Errorf("the link is up: %v", up)
		}
	}
	p.Look() // the look that saw the last change has written its line when this one begins
	if got := log.String(); strings.Count(got, "link is down\n") != 2 || strings.Count(got, "link is up\n") != 2 {
		t.Errorf("the log says %q", got)
	}
}

// Unplugged has a card without a link keep what it is to send, as hold tells the model: it is
// given back soon, and with a link again the card works as before.
func Unplugged(t *testing.T, p link.Port, h *devicetest.Host, hold, link func(on bool), sent <-chan []byte) {
	s := NewSender(t, h, 1)
	hold(true)
	link(false)
	for range 10 {
		f, _ := s.Frame(0, 1000)
		p.Send(frames(f))
	}
	s.Out.Wait()
	if n := p.Stats().SentDropped; n != 10 {
		t.Errorf("%d frames were dropped", n)
	}
	hold(false)
	link(true)
	for range 600 {
		f, b := s.Frame(0, 1000)
		p.Send(frames(f))
		select {
		case got := <-sent:
			if !bytes.Equal(got, b) {
				t.Fatal("not the frame that was sent")
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("a frame is not sent: %+v", p.Stats())
		}
	}
	s.Out.Wait()
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if n := h.Frames(); n != 0 {
		t.Errorf("%d frames are in use", n)
	}
}

func frames(f *link.Frame) []*link.Frame { return []*link.Frame{f} }

// card is a port that looks after its card when it is told.
type card interface {
	link.Port
	Look()
}

// PullOut fills a card's ring, which the model is to leave alone, and has it vanish.
func PullOut(t *testing.T, p card, h *devicetest.Host, log *devicetest.Log, vanish func()) {
	s := NewSender(t, h, 1)
	for range 600 { // more than the ring has room for
		f, _ := s.Frame(link.Whole, 1500)
		p.Send([]*link.Frame{f})
	}
	if st := p.Stats(); st.SentDropped == 0 || st.SentErrors != 0 {
		t.Errorf("%+v", st)
	}
	vanish()
	p.Look()
	s.Out.Wait()
	f, _ := s.Frame(link.Whole, 1500)
	p.Send([]*link.Frame{f})
	s.Out.Wait()
	if up, _ := p.Up(); up {
		t.Error("the link is up")
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if n := h.Frames(); n != 0 {
		t.Errorf("%d frames are in use", n)
	}
	if got := log.String(); strings.Count(got, "does not answer") != 1 {
		t.Errorf("the log says %q", got)
	}
}
