package domaintest

import (
	"sync"
	"unsafe"

	"nidus/mm"
)

// ram is frames [firstFrame, firstFrame+n) in Go's heap.
type ram struct {
	frames mm.Frames
	lock   sync.Mutex
	bytes  []byte
	n      int
}

// firstFrame is not 0, so that a forgotten number is found.
const firstFrame = 16

func newRAM(n int) *ram {
	words := make([]uint64, (n+1)*mm.PageSize/8)
	r := &ram{n: n, bytes: unsafe.Slice((*byte)(unsafe.Pointer(&words[0])), len(words)*8)}
	r.frames.Init(make([]mm.FrameInfo, firstFrame+n))
	r.frames.AddRange(firstFrame, firstFrame+mm.MFN(n))
	return r
}

// Page implements mm.DirectMap.
func (r *ram) Page(m mm.MFN) mm.Page {
	if m < firstFrame || uint64(m-firstFrame) >= uint64(r.n) {
		panic("domaintest: the page is not RAM")
	}
	p := unsafe.Pointer(&r.bytes[0])
	p = unsafe.Add(p, -uintptr(p)&mm.PageMask)
	return mm.PageAt(unsafe.Add(p, uintptr(m-firstFrame)*mm.PageSize))
}

func (r *ram) pool() *mm.Pool { return mm.NewPool(&r.frames, mm.Locked(&r.frames, &r.lock), r) }
