package core

import (
	"fmt"
	"testing"

	"nidus/drivers/block"
	"nidus/mm"
	"nidus/rpc/control"
)

// largeFile is a data partition with one file, which tells how large it might be.
type largeFile struct{ most int64 }

func (f *largeFile) Name() string { return "vda3" }

func (f *largeFile) Open(string, bool) (block.Device, error) { panic("it is no disk") }

func (f *largeFile) Read(_ string, most int64) ([]byte, error) {
	f.most = most
	return nil, fmt.Errorf("it has more than %d bytes", most)
}

// TestLargeModule: a file of the data partition is read if there is memory for it. The host
// would end for the lack of its own.
func TestLargeModule(t *testing.T) {
	c, m := newCore(t)
	f := &largeFile{}
	c.Data = f
	total := int64(m.Host.Memory.Stats().Total * mm.PageSize)
	var taken []mm.MFN
	for range 2 {
		if _, err := c.Module("/data/k"); control.CodeOf(err) != control.ErrNoFile {
			t.Error(err)
		}
		if free := int64(c.unpromised()); f.most > free-fileReserve && f.most > 0 || f.most > total/4 || free > total/2 && f.most == 0 {
			t.Errorf("%d bytes at most, with %d free of %d", f.most, free, total)
		}
		for int64(c.unpromised()) > total/8 {
			x, ok := m.Host.Memory.AllocFrames(0, mm.FrameKernel, mm.DomIDXen, mm.ZoneAny)
			if !ok {
				t.Fatal("no frame")
			}
			taken = append(taken, x)
		}
	}
	for _, x := range taken {
		m.Host.Memory.FreeFrames(x, 0)
	}
	checkEmpty(t, c, m)
}
