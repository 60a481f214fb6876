package sector

import (
	"bytes"
	"errors"
	"sync"
	"testing"

	"nidus/drivers/block"
	"nidus/drivers/block/blocktest"
	"nidus/drivers/device/devicetest"
	"nidus/mm"
)

// medium is a disk with a write cache and large sectors, which does requests in any order.
type medium struct {
	info    block.Info
	mem     *devicetest.Host
	mu      sync.Mutex
	now     []byte
	safe    []byte
	trimmed [2]uint64
	fails   error
	closed  bool
	seen    int
}

func newMedium(size uint32, sectors int) *medium {
	return &medium{mem: &devicetest.Host{}, now: make([]byte, sectors*512), safe: make([]byte, sectors*512),
		info: block.Info{Sectors: uint64(sectors), SectorSize: size, CanFlush: true, CanDiscard: true, MaxSegments: 16, MaxBytes: 65536, Name: "medium"}}
}

func (m *medium) Info() block.Info { return m.info }

func (m *medium) Submit(r *block.Request) {
	n, err := m.info.Check(r)
	if err != nil {
		r.Done(r, err)
		return
	}
	go func() { r.Done(r, m.do(r, n)) }()
}

func (m *medium) do(r *block.Request, n uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.seen++
	if m.fails != nil {
		return m.fails
	}
	at := r.Sector * 512
	for _, s := range r.Segments {
		p, part := m.mem.Page(s.Frame), m.now[at:][:s.Len]
		if at += uint64(s.Len); r.Op == block.Read {
			p.Write(int(s.Off), part)
		} else {
			p.Read(int(s.Off), part)
		}
	}
	switch r.Op {
	case block.WriteFUA:
		copy(m.safe[r.Sector*512:][:n], m.now[r.Sector*512:])
	case block.Flush:
		copy(m.safe, m.now)
	case block.Discard:
		m.trimmed = [2]uint64{r.Sector, r.Sectors}
	}
	return nil
}

func (m *medium) Close() error {
	m.closed = true
	return nil
}

// TestRandom has several write, read and flush parts of their own that share sectors.
func TestRandom(t *testing.T) {
	for _, size := range []uint32{512, 1024, 2048, 4096} {
		m := newMedium(size, 256+8)
		d, err := New(m, m.mem, 256+3)
		if err != nil {
			t.Fatal(err)
		}
		if i := d.Info(); i.Sectors != 259 || i.SectorSize != 512 || i.PhysicalSize != size || i.MaxSegments != 14 {
			t.Errorf("%+v", i)
		}
		// 259/8: each part begins in the middle of a sector.
		blocktest.Hammer(t, d, m.mem, func(s uint64, b []byte) {
			m.mu.Lock()
			defer m.mu.Unlock()
			copy(b, m.safe[s*512:])
		})
		if err := d.Close(); err != nil || !m.closed {
			t.Errorf("closed: %v, %v", m.closed, err)
		}
	}
}

// TestWhole: a write of whole sectors is not lost by one of a part of them.
func TestWhole(t *testing.T) {
	m := newMedium(4096, 64)
	d, err := New(m, m.mem, 64)
	if err != nil {
		t.Fatal(err)
	}
	frame, _ := m.mem.Alloc(0, mm.ZoneAny)
	part, _ := m.mem.Alloc(0, mm.ZoneAny)
	for i := range 500 {
		want := bytes.Repeat([]byte{byte(i), byte(i >> 8), 1, 2}, 1024)
		m.mem.Page(frame).Write(0, want)
		var wg sync.WaitGroup
		for _, r := range []*block.Request{
			{Op: block.Write, Sector: 8, Segments: []block.Segment{{Frame: frame, Len: 4096}}},
			{Op: block.Write, Sector: 9, Segments: []block.Segment{{Frame: part, Len: 512}}},
		} {
			wg.Go(func() {
				if err := block.Do(d, r); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if !bytes.Equal(m.now[8*512:9*512], want[:512]) || !bytes.Equal(m.now[10*512:16*512], want[1024:]) {
			t.Fatalf("round %d: what the larger one wrote is lost", i)
		}
	}
}

func TestOthers(t *testing.T) {
	m := newMedium(4096, 64)
	if _, err := New(m, m.mem, 65); err == nil {
		t.Error("more sectors than there are")
	}
	m.mem.Most = 2
	if _, err := New(m, m.mem, 64); !errors.Is(err, mm.ErrNoMemory) || m.mem.Frames() != 0 {
		t.Errorf("%v, %d frames", err, m.mem.Frames())
	}
	m.mem.Most = 0
	d, err := New(m, m.mem, 64)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ first, n, from, sectors uint64 }{{0, 8, 0, 8}, {1, 22, 8, 8}, {7, 18, 8, 16}, {1, 14, 0, 0}, {8, 4, 0, 0}} {
		m.trimmed = [2]uint64{}
		if err := block.Do(d, &block.Request{Op: block.Discard, Sector: c.first, Sectors: c.n}); err != nil || m.trimmed != [2]uint64{c.from, c.sectors} {
			t.Errorf("discard %d from %d: %v, %v", c.n, c.first, m.trimmed, err)
		}
	}
	frame, _ := m.mem.Alloc(0, mm.ZoneAny)
	m.fails = errors.New("it fails")
	for _, op := range []block.Op{block.Read, block.Write, block.WriteFUA} {
		for _, n := range []uint16{512, 4096} {
			if err := block.Do(d, &block.Request{Op: op, Segments: []block.Segment{{Frame: frame, Len: n}}}); err != m.fails {
				t.Errorf("operation %d of %d bytes: %v", op, n, err)
			}
		}
	}
	if err := block.Do(d, &block.Request{Sector: 64, Segments: []block.Segment{{Frame: frame, Len: 512}}}); !errors.Is(err, block.ErrRange) {
		t.Error(err)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
}
