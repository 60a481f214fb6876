package core

import (
	"fmt"
	"strings"
	"testing"

	"nidus/drivers/block"
	"nidus/drivers/block/ram"
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

// oddFile is a data partition with one file, which ends within a sector.
type oddFile struct {
	largeFile
	mem    *mm.Pool
	closed int
}

type oddDisk struct {
	*ram.Disk
	f *oddFile
}

func (oddDisk) Tail() int { return 8 }

func (d oddDisk) Close() error { d.f.closed++; return d.Disk.Close() }

func (f *oddFile) Open(string, bool) (block.Device, error) {
	d, err := ram.New(ram.Config{Memory: f.mem, Bytes: 1 << 20})
	return oddDisk{d, f}, err
}

// TestOddFile: what a guest writes behind the end of a raw file would be lost, so that is
// refused; an image that has its own format does not write there, and reading is all right.
func TestOddFile(t *testing.T) {
	c, m := newCore(t)
	f := &oddFile{mem: m.Host.Memory}
	c.Data = f
	for _, x := range []struct {
		spec DiskSpec
		ok   bool
	}{
		{DiskSpec{Text: "x", Target: "/data/x", Format: "raw"}, false},
		{DiskSpec{Target: "/data/x", Format: "raw", ReadOnly: true}, true},
		{DiskSpec{Target: "/data/x", Format: "qcow2"}, true},
	} {
		f.closed = 0
		d, _, err := c.openRaw(x.spec)
		if x.ok {
			if err != nil {
				t.Errorf("%+v: %v", x.spec, err)
				continue
			}
			d.Close()
		} else if control.CodeOf(err) != control.ErrBadConfig || !strings.Contains(err.Error(), "disk 'x': the file ends 8 bytes into a sector") || !strings.Contains(err.Error(), "truncate -s %512") {
			t.Errorf("%+v: %v", x.spec, err)
		}
		if f.closed != 1 {
			t.Errorf("%+v: closed %d times", x.spec, f.closed)
		}
	}
	checkEmpty(t, c, m)
}
