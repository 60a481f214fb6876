package netback

import (
	"sync/atomic"

	"nidus/drivers/link"
)

// waiting counts what waits for room in the queues of an interface: bytes, and buffers that
// belong to Lenders.
type waiting struct{ bytes, buffers atomic.Int64 }

// add tells whether a frame may wait too, and counts it. Several at once may refuse each
// other; they never add too much.
func (w *waiting) add(f *link.Frame) bool {
	n := int64(f.Len())
	if w.bytes.Add(n) <= backlogBytes && f.Lender.Keep(int(w.buffers.Load()), f.Buffers) {
		w.buffers.Add(int64(f.Buffers))
		return true
	}
	w.bytes.Add(-n)
	return false
}

// remove ends what add counted.
func (w *waiting) remove(f *link.Frame) {
	w.bytes.Add(-int64(f.Len()))
	w.buffers.Add(-int64(f.Buffers))
	f.Lender.Return(f.Buffers)
}
