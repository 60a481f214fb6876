package block

import (
	"fmt"
	"io"

	"nidus/drivers/device"
	"nidus/mm"
)

// ReaderAt reads a device by bytes, through frames of mem: for what is small, such as a
// table of partitions. It returns io.EOF where the device ends.
func ReaderAt(d Device, mem device.Memory) io.ReaderAt { return &reader{d, mem} }

type reader struct {
	d   Device
	mem device.Memory
}

// ReadAt implements io.ReaderAt.
func (r *reader) ReadAt(b []byte, off int64) (n int, err error) {
	i := r.d.Info()
	m, err := r.mem.Alloc(0, mm.ZoneAny)
	if err != nil {
		return 0, err
	}
	defer r.mem.Free(m, 0)
	unit := int64(i.SectorSize)
	end := int64(min(i.Sectors, 1<<62>>SectorShift) << SectorShift)
	for n < len(b) {
		at := off + int64(n)
		if at < 0 || at >= end {
			return n, io.EOF
		}
		first := at &^ (unit - 1)
		length := min(mm.PageSize, int64(i.MaxBytes)&^(unit-1), end-first)
		req := &Request{Sector: uint64(first) >> SectorShift, Segments: []Segment{{Frame: m, Len: uint16(length)}}}
		if err := Do(r.d, req); err != nil {
			return n, fmt.Errorf("reading %s at byte %d: %w", i.Name, first, err)
		}
		skip := int(at - first)
		part := b[n:min(len(b), n+int(length)-skip)]
		r.mem.Page(m).Read(skip, part)
		n += len(part)
	}
	return n, nil
}

// Do submits a request and waits for its end. It takes the request's Done.
func Do(d Device, r *Request) error {
	end := make(chan error, 1)
	r.Done = func(_ *Request, err error) { end <- err }
	d.Submit(r)
	return <-end
}
