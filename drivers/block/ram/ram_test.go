package ram

import (
	"bytes"
	"errors"
	"math/rand"
	"runtime"
	"sync"
	"testing"

	"nidus/drivers/block"
	"nidus/kernel/domain/domaintest"
	"nidus/mm"
)

// bench is a disk, and a few frames to do I/O with.
type bench struct {
	t      *testing.T
	d      *Disk
	pool   *mm.Pool
	frames []mm.MFN
}

func newBench(t *testing.T, c Config, frames int) *bench {
	m := domaintest.New(t, frames)
	b := &bench{t: t, pool: m.Host.Memory}
	for range 4 {
		f, ok := b.pool.AllocFrames(0, mm.FrameKernel, mm.DomIDXen, mm.ZoneAny)
		if !ok {
			t.Fatal("no frame")
		}
		b.frames = append(b.frames, f)
	}
	c.Memory = b.pool
	var err error
	if b.d, err = New(c); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		b.d.Close()
		for _, f := range b.frames {
			b.pool.FreeFrames(f, 0)
		}
		m.CheckFree(t)
	})
	return b
}

// do does one request over the segments' bytes.
func (b *bench) do(op block.Op, sector, sectors uint64, segs ...block.Segment) (err error) {
	done := 0
	b.d.Submit(&block.Request{Op: op, Sector: sector, Sectors: sectors, Segments: segs, Done: func(_ *block.Request, e error) { done++; err = e }})
	if done != 1 {
		b.t.Errorf("Done was called %d times", done)
	}
	return err
}

// TestModel: random reads, writes and discards over an image that ends in the middle of
// a sector.
func TestModel(t *testing.T) {
	const size = 64<<10 + 700
	rnd := rand.New(rand.NewSource(1))
	image := make([]byte, size)
	rnd.Read(image)
	was := bytes.Clone(image)
	b := newBench(t, Config{Base: image}, 64)
	sectors := int(b.d.Info().Sectors)
	if sectors != 130 {
		t.Fatalf("%d sectors", sectors)
	}
	base := append(bytes.Clone(image), make([]byte, sectors*512-size)...)
	model := bytes.Clone(base)
	for i := range 3000 {
		var segs []block.Segment
		n := 0
		for k := range 1 + rnd.Intn(4) {
			off := rnd.Intn(8)
			s := block.Segment{Frame: b.frames[k], Off: uint16(off * 512), Len: uint16((1 + rnd.Intn(8-off)) * 512)}
			segs, n = append(segs, s), n+int(s.Len)/512
		}
		at := rnd.Intn(sectors - n)
		switch rnd.Intn(3) {
		case 0:
			if err := b.do(block.Read, uint64(at), 0, segs...); err != nil {
				t.Fatal(err)
			}
			p := model[at*512:]
			for _, s := range segs {
				got := make([]byte, s.Len)
				b.pool.Page(s.Frame).Read(int(s.Off), got)
				if !bytes.Equal(got, p[:s.Len]) {
					t.Fatalf("step %d: sector %d is not what was written", i, at)
				}
				p = p[s.Len:]
			}
		case 1:
			p := model[at*512:]
			for _, s := range segs {
				rnd.Read(p[:s.Len])
				b.pool.Page(s.Frame).Write(int(s.Off), p[:s.Len])
				p = p[s.Len:]
			}
			if err := b.do([]block.Op{block.Write, block.WriteFUA}[rnd.Intn(2)], uint64(at), 0, segs...); err != nil {
				t.Fatal(err)
			}
		default:
			if err := b.do(block.Discard, uint64(at), uint64(n)); err != nil {
				t.Fatal(err)
			}
			from, to := (at*512+mm.PageMask)&^mm.PageMask, (at+n)*512&^mm.PageMask
			if from < to {
				copy(model[from:to], base[from:to])
			}
		}
	}
	if !bytes.Equal(image, was) {
		t.Error("the image was written")
	}
}

// TestFull: when the host has no frame left, a write fails and what was written stays.
func TestFull(t *testing.T) {
	b := newBench(t, Config{Bytes: 1 << 20}, 20)
	seg := block.Segment{Frame: b.frames[0], Len: 512}
	b.pool.Page(seg.Frame).Store32(0, 7)
	n := uint64(0)
	var err error
	for ; err == nil; n++ {
		err = b.do(block.Write, n*8, 0, seg)
	}
	if !errors.Is(err, block.ErrNoSpace) || n < 3 || int64(n-1) != b.d.Used() {
		t.Fatalf("write %d: %v; %d frames", n, err, b.d.Used())
	}
	b.pool.Page(seg.Frame).Store32(0, 0)
	if err := b.do(block.Read, 0, 0, seg); err != nil || b.pool.Page(seg.Frame).Load32(0) != 7 {
		t.Errorf("read: %v", err)
	}
	if err := b.do(block.Discard, 0, 16); err != nil || b.d.Used() != int64(n-3) {
		t.Errorf("discard: %v; %d frames", err, b.d.Used())
	}
}

// TestRefused: what can't be done, and what can't be a disk.
func TestRefused(t *testing.T) {
	b := newBench(t, Config{Base: make([]byte, 4096), ReadOnly: true}, 32)
	seg := block.Segment{Frame: b.frames[0], Len: 512}
	for _, c := range []struct {
		op     block.Op
		sector uint64
		want   error
	}{{block.Write, 0, block.ErrReadOnly}, {block.Read, 8, block.ErrRange}, {block.Read, 1 << 63, block.ErrRange}, {block.Flush, 0, block.ErrUnsupported}} {
		if err := b.do(c.op, c.sector, 0, seg); !errors.Is(err, c.want) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	b.d.Close()
	if err := b.do(block.Read, 0, 0, seg); !errors.Is(err, block.ErrGone) {
		t.Errorf("closed: %v", err)
	}
	for _, c := range []Config{{}, {Base: []byte{}}, {Bytes: 1 << 47}, {Bytes: 512, SectorSize: 1000}, {Bytes: 512, SectorSize: 8192}} {
		if _, err := New(c); err == nil {
			t.Errorf("%+v is a disk", c)
		}
	}
}

// TestRace: writers, readers and discards of the same pages, for the race detector and
// the count of frames.
func TestRace(t *testing.T) {
	b := newBench(t, Config{Bytes: 64 << 10}, 64)
	var wg sync.WaitGroup
	for k := range 4 {
		wg.Go(func() {
			seg := block.Segment{Frame: b.frames[k], Len: 512}
			for i := range 500 {
				r := &block.Request{Op: block.Op([]block.Op{block.Read, block.Write, block.Discard}[(i+k)%3]), Sector: uint64(8*(i%16) + k), Segments: []block.Segment{seg}, Done: func(_ *block.Request, err error) {
					if err != nil {
						t.Error(err)
					}
				}}
				if r.Op == block.Discard {
					r.Sector, r.Sectors, r.Segments = 0, 128, nil
				}
				b.d.Submit(r)
			}
		})
	}
	wg.Wait()
}

// TestPromises: a disk that is written has its memory for certain, and gives back what it
// was promised; one more than there is memory for can't be had.
func TestPromises(t *testing.T) {
	const size = 64 << 10
	m := domaintest.New(t, 256)
	p := &Promises{Free: func() uint64 { return m.Host.Memory.Stats().Free * mm.PageSize }}
	free := p.Free()
	frame, _ := m.Host.Memory.AllocFrames(0, mm.FrameKernel, mm.DomIDXen, mm.ZoneAny)
	c := Config{Memory: m.Host.Memory, Bytes: size, Promises: p, Name: "d"}
	d, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{t: t, d: d, pool: m.Host.Memory, frames: []mm.MFN{frame}}
	want := func(n uint64) {
		t.Helper()
		if p.Bytes() != n {
			t.Errorf("%d bytes are promised, not %d", p.Bytes(), n)
		}
	}
	want(size)
	seg := block.Segment{Frame: frame, Len: mm.PageSize}
	for range 2 { // the second time nothing is taken
		for i := range uint64(3) {
			if err := b.do(block.Write, i*8, 0, seg); err != nil {
				t.Fatal(err)
			}
		}
		want(size - 3*mm.PageSize)
	}
	if err := b.do(block.Discard, 0, 16); err != nil {
		t.Fatal(err)
	}
	want(size - mm.PageSize)
	c.Bytes = free - size
	if _, err := New(c); !errors.Is(err, mm.ErrNoMemory) {
		t.Errorf("a disk of all that is free: %v", err)
	}
	c.ReadOnly = true
	if r, err := New(c); err != nil || r.Close() != nil {
		t.Errorf("the same, read-only: %v", err)
	}
	want(size - mm.PageSize)
	for range 2 {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
		want(0)
	}
	m.Host.Memory.FreeFrames(frame, 0)
	m.CheckFree(t)
}

// TestLargeReadOnly: a disk that is only read takes no memory, however large it is.
func TestLargeReadOnly(t *testing.T) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	d, err := New(Config{Bytes: 1 << 40, ReadOnly: true})
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; err != nil || n > 1<<20 {
		t.Errorf("%v: %d bytes", err, n)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
}
