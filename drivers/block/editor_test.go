package block_test

import (
	"bytes"
	"math/rand"
	"testing"

	"nidus/drivers/block"
	"nidus/drivers/block/ram"
	"nidus/kernel/domain/domaintest"
)

// TestEditor: bytes that are written and made zeros anywhere are those that are read, and no
// others change.
func TestEditor(t *testing.T) {
	for _, sector := range []uint32{512, 4096} {
		machine := domaintest.New(t, 2048)
		host := domaintest.Memory{Pool: machine.Host.Memory}
		d, err := ram.New(ram.Config{Memory: host.Pool, Bytes: 3 << 20, SectorSize: sector})
		if err != nil {
			t.Fatal(err)
		}
		e, model, rnd := block.Edit(d, host), make([]byte, 3<<20), rand.New(rand.NewSource(1))
		for range 200 {
			at := rnd.Intn(len(model))
			part := model[at:][:rnd.Intn(min(len(model)-at, 1<<(1+rnd.Intn(21))))]
			if rnd.Intn(2) == 0 {
				clear(part)
				err = e.Zero(int64(at), int64(len(part)))
			} else {
				rnd.Read(part)
				_, err = e.WriteAt(part, int64(at))
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		got := make([]byte, len(model))
		if _, err := e.ReadAt(got, 0); err != nil || !bytes.Equal(got, model) {
			t.Errorf("other bytes, or %v", err)
		}
		if _, err := e.WriteAt(make([]byte, 10), 3<<20-5); err == nil {
			t.Error("beyond the end")
		}
		if err := e.Flush(); err != nil { // of what has no cache
			t.Error(err)
		}
		d.Close()
		machine.CheckFree(t)
	}
}
