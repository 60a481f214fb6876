package virtionet

import (
	"bytes"
	"encoding/binary"
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
