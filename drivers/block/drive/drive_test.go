package drive

import (
	"errors"
	"math/rand"
	"sync"
	"testing"

	"nidus/drivers/block"
	"nidus/drivers/block/ram"
	"nidus/kernel/domain/domaintest"
	"nidus/mm"
)

// TestChange: who reads while discs are changed gets bytes of one disc or an error, and
// none after the last one is out.
func TestChange(t *testing.T) {
	m := domaintest.New(t, 64)
	mem := m.Host.Memory
	disc := func(c byte, sectors int) block.Device {
		b := make([]byte, 512*sectors)
		for i := range b {
			b[i] = c
		}
		d, err := ram.New(ram.Config{Memory: mem, Base: b, ReadOnly: true})
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	d := New("xvdc")
	if i := d.Info(); i.Sectors != 0 || !i.ReadOnly || !i.Removable {
		t.Errorf("%+v", i)
	}
	var readers sync.WaitGroup
	stop := make(chan struct{})
	for range 3 {
		f, ok := mem.AllocFrames(0, mm.FrameKernel, mm.DomIDXen, mm.ZoneAny)
		if !ok {
			t.Fatal("no frame")
		}
		readers.Go(func() {
			defer mem.FreeFrames(f, 0)
			b := make([]byte, 1024)
			for {
				select {
				case <-stop:
					return
				default:
				}
				err := block.Do(d, &block.Request{Sector: 1, Segments: []block.Segment{{Frame: f, Len: 1024}}})
				mem.Page(f).Read(0, b)
				switch {
				case err == nil && (b[0] != b[1023] || b[0] < 'a'):
					t.Errorf("read % x ... % x", b[0], b[1023])
				case err != nil && !errors.Is(err, block.ErrRange) && !errors.Is(err, block.ErrGone):
					t.Error(err)
				}
			}
		})
	}
	rnd := rand.New(rand.NewSource(1))
	for range 2000 {
		sectors := 1 + rnd.Intn(8) // sometimes less than is read
		var err error
		if rnd.Intn(4) == 0 {
			err = d.Change(nil)
		} else {
			err = d.Change(disc(byte('a'+sectors), sectors))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	readers.Wait()
	if err := block.Do(d, &block.Request{Op: block.Discard, Sectors: 1}); !errors.Is(err, block.ErrUnsupported) {
		t.Errorf("discard: %v", err)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	late := disc('x', 1)
	if err := d.Change(late); !errors.Is(err, block.ErrGone) {
		t.Errorf("a disc for a drive that is closed: %v", err)
	}
	late.Close()
	if err := block.Do(d, &block.Request{Segments: []block.Segment{{Len: 512}}}); err == nil {
		t.Error("read after the end")
	}
	m.CheckFree(t)
}
