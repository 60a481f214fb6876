package block_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand"
	"testing"

	"nidus/drivers/block"
	"nidus/drivers/block/ram"
	"nidus/kernel/domain/domaintest"
	"nidus/mm"
)

// narrow is a device with other bounds.
type narrow struct {
	block.Device
	info block.Info
	most int // of the requests' bytes
}

func (n *narrow) Info() block.Info { return n.info }

func (n *narrow) Submit(r *block.Request) {
	bytes, err := n.info.Check(r)
	n.most = max(n.most, int(bytes))
	if err != nil {
		r.Done(r, err)
		return
	}
	n.Device.Submit(r)
}

// pieces is a machine's memory, of which 1<<most frames at most are in one piece.
type pieces struct {
	domaintest.Memory
	most uint
}

func (p pieces) Alloc(order uint, zone mm.Zone) (mm.MFN, error) {
	if order > p.most {
		return 0, mm.ErrNoMemory
	}
	return p.Memory.Alloc(order, zone)
}

// TestReader: bytes from anywhere, in requests as large as device and memory allow.
func TestReader(t *testing.T) {
	m := domaintest.New(t, 1024)
	want := make([]byte, 1<<20+4096)
	rnd := rand.New(rand.NewSource(1))
	rnd.Read(want)
	for _, c := range []struct {
		sector   uint32
		segments int
		bytes    int
		order    uint
		largest  int
	}{
		{512, 256, 1 << 20, 10, 256 << 10}, {4096, 256, 1 << 20, 10, 256 << 10}, {512, 3, 1 << 20, 10, 12 << 10},
		{512, 256, 2560, 10, 2560}, {512, 256, 1 << 20, 1, 8 << 10}, {4096, 1, 4096, 0, 4096},
	} {
		d, err := ram.New(ram.Config{Memory: m.Host.Memory, Base: want, ReadOnly: true, Name: "d"})
		if err != nil {
			t.Fatal(err)
		}
		n := &narrow{Device: d, info: d.Info()}
		n.info.SectorSize, n.info.MaxSegments, n.info.MaxBytes = c.sector, c.segments, c.bytes
		r := block.ReaderAt(n, pieces{domaintest.Memory{Pool: m.Host.Memory}, c.order})
		for _, length := range []int{0, 1, 511, 512, 513, 4095, 4097, 300000, len(want)} {
			off := rnd.Intn(len(want) - length + 1)
			b := make([]byte, length)
			if k, err := r.ReadAt(b, int64(off)); k != length || err != nil || !bytes.Equal(b, want[off:][:length]) {
				t.Errorf("%v: %d bytes at %d: %d, %v", c, length, off, k, err)
			}
		}
		if n.most != c.largest {
			t.Errorf("%v: at most %d bytes at once", c, n.most)
		}
		if k, err := r.ReadAt(make([]byte, 4096), int64(len(want)-1)); k != 1 || !errors.Is(err, io.EOF) {
			t.Errorf("%v: across the end: %d, %v", c, k, err)
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}
	m.CheckFree(t)
}
