package virtioblk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"nidus/drivers/block"
	"nidus/drivers/block/blocktest"
	"nidus/drivers/device/devicetest"
	"nidus/drivers/virtio"
	"nidus/drivers/virtio/virtiotest"
	"nidus/mm"
)

const sectors = 256

// medium is the disk behind a model: what is written, and what a power cut would leave.
type medium struct {
	d          *virtiotest.Device
	now, safe  [sectors * 512]byte
	discarded  [sectors]int
	status     func(typ uint32) byte // nil: all is well
	discardTop uint32
}

func (m *medium) serve(_ int, bufs []virtio.Buffer) uint32 {
	head := make([]byte, 16)
	m.copy(bufs[0], head, false)
	le := binary.LittleEndian
	typ, at := le.Uint32(head), le.Uint64(head[8:])*512
	status, written := byte(statusOK), uint32(1)
	if m.status != nil {
		status = m.status(typ)
	}
	if status == statusOK {
		switch typ {
		case typeIn, typeOut:
			for _, b := range bufs[1 : len(bufs)-1] {
				m.copy(b, m.now[at:at+uint64(b.Len)], typ == typeIn)
				at += uint64(b.Len)
				if typ == typeIn {
					written += b.Len
				}
			}
		case typeFlush:
			m.safe = m.now
		case typeDiscard:
			r := make([]byte, 16)
			m.copy(bufs[1], r, false)
			n := le.Uint32(r[8:])
			if n > m.discardTop {
				status = statusIOError
			}
			for i := range n {
				m.discarded[le.Uint64(r)+uint64(i)]++
			}
		default:
			status = statusUnsupported
		}
	}
	m.copy(bufs[len(bufs)-1], []byte{status}, true)
	return written
}

func (m *medium) copy(b virtio.Buffer, data []byte, toDriver bool) {
	if b.Write != toDriver || len(data) > int(b.Len) {
		panic(fmt.Sprintf("a buffer of %d bytes, written %v, for %d", b.Len, b.Write, len(data)))
	}
	p, off := m.d.Host.At(b.Addr)
	if toDriver {
		p.Write(off, data)
	} else {
		p.Read(off, data)
	}
}

// open makes a model and its driver. The log is what the driver says.
func open(t *testing.T, features uint64, change func(*virtiotest.Device)) (*Disk, *medium, *strings.Builder, error) {
	cfg := make([]byte, 60)
	le := binary.LittleEndian
	le.PutUint64(cfg[cfgCapacity:], sectors)
	le.PutUint32(cfg[cfgSegMax:], 126)
	le.PutUint32(cfg[cfgBlockSize:], 512)
	cfg[cfgPhysical] = 3
	le.PutUint16(cfg[cfgQueues:], 2)
	le.PutUint32(cfg[cfgDiscardMax:], 10)
	le.PutUint32(cfg[cfgDiscardSeg:], 1)
	le.PutUint32(cfg[cfgDiscardBy:], 1)
	dev := &virtiotest.Device{Host: &devicetest.Host{NumCPU: 3}, ID: 0x1042, Features: features, Config: cfg, Queues: 2, Size: 128, Vectors: 3}
	m := &medium{d: dev, discardTop: 10}
	dev.Serve = m.serve
	if change != nil {
		change(dev)
	}
	f := dev.Function()
	t.Cleanup(dev.Close)
	log := &strings.Builder{}
	d, err := Open(dev.Host, f, func(format string, args ...any) { fmt.Fprintf(log, format+"\n", args...) })
	return d, m, log, err
}

const all = featSegMax | featBlockSize | featFlush | featTopology | featQueues | featDiscard | virtio.FeatureIndirect | virtio.FeatureEventIndex

// TestRandom has goroutines write, read back, and flush parts of their own.
func TestRandom(t *testing.T) {
	modern := []uint64{all, all &^ virtio.FeatureIndirect, all &^ virtio.FeatureEventIndex, featFlush}
	for i, features := range append(modern, all, featFlush) {
		d, m, _, err := open(t, features, func(d *virtiotest.Device) {
			if d.Legacy = i >= len(modern); d.Legacy {
				d.ID, d.Size = 0x1001, 256>>(i-len(modern)) // its parts lie in other places then
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		const workers, each = 8, sectors / 8
		var wg sync.WaitGroup
		for w := range workers {
			wg.Go(func() {
				if err := work(d, m, uint64(w*each), each, rand.New(rand.NewPCG(uint64(w), features))); err != nil {
					t.Errorf("features %#x, worker %d: %v", features, w, err)
				}
			})
		}
		wg.Wait()
		if err := d.Close(); err != nil {
			t.Error(err)
		}
		if err := block.Do(d, &block.Request{Op: block.Flush}); !errors.Is(err, block.ErrGone) {
			t.Errorf("after Close: %v", err)
		}
		if n := m.d.Host.Frames(); n != workers {
			t.Errorf("features %#x: %d frames are in use, the workers have %d", features, n, workers)
		}
	}
}

func work(d *Disk, m *medium, first, n uint64, rnd *rand.Rand) error {
	frame, err := m.d.Host.Alloc(0, mm.ZoneAny)
	if err != nil {
		return err
	}
	page := m.d.Host.Page(frame)
	is, safe := make([]byte, n*512), make([]byte, n*512)
	known := make([]bool, n) // of safe: another's flush may have made it so, too
	for range 300 {
		at, count := rnd.Uint64N(n-8), 1+rnd.Uint64N(8)
		var segs []block.Segment
		for i := range uint16(count) {
			segs = append(segs, block.Segment{Frame: frame, Off: i * 512, Len: 512})
		}
		r := &block.Request{Sector: first + at, Segments: segs}
		part := is[at*512 : (at+count)*512]
		switch k := rnd.IntN(8); {
		case k < 3:
			page.Clear()
			if err := block.Do(d, r); err != nil {
				return err
			}
			got := make([]byte, count*512)
			page.Read(0, got)
			if !bytes.Equal(got, part) {
				return fmt.Errorf("%d sectors at %d are not what was written", count, at)
			}
			continue
		case k < 7:
			for i := range part {
				part[i] = byte(rnd.Uint32())
			}
			page.Write(0, part)
			if r.Op = block.Write; k == 6 {
				r.Op = block.WriteFUA
				copy(safe[at*512:], part)
			}
			for i := range count {
				known[at+i] = k == 6
			}
		default:
			r.Op, r.Segments = block.Flush, nil
			copy(safe, is)
			for i := range known {
				known[i] = true
			}
		}
		if err := block.Do(d, r); err != nil {
			return err
		}
		m.d.Set(func() {
			for i, k := range known {
				a := (first + uint64(i)) * 512
				if k && !bytes.Equal(m.safe[a:a+512], safe[i*512:(i+1)*512]) {
					err = fmt.Errorf("sector %d is not on the medium", i)
				}
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func TestInfo(t *testing.T) {
	d, _, _, err := open(t, all, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := block.Info{Sectors: sectors, SectorSize: 512, PhysicalSize: 4096, CanFlush: true, CanDiscard: true, DiscardUnit: 512,
		MaxSegments: 126, Prompt: true, MaxBytes: 126 * 4096, Name: "virtio-blk at 00:00.0"}
	if d.Info() != want {
		t.Errorf("got  %+v\nwant %+v", d.Info(), want)
	}
	if len(d.queues) != 2 {
		t.Errorf("%d queues", len(d.queues))
	}
	d, _, _, err = open(t, featReadOnly|featBlockSize|featFlush|featDiscard, func(d *virtiotest.Device) {
		binary.LittleEndian.PutUint32(d.Config[cfgBlockSize:], 4096)
		d.Config[cfgCapacity]++ // not a whole sector
	})
	if err != nil || d.Info().SectorSize != 4096 || d.Info().Sectors != sectors || !d.Info().ReadOnly || d.Info().CanDiscard {
		t.Errorf("%+v, %v", d.Info(), err)
	}
}

// TestDiscard discards more than the device takes at once.
func TestDiscard(t *testing.T) {
	d, m, _, err := open(t, all, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := block.Do(d, &block.Request{Op: block.Discard, Sector: 5, Sectors: 33}); err != nil {
		t.Error(err)
	}
	for i, n := range m.discarded {
		if want := i >= 5 && i < 38; (n == 1) != want || n > 1 {
			t.Errorf("sector %d was discarded %d times", i, n)
		}
	}
}

func TestErrors(t *testing.T) {
	d, m, _, err := open(t, all, nil)
	if err != nil {
		t.Fatal(err)
	}
	frame, _ := m.d.Host.Alloc(0, mm.ZoneAny)
	page := []block.Segment{{Frame: frame, Len: 4096}}
	for _, c := range []struct {
		status byte
		r      block.Request
		want   error
	}{
		{statusIOError, block.Request{Segments: page}, ErrMedium},
		{statusUnsupported, block.Request{Op: block.Flush}, block.ErrUnsupported},
		{statusIOError, block.Request{Op: block.WriteFUA, Segments: page}, ErrMedium},
		{statusOK, block.Request{Sector: sectors, Segments: page}, block.ErrRange},
		{statusOK, block.Request{Segments: page}, nil},
	} {
		m.d.Set(func() { m.status = func(uint32) byte { return c.status } })
		if err := block.Do(d, &c.r); !errors.Is(err, c.want) {
			t.Errorf("%v: %v", c, err)
		}
	}
	m.d.Set(func() { m.status = func(uint32) byte { return 77 } })
	if err := block.Do(d, &block.Request{Segments: page}); err == nil || !strings.Contains(err.Error(), "0x4d") {
		t.Errorf("a status that is none: %v", err)
	}
	m.d.Set(func() {
		m.status = func(typ uint32) byte {
			if typ == typeFlush {
				return statusIOError
			}
			return statusOK
		}
	})
	if err := block.Do(d, &block.Request{Op: block.WriteFUA, Segments: page}); !errors.Is(err, ErrMedium) {
		t.Errorf("a FUA whose flush fails: %v", err)
	}
}

// TestHostile has devices that say what can't be; all requests end, and later ones too.
func TestHostile(t *testing.T) {
	for name, corrupt := range map[string]func(id, written *uint32){
		"an id beyond the queue": func(id, _ *uint32) { *id = 1 << 20 },
		"an id of nothing":       func(id, _ *uint32) { *id ^= 0x40 },
		"more than there was":    func(_, written *uint32) { *written += 1 << 16 },
	} {
		d, m, log, err := open(t, all, func(d *virtiotest.Device) { d.Corrupt = corrupt })
		if err != nil {
			t.Fatal(err)
		}
		frame, _ := m.d.Host.Alloc(0, mm.ZoneAny)
		ends := make(chan error, 100)
		for range cap(ends) {
			d.Submit(&block.Request{Segments: []block.Segment{{Frame: frame, Len: 512}}, Done: func(_ *block.Request, err error) { ends <- err }})
		}
		for range cap(ends) {
			select {
			case err := <-ends:
				if !errors.Is(err, block.ErrGone) {
					t.Errorf("%s: %v", name, err)
				}
			case <-time.After(20 * time.Second):
				t.Fatalf("%s: a request did not end", name)
			}
		}
		if strings.Count(log.String(), "\n") != 1 || !strings.Contains(log.String(), "not keep to the protocol") {
			t.Errorf("%s: the log says %q", name, log)
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestDies has a device say in the middle of requests that it needs a reset.
func TestDies(t *testing.T) {
	d, m, log, err := open(t, all, func(d *virtiotest.Device) { d.Hold = true })
	if err != nil {
		t.Fatal(err)
	}
	frame, _ := m.d.Host.Alloc(0, mm.ZoneAny)
	ends := make(chan error, 300) // more than fit into the queues
	go func() {
		for range cap(ends) {
			d.Submit(&block.Request{Segments: []block.Segment{{Frame: frame, Len: 512}}, Done: func(_ *block.Request, err error) { ends <- err }})
		}
	}()
	time.Sleep(10 * time.Millisecond) // for some of them; none is right too
	m.d.Changed(func(status *uint8) { *status |= 64 })
	for range cap(ends) {
		if err := <-ends; !errors.Is(err, block.ErrGone) {
			t.Error(err)
		}
	}
	if !strings.Contains(log.String(), "does not work any more") {
		t.Errorf("the log says %q", log)
	}
}

// TestGone pulls a device out: it is found gone although no interrupt says so.
func TestGone(t *testing.T) {
	for _, reads := range []byte{0xff, 0} { // real buses, and QEMU
		d, m, log, err := open(t, all, func(d *virtiotest.Device) { d.Hold = true })
		if err != nil {
			t.Fatal(err)
		}
		m.d.Set(func() { m.d.Gone = &reads })
		for _, err := range blocktest.Flood(t, d, m.d.Host, 300) {
			if !errors.Is(err, block.ErrGone) {
				t.Error(err)
			}
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
		if n := m.d.Host.Frames(); n != 1 || strings.Count(log.String(), "\n") != 1 || !strings.Contains(log.String(), "does not answer") {
			t.Errorf("%d frames are in use, the log says %q", n, log)
		}
	}
}

func TestGrows(t *testing.T) {
	d, m, log, err := open(t, all, nil)
	if err != nil {
		t.Fatal(err)
	}
	m.d.Set(func() { m.d.Config[cfgCapacity] = 8 })
	d.changed()
	if !strings.Contains(log.String(), "264 sectors now") || d.Info().Sectors != sectors {
		t.Errorf("the log says %q", log)
	}
}

func TestUnusable(t *testing.T) {
	for name, c := range map[string]func(d *virtiotest.Device){
		"sectors of 3 bytes": func(d *virtiotest.Device) { d.Config[cfgBlockSize], d.Config[cfgBlockSize+1] = 3, 0 },
		"one interrupt":      func(d *virtiotest.Device) { d.Vectors = 1 },
		"a queue of 3":       func(d *virtiotest.Device) { d.Size = 3 },
		"a queue of 2":       func(d *virtiotest.Device) { d.Size, d.Features = 2, all&^virtio.FeatureIndirect },
		"no queue":           func(d *virtiotest.Device) { d.Queues = 0 },
		"no registers":       func(d *virtiotest.Device) { d.Config = nil },
		"no memory":          func(d *virtiotest.Device) { d.Host.Most = 10 },
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
