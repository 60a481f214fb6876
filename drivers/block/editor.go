package block

import (
	"fmt"

	"nidus/drivers/device"
	"nidus/mm"
)

// Editor reads and writes a device by bytes, through frames of its memory: for what the host
// itself keeps on a disk, such as a file system's tables. What is changed of a sector is read
// before, so nobody else may write that sector meanwhile.
type Editor struct{ reader }

// Edit makes an Editor.
func Edit(d Device, mem device.Memory) *Editor { return &Editor{reader{d, mem}} }

// WriteAt implements io.WriterAt. What was written may be lost until Flush is done.
func (e *Editor) WriteAt(b []byte, off int64) (n int, err error) {
	i := e.d.Info()
	m, order, err := e.buffer(int64(len(b))+int64(i.SectorSize), i)
	if err != nil {
		return 0, err
	}
	defer e.mem.Free(m, order)
	unit := int64(i.SectorSize)
	most := min(int64(mm.PageSize)<<order, int64(i.MaxSegments)*mm.PageSize, int64(i.MaxBytes)) &^ (unit - 1)
	for n < len(b) {
		at := off + int64(n)
		first := at &^ (unit - 1)
		skip := at - first
		length := min(most, (skip+int64(len(b)-n)+unit-1)&^(unit-1))
		part := b[n:min(int64(len(b)), int64(n)+length-skip)]
		req := &Request{Sector: uint64(first) >> SectorShift, Segments: pages(m, length)}
		if skip > 0 || skip+int64(len(part)) < length {
			if err := Do(e.d, req); err != nil {
				return n, fmt.Errorf("reading %s at byte %d: %w", i.Name, first, err)
			}
		}
		for done := int64(0); done < int64(len(part)); {
			to := skip + done
			k := min(int64(len(part))-done, mm.PageSize-to%mm.PageSize)
			e.mem.Page(m+mm.MFN(to/mm.PageSize)).Write(int(to%mm.PageSize), part[done:done+k])
			done += k
		}
		req.Op = Write
		if err := Do(e.d, req); err != nil {
			return n, fmt.Errorf("writing %s at byte %d: %w", i.Name, first, err)
		}
		n += len(part)
	}
	return n, nil
}

// Zero makes bytes zeros.
func (e *Editor) Zero(off, n int64) error {
	i := e.d.Info()
	unit := int64(i.SectorSize)
	first, end := min((off+unit-1)&^(unit-1), off+n), (off+n)&^(unit-1)
	for _, part := range [][2]int64{{off, first}, {max(first, end), off + n}} {
		if part[0] < part[1] {
			if _, err := e.WriteAt(make([]byte, part[1]-part[0]), part[0]); err != nil {
				return err
			}
		}
	}
	m, err := e.mem.Alloc(0, mm.ZoneAny)
	if err != nil {
		return err
	}
	defer e.mem.Free(m, 0)
	e.mem.Page(m).Clear()
	most := min(int64(i.MaxSegments)*mm.PageSize, int64(i.MaxBytes)) &^ (unit - 1)
	for first < end {
		length := min(most, end-first)
		req := &Request{Op: Write, Sector: uint64(first) >> SectorShift, Segments: pages(m, length)}
		for s := range req.Segments {
			req.Segments[s].Frame = m // the same zeros again and again
		}
		if err := Do(e.d, req); err != nil {
			return fmt.Errorf("writing %s at byte %d: %w", i.Name, first, err)
		}
		first += length
	}
	return nil
}

// Flush is done when all that was written is on the medium.
func (e *Editor) Flush() error {
	if !e.d.Info().CanFlush {
		return nil
	}
	if err := Do(e.d, &Request{Op: Flush}); err != nil {
		return fmt.Errorf("flushing %s: %w", e.d.Info().Name, err)
	}
	return nil
}
