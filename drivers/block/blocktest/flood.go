package blocktest

import (
	"testing"
	"time"

	"nidus/drivers/block"
	"nidus/drivers/device"
	"nidus/mm"
)

// Flood submits more reads than fit into a device's queues, and returns how they ended. The
// frame that it takes stays in use.
func Flood(t *testing.T, d block.Device, m device.Memory, n int) []error {
	t.Helper()
	frame, _ := m.Alloc(0, mm.ZoneAny)
	size := d.Info().SectorSize
	ends := make(chan error, n)
	go func() {
		for range n {
			d.Submit(&block.Request{Segments: []block.Segment{{Frame: frame, Len: uint16(size)}}, Done: func(_ *block.Request, err error) { ends <- err }})
		}
	}()
	var all []error
	for range n {
		select {
		case err := <-ends:
			all = append(all, err)
		case <-time.After(20 * time.Second):
			t.Fatalf("%d requests did not end", n-len(all))
		}
	}
	return all
}
