package block

import (
	"fmt"
	"io"
	"math/bits"

	"nidus/drivers/device"
	"nidus/mm"
)

// ReaderAt reads a device by bytes, through frames of mem: for what the host itself reads,
// such as a table of partitions or a kernel. It returns io.EOF where the device ends.
func ReaderAt(d Device, mem device.Memory) io.ReaderAt { return &reader{d, mem} }

type reader struct {
	d   Device
	mem device.Memory
}

// readOrder bounds a request of a reader: 1<<readOrder pages.
const readOrder = 6

// ReadAt implements io.ReaderAt.
func (r *reader) ReadAt(b []byte, off int64) (n int, err error) {
	i := r.d.Info()
	m, order, err := r.buffer(int64(len(b)), i)
	if err != nil {
		return 0, err
	}
	defer r.mem.Free(m, order)
	unit := int64(i.SectorSize)
	most := min(int64(mm.PageSize)<<order, int64(i.MaxSegments)*mm.PageSize, int64(i.MaxBytes)) &^ (unit - 1)
	end := int64(min(i.Sectors, 1<<62>>SectorShift) << SectorShift)
	for n < len(b) {
		at := off + int64(n)
		if at < 0 || at >= end {
			return n, io.EOF
		}
		first := at &^ (unit - 1)
		skip := int(at - first)
		length := min(most, end-first, (int64(skip+len(b)-n)+unit-1)&^(unit-1))
		req := &Request{Sector: uint64(first) >> SectorShift, Segments: pages(m, length)}
		if err := Do(r.d, req); err != nil {
			return n, fmt.Errorf("reading %s at byte %d: %w", i.Name, first, err)
		}
		for _, s := range req.Segments {
			if part := b[n:min(len(b), n+int(s.Len)-skip)]; len(part) > 0 {
				r.mem.Page(s.Frame).Read(skip, part)
				n += len(part)
			}
			skip = 0
		}
	}
	return n, nil
}

// buffer allocates frames for requests of n bytes, or for less if memory is short or the
// device takes less.
func (r *reader) buffer(n int64, i Info) (m mm.MFN, order uint, err error) {
	need := min(uint64(n)/mm.PageSize+1, uint64(i.MaxSegments), uint64(i.MaxBytes)/mm.PageSize+1)
	for order = uint(min(bits.Len64(need-1), readOrder)); ; order-- {
		if m, err = r.mem.Alloc(order, mm.ZoneAny); err == nil || order == 0 {
			return m, order, err
		}
	}
}

// pages are the segments of n bytes from frame m on.
func pages(m mm.MFN, n int64) (all []Segment) {
	for ; n > 0; n -= mm.PageSize {
		all = append(all, Segment{Frame: m, Len: uint16(min(n, mm.PageSize))})
		m++
	}
	return all
}

// Do submits a request and waits for its end. It takes the request's Done.
func Do(d Device, r *Request) error {
	end := make(chan error, 1)
	r.Done = func(_ *Request, err error) { end <- err }
	d.Submit(r)
	return <-end
}
