package virtionet

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"nidus/drivers/device/devicetest"
	"nidus/drivers/link"
	"nidus/drivers/nic/nictest"
	"nidus/drivers/virtio"
	"nidus/drivers/virtio/virtiotest"
	"nidus/mm"
)

const (
	all = wanted
	// plain is a card that can nothing.
	plain = featMAC

	modelPairs = 2
)

// wire is what is behind a model: what the card sends comes back by the same pair, as in the
// chains that the model was given for it.
type wire struct {
	d      *virtiotest.Device
	merge  bool
	mu     sync.Mutex
	sent   [][]byte // with their headers
	sets   [][]byte // commands
	refuse byte     // answer to commands
	back   func(pair int, frame []byte)
}

func (w *wire) serve(queue int, bufs []virtio.Buffer) uint32 {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for _, b := range bufs {
		if !b.Write {
			n += int(b.Len)
		}
	}
	b := make([]byte, n)
	if queue == 2*modelPairs || queue == 2 && w.d.Queues == 3 {
		w.d.Copy(bufs[:len(bufs)-1], b, false)
		w.sets = append(w.sets, b)
		w.d.Copy(bufs[len(bufs)-1:], []byte{w.refuse}, true)
		return 1
	}
	if queue%2 != 1 {
		panic("what is to be received was served")
	}
	w.d.Copy(bufs, b, false)
	w.sent = append(w.sent, b)
	if w.back != nil {
		go w.back(queue/2, b)
	}
	return 0
}

// input has a frame with its header come in, in as many chains as it needs.
func (w *wire) input(pair int, frame []byte) bool {
	chains := 1
	if w.merge {
		chains = (len(frame) + mm.PageSize - 1) / mm.PageSize
	}
	return w.chains(pair, frame, chains, chains)
}

func (w *wire) chains(pair int, frame []byte, chains, said int) bool {
	frame = bytes.Clone(frame)
	if w.merge || !w.d.Legacy { // else the header ends before
		binary.LittleEndian.PutUint16(frame[10:], uint16(said))
	}
	return w.d.Input(2*pair, chains, func(c [][]virtio.Buffer) (written []uint32) {
		for i, bufs := range c {
			if w.d.Legacy && w.d.Features&(featMerge|featAnyLayout) == 0 && bufs[0].Len != oldHeaderSize {
				panic("the header is in a buffer with others")
			}
			n := len(frame)
			if i < len(c)-1 {
				n = min(n, mm.PageSize)
			}
			w.d.Copy(bufs, frame[:n], true)
			written = append(written, uint32(n))
			frame = frame[n:]
		}
		return written
	})
}

func open(t *testing.T, features uint64, change func(*virtiotest.Device)) (*Card, *wire, *devicetest.Log, error) {
	cfg := make([]byte, 24)
	copy(cfg, "\x52\x54\x00\x12\x34\x56")
	le := binary.LittleEndian
	le.PutUint16(cfg[cfgStatus:], statusUp)
	le.PutUint16(cfg[cfgPairs:], modelPairs)
	le.PutUint16(cfg[cfgMTU:], 9000)
	queues := 2
	if features&featControl != 0 {
		queues = 3
	}
	if features&featQueues != 0 {
		queues = 2*modelPairs + 1
	}
	d := &virtiotest.Device{Host: &devicetest.Host{NumCPU: 4}, ID: 0x1041, Features: features, Config: cfg, Queues: queues, Size: 256, Vectors: modelPairs + 1}
	d.Waits = func(q int) bool { return q%2 == 0 && q < queues-queues%2 }
	w := &wire{d: d, merge: features&featMerge != 0}
	d.Serve = w.serve
	if change != nil {
		change(d)
	}
	f := d.Function()
	t.Cleanup(d.Close)
	log := &devicetest.Log{}
	c, err := Open(d.Host, f, "eth7", log.Printf)
	return c, w, log, err
}

func TestInfo(t *testing.T) {
	c, w, _, err := open(t, all, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := link.Info{Name: "eth7", MAC: link.MAC{0x52, 0x54, 0, 0x12, 0x34, 0x56}, MTU: 9000,
		Take: link.Offloads{Checksum: true, TCPv4: true, TCPv6: true, Gather: link.MaxSegments}}
	if c.Info() != want {
		t.Errorf("%+v, want %+v", c.Info(), want)
	}
	if got := fmt.Sprintf("% x", w.sets); got != "[04 00 02 00 00 00 01]" {
		t.Errorf("commands %s", got)
	}
	if up, _ := c.Up(); !up {
		t.Error("the link is down")
	}
	c, w, _, err = open(t, plain, nil)
	if err != nil {
		t.Fatal(err)
	}
	if i := c.Info(); i.MTU != 1500 || i.Take != (link.Offloads{Gather: link.MaxSegments}) || len(w.sets) != 0 {
		t.Errorf("%+v, commands % x", i, w.sets)
	}
}

// TestEcho sends frames that come back.
func TestEcho(t *testing.T) {
	modern := []uint64{all, all &^ virtio.FeatureIndirect, all &^ virtio.FeatureEventIndex, all &^ featMerge, plain, plain | featMTU | featStatus, plain | featControl | featControlRx}
	for i, features := range append(modern, all, all&^featMerge, all&^(featMerge|featAnyLayout), plain) {
		c, w, log, err := open(t, features, func(d *virtiotest.Device) {
			if d.Legacy = i >= len(modern); d.Legacy {
				d.ID = 0x1000
			}
		})
		if err != nil {
			t.Fatalf("%#x: %v", features, err)
		}
		w.back = func(pair int, frame []byte) {
			frame[1] &^= cutECN // not wanted for what comes in
			for !w.input(pair, frame) {
				time.Sleep(time.Millisecond) // no buffers: they come
			}
		}
		type got struct {
			f link.Frame
			b []byte
		}
		came := make(chan got, 1000)
		c.Receive(func(frames []*link.Frame) {
			for _, f := range frames {
				came <- got{*f, nictest.Read(w.d.Host, f)}
				f.Done(f)
			}
		})
		s := nictest.NewSender(t, w.d.Host, features)
		want := map[string]link.Frame{}
		var n, size int
		for range 60 {
			var batch []*link.Frame
			for range 10 { // as many as fit without indirect descriptors
				kind, size := link.Whole, 60+s.Rnd.IntN(c.Info().MTU+14-60)
				if k := link.Segmentation(s.Rnd.IntN(8)); k == link.TCPv4 && c.Info().Take.TCPv4 || k == link.TCPv6 && c.Info().Take.TCPv6 {
					if kind = k; w.merge {
						size = 60 + s.Rnd.IntN(link.MaxFrame-60)
					} else {
						kind = link.Whole // it would not come back
					}
				}
				f, b := s.Frame(kind, size)
				want[string(b)] = *f
				batch = append(batch, f)
			}
			c.Send(batch)
			for range batch {
				select {
				case g := <-came:
					f, ok := want[string(g.b)]
					if !ok {
						t.Fatalf("features %#x: a frame of %d bytes came, which was not sent", features, len(g.b))
					}
					if g.f.Segmentation != f.Segmentation || g.f.MSS != f.MSS || g.f.Checksum != f.Checksum || g.f.CsumStart != f.CsumStart || g.f.CsumOffset != f.CsumOffset {
						t.Errorf("features %#x: sent %+v, came %+v", features, f, g.f)
					}
					delete(want, string(g.b))
					n++
					size += len(g.b)
				case <-time.After(20 * time.Second):
					t.Fatalf("features %#x: %d frames did not come back; %+v; log %q", features, len(want), c.Stats(), log)
				}
			}
		}
		s.Out.Wait()
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		if st := c.Stats(); st.SentFrames != uint64(n) || st.ReceivedFrames != uint64(n) || st.SentBytes != uint64(size) || st.ReceivedBytes != uint64(size) {
			t.Errorf("features %#x: %+v, want %d frames, %d bytes", features, st, n, size)
		}
		f, _ := s.Frame(link.Whole, 100)
		c.Send([]*link.Frame{f})
		s.Out.Wait()
		if n := w.d.Host.Frames(); n != 0 {
			t.Errorf("features %#x: %d frames are in use", features, n)
		}
		if log.String() != "" {
			t.Errorf("features %#x: the log says %q", features, log)
		}
	}
}

// TestHeader looks at the header that the card gets.
func TestHeader(t *testing.T) {
	c, w, _, err := open(t, all, nil)
	if err != nil {
		t.Fatal(err)
	}
	s := nictest.NewSender(t, w.d.Host, 2)
	f, b := s.Frame(link.TCPv6, 5000)
	f.Head[34+13] |= 0x80
	b[34+13] |= 0x80
	c.Send([]*link.Frame{f})
	s.Out.Wait()
	if want := append([]byte{1, cutTCP6 | cutECN, 54, 0, 0xb4, 5, 34, 0, 16, 0, 0, 0}, b...); !bytes.Equal(w.sent[0], want) {
		t.Errorf("% x, want % x", w.sent[0][:20], want[:20])
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

// TestRefused sends what the card does not take.
func TestRefused(t *testing.T) {
	for name, change := range map[string]func(f *link.Frame){
		"no header":           func(f *link.Frame) { f.Head = f.Head[:13] },
		"too long":            func(f *link.Frame) { f.Segmentation = link.Whole },
		"sum beyond":          func(f *link.Frame) { f.CsumOffset = 0xffff },
		"no size of segments": func(f *link.Frame) { f.MSS = 0 },
		"no checksum":         func(f *link.Frame) { f.Checksum = link.Complete },
		"a third kind":        func(f *link.Frame) { f.Segmentation = 3 },
		"no header of TCP":    func(f *link.Frame) { f.CsumStart = 190 },
		"TCP's options":       func(f *link.Frame) { f.Head[46] = 0xf0; f.Head = f.Head[:60] },
		"many segments":       func(f *link.Frame) { f.Segments = make([]link.Segment, link.MaxSegments+1) },
	} {
		c, w, _, err := open(t, all, nil)
		if err != nil {
			t.Fatal(err)
		}
		s := nictest.NewSender(t, w.d.Host, 2)
		f, _ := s.Frame(link.TCPv4, 20000)
		change(f)
		c.Send([]*link.Frame{f})
		s.Out.Wait()
		if st := c.Stats(); st.SentErrors != 1 || len(w.sent) != 0 {
			t.Errorf("%s: %+v", name, st)
		}
		c.Close()
	}
}

// TestHostile has cards that break the protocol. They are given up; every frame is Done.
func TestHostile(t *testing.T) {
	frame := make([]byte, 100)
	for name, c := range map[string]struct {
		corrupt func(id, written *uint32)
		do      func(w *wire)
	}{
		"no chain":                  {nil, func(w *wire) { w.chains(0, frame, 1, 0) }},
		"more chains than are":      {nil, func(w *wire) { w.chains(0, frame, 1, 2) }},
		"very many chains":          {nil, func(w *wire) { w.chains(0, frame, 1, 0xffff) }},
		"an id of nothing":          {func(id, _ *uint32) { *id ^= 0x8000 }, func(w *wire) { w.input(0, frame) }},
		"more than there was":       {func(_, written *uint32) { *written += 5000 }, func(w *wire) { w.input(0, frame) }},
		"written into what is sent": {func(_, written *uint32) { *written++ }, func(w *wire) {}},
	} {
		card, w, log, err := open(t, all&^featControl, func(d *virtiotest.Device) { d.Corrupt = c.corrupt })
		if err != nil {
			t.Fatal(err)
		}
		s := nictest.NewSender(t, w.d.Host, 2)
		c.do(w)
		ended := make(chan bool)
		go func() {
			for !strings.Contains(log.String(), "not used any more") || !card.gone.Load() {
				f, _ := s.Frame(link.Whole, 1000)
				card.Send([]*link.Frame{f})
			}
			s.Out.Wait()
			close(ended)
		}()
		select {
		case <-ended:
		case <-time.After(20 * time.Second):
			t.Fatalf("%s: not noticed, or frames are not done: %q", name, log)
		}
		if strings.Count(log.String(), "\n") != 1 || !strings.Contains(log.String(), "not keep to the protocol") {
			t.Errorf("%s: the log says %q", name, log)
		}
		if up, _ := card.Up(); up {
			t.Errorf("%s: the link is up", name)
		}
		if err := card.Close(); err != nil {
			t.Error(err)
		}
		if n := w.d.Host.Frames(); n != 0 {
			t.Errorf("%s: %d frames are left", name, n)
		}
	}
}

// TestBadFrames has headers come in that say what can't be: those frames are dropped, and
// counted.
func TestBadFrames(t *testing.T) {
	good := func() []byte {
		b := make([]byte, headerSize+2000)
		copy(b, []byte{1, cutTCP4, 54, 0, 0xb4, 5, 34, 0, 16, 0})
		b[headerSize+46] = 5 << 4
		return b
	}
	for _, c := range []struct {
		name     string
		features uint64
		change   func(b []byte) []byte
		bad      bool
	}{
		{"good", all, func(b []byte) []byte { return b }, false},
		{"a third kind", all, func(b []byte) []byte { b[1] = 3; return b }, true},
		{"with ECN, which is not wanted", all, func(b []byte) []byte { b[1] |= cutECN; return b }, true},
		{"segmentation that is not wanted", all &^ featGuestTSO4, func(b []byte) []byte { return b }, true},
		{"the sum beyond the end", all, func(b []byte) []byte { b[8], b[9] = 0xff, 0xff; return b }, true},
		{"no size", all, func(b []byte) []byte { b[4], b[5] = 0, 0; return b }, true},
		{"no sum", all, func(b []byte) []byte { b[0] = flagVerified; return b }, true},
		{"no TCP", all, func(b []byte) []byte { b[headerSize+46] = 0x40; return b }, true},
		{"a runt", all, func(b []byte) []byte { return b[:headerSize+13] }, true},
		{"less than a header", plain, func(b []byte) []byte { return b[:headerSize] }, true},
	} {
		card, w, log, err := open(t, c.features, nil)
		if err != nil {
			t.Fatal(err)
		}
		came := make(chan bool, 10)
		card.Receive(func(frames []*link.Frame) {
			for _, f := range frames {
				came <- f.Checksum == link.Verified
				f.Done(f)
			}
		})
		w.input(0, c.change(good()))
		last := make([]byte, headerSize+60)
		last[0] = flagVerified
		w.input(0, last)
		if <-came == !c.bad && card.features&featGuestChecksum != 0 {
			t.Errorf("%s: came in %v", c.name, !c.bad)
		}
		bad := uint64(0)
		if c.bad {
			bad = 1
		}
		if card.Close(); card.Stats().ReceivedBad != bad || log.String() != "" {
			t.Errorf("%s: %+v, log %q", c.name, card.Stats(), log)
		}
	}
}

// TestNoBuffers has a receiver keep all frames: what comes then is dropped, and after it
// gave them back all is well. Close waits for it.
func TestNoBuffers(t *testing.T) {
	c, w, _, err := open(t, all, nil)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var kept []*link.Frame
	c.Receive(func(frames []*link.Frame) {
		mu.Lock()
		kept = append(kept, frames...)
		mu.Unlock()
	})
	put := func(n int) {
		for range n {
			for !w.input(0, make([]byte, 100)) {
				time.Sleep(time.Millisecond)
			}
		}
	}
	const over = 300
	put(lendable + over)
	wait := func(what string, is func(s link.Stats, kept int) bool) {
		for end := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
			mu.Lock()
			n := len(kept)
			mu.Unlock()
			if is(c.Stats(), n) {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("%s: %+v", what, c.Stats())
			}
		}
	}
	wait("full", func(s link.Stats, kept int) bool { return kept == lendable && s.NoBuffer == over })
	mu.Lock()
	first := kept[0]
	kept = kept[1:]
	mu.Unlock()
	first.Done(first)
	put(2)
	wait("one was given back", func(s link.Stats, kept int) bool { return kept == lendable && s.NoBuffer == over+1 })
	closed := make(chan error)
	go func() { closed <- c.Close() }()
	select {
	case <-closed:
		t.Fatal("Close did not wait for the frames")
	case <-time.After(20 * time.Millisecond):
	}
	mu.Lock()
	for _, f := range kept {
		f.Done(f)
	}
	mu.Unlock()
	if err := <-closed; err != nil {
		t.Error(err)
	}
	if n := w.d.Host.Frames(); n != 0 {
		t.Errorf("%d frames are left", n)
	}
}

// TestLink turns the link off and on, and then the card dies with frames in flight.
func TestLink(t *testing.T) {
	c, w, log, err := open(t, all, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []bool{false, true} {
		_, changed := c.Up()
		w.d.Changed(func(*uint8) { w.d.Config[cfgStatus] ^= statusUp })
		<-changed
		if up, _ := c.Up(); up != want {
			t.Errorf("the link is up: %v", up)
		}
	}
	w.d.Set(func() { w.d.Hold = true })
	s := nictest.NewSender(t, w.d.Host, 2)
	for range 400 { // more than the queue has room for
		f, _ := s.Frame(link.Whole, 1000)
		c.Send([]*link.Frame{f})
	}
	if st := c.Stats(); st.SentDropped != 400-depth || st.SentErrors != 0 {
		t.Errorf("%+v", st)
	}
	_, changed := c.Up()
	w.d.Changed(func(status *uint8) { *status |= 64 })
	<-changed
	s.Out.Wait()
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if got := log.String(); !strings.Contains(got, "link is down\n") || !strings.Contains(got, "link is up\n") || !strings.Contains(got, "does not work any more") {
		t.Errorf("the log says %q", got)
	}
}

func TestUnusable(t *testing.T) {
	for name, c := range map[string]func(d *virtiotest.Device){
		"no address":            func(d *virtiotest.Device) { clear(d.Config[:6]) },
		"an address of many":    func(d *virtiotest.Device) { d.Config[0] = 1 },
		"no address is offered": func(d *virtiotest.Device) { d.Features &^= featMAC },
		"an MTU of 67":          func(d *virtiotest.Device) { d.Config[cfgMTU], d.Config[cfgMTU+1] = 67, 0 },
		"no pairs":              func(d *virtiotest.Device) { d.Config[cfgPairs] = 0 },
		"no second queue":       func(d *virtiotest.Device) { d.Queues = 1 },
		"one interrupt":         func(d *virtiotest.Device) { d.Vectors = 1 },
		"a short configuration": func(d *virtiotest.Device) { d.Config = d.Config[:8] },
		"short queues": func(d *virtiotest.Device) {
			d.Size = 2
			d.Features &^= featMerge | virtio.FeatureIndirect
		},
		"no memory":       func(d *virtiotest.Device) { d.Host.Most = 600 },
		"little memory":   func(d *virtiotest.Device) { d.Host.Most = 5 },
		"no such command": func(d *virtiotest.Device) { refuse(d) },
	} {
		var h *devicetest.Host
		_, _, _, err := open(t, all, func(d *virtiotest.Device) { c(d); h = d.Host })
		if !errors.Is(err, virtio.ErrUnusable) && !errors.Is(err, mm.ErrNoMemory) {
			t.Errorf("%s: %v", name, err)
		}
		if n := h.Frames(); n != 0 {
			t.Errorf("%s: %d frames are left", name, n)
		}
	}
}

func refuse(d *virtiotest.Device) {
	serve := d.Serve
	d.Serve = func(q int, bufs []virtio.Buffer) uint32 {
		n := serve(q, bufs)
		if q == 2*modelPairs {
			d.Copy(bufs[len(bufs)-1:], []byte{1}, true)
		}
		return n
	}
}
