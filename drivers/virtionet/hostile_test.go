package virtionet

import (
	"errors"
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
