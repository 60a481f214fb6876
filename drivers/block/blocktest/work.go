// Package blocktest has tests that every driver of disks has to pass.
package blocktest

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"nidus/drivers/block"
	"nidus/drivers/device"
	"nidus/drivers/device/devicetest"
	"nidus/mm"
)

// Worker reads and writes a part of a disk that nobody else writes.
type Worker struct {
	Device block.Device
	Memory device.Memory
	// First and Sectors, of 512 bytes, are whole blocks of the device.
	First, Sectors uint64
	// Safe copies what the medium would have after a power cut, from a sector on.
	Safe func(sector uint64, b []byte)
	Rnd  *rand.Rand
}

// Hammer has several Workers use all of a device at once, closes it, and looks whether it
// has given all memory of mem back. safe is a Worker's Safe.
func Hammer(t *testing.T, d block.Device, mem *devicetest.Host, safe func(sector uint64, b []byte)) {
	t.Helper()
	const workers = 8
	var wg sync.WaitGroup
	for i := range uint64(workers) {
		wg.Go(func() {
			each := d.Info().Sectors / workers
			w := Worker{Device: d, Memory: mem, First: i * each, Sectors: each, Rnd: rand.New(rand.NewPCG(i, 1)), Safe: safe}
			if err := w.Work(200); err != nil {
				t.Errorf("worker %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	if err := block.Do(d, &block.Request{Op: block.Read, Segments: []block.Segment{{Frame: 1, Len: 4096}}}); !errors.Is(err, block.ErrGone) {
		t.Errorf("after Close: %v", err)
	}
	if n := mem.Frames(); n != 0 {
		t.Errorf("%d frames are in use", n)
	}
}

const (
	workerFrames = 6
	mostBlocks   = 8 // of a request
)

// Work does n operations: it writes, flushes, reads back what it wrote, in pieces of memory
// of any shape, and looks whether what has to be on the medium is there.
func (w *Worker) Work(n int) error {
	info := w.Device.Info()
	unit := uint64(info.SectorSize) >> block.SectorShift
	frames := make([]mm.MFN, workerFrames)
	for i := range frames {
		m, err := w.Memory.Alloc(0, mm.ZoneAny)
		if err != nil {
			return err
		}
		defer w.Memory.Free(m, 0)
		frames[i] = m
	}
	is, safe := make([]byte, w.Sectors*512), make([]byte, w.Sectors*512)
	known := make([]bool, w.Sectors) // of safe: another's flush may have made it so, too
	rnd := w.Rnd
	for range n {
		count := (1 + rnd.Uint64N(min(mostBlocks, workerFrames*8/unit/2))) * unit
		at := rnd.Uint64N((w.Sectors-count)/unit+1) * unit
		r := &block.Request{Sector: w.First + at, Segments: w.segments(frames, int(count))}
		part := is[at*512:][:count*512]
		switch k := rnd.IntN(8); {
		case k < 3:
			for _, m := range frames {
				w.Memory.Page(m).Clear()
			}
			if err := block.Do(w.Device, r); err != nil {
				return err
			}
			if got := w.bytes(r.Segments); !bytes.Equal(got, part) {
				return fmt.Errorf("%d sectors at %d, read to %v, are not what was written", count, at, r.Segments)
			}
			continue
		case k < 7:
			for i := range part {
				part[i] = byte(rnd.Uint32())
			}
			w.fill(r.Segments, part)
			if r.Op = block.Write; k == 6 || !info.CanFlush {
				r.Op = block.WriteFUA
				copy(safe[at*512:], part)
			}
			for i := range count {
				known[at+i] = r.Op == block.WriteFUA
			}
		case info.CanFlush:
			r.Op, r.Segments = block.Flush, nil
			copy(safe, is)
			for i := range known {
				known[i] = true
			}
		default:
			continue
		}
		if err := block.Do(w.Device, r); err != nil {
			return err
		}
		for i, k := range known {
			var b [512]byte
			if w.Safe(w.First+uint64(i), b[:]); k && !bytes.Equal(b[:], safe[i*512:][:512]) {
				return fmt.Errorf("sector %d is not on the medium", i)
			}
		}
	}
	return nil
}

// segments chooses memory for so many sectors: as a buffer in one piece lies in pages, or
// in pieces anywhere.
func (w *Worker) segments(frames []mm.MFN, sectors int) (segs []block.Segment) {
	const perPage = mm.PageSize >> block.SectorShift
	order := w.Rnd.Perm(len(frames))
	shape := w.Rnd.IntN(3)
	from := 0
	if shape > 0 {
		from = w.Rnd.IntN(perPage)
	}
	for i := 0; sectors > 0; i++ {
		n := min(sectors, perPage-from)
		// A piece can be short while the frames that are left hold the rest.
		if least := sectors - (len(order)-i-1)*perPage; shape == 2 && n > max(least, 1) {
			n = max(least, 1) + w.Rnd.IntN(n-max(least, 1)+1)
		}
		segs = append(segs, block.Segment{Frame: frames[order[i]], Off: uint16(from) << block.SectorShift, Len: uint16(n) << block.SectorShift})
		sectors -= n
		from = 0
		if left := (len(order) - i - 2) * perPage; shape == 2 && sectors > 0 && left >= sectors {
			from = w.Rnd.IntN(perPage)
		}
	}
	return segs
}

func (w *Worker) bytes(segs []block.Segment) (b []byte) {
	for _, s := range segs {
		part := make([]byte, s.Len)
		w.Memory.Page(s.Frame).Read(int(s.Off), part)
		b = append(b, part...)
	}
	return b
}

func (w *Worker) fill(segs []block.Segment, b []byte) {
	for _, s := range segs {
		w.Memory.Page(s.Frame).Write(int(s.Off), b[:s.Len])
		b = b[s.Len:]
	}
}
