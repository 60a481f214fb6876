package qcow2

import (
	"bytes"
	"compress/flate"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"

	"nidus/drivers/block"
	"nidus/mm"
)

// unpacked is the compressed cluster that was read last; they are read in order, mostly.
type unpacked struct {
	entry uint64 // 0: none
	data  []byte
}

// packedPlace is where a compressed cluster's data is: bytes that end with a sector, of
// which the data may be less.
func (d *Image) packedPlace(entry uint64) (at, bytes uint64) {
	x := 62 - (d.h.bits - 8)
	at = entry & (1<<x - 1)
	sectors := entry&^(compressed|copied)>>x + 1
	return at, sectors<<block.SectorShift - at&(1<<block.SectorShift-1)
}

// unpack returns a compressed cluster, until the next call.
func (d *Image) unpack(entry uint64) ([]byte, error) {
	if d.last.entry == entry {
		return d.last.data, nil
	}
	at, n := d.packedPlace(entry)
	end := d.dev.Info().Sectors << block.SectorShift
	if at == 0 || at >= end {
		return nil, damaged("a compressed cluster at byte %d of %d", at, end)
	}
	in := make([]byte, min(n, end-at))
	if err := d.readBytes(in, at); err != nil {
		return nil, err
	}
	d.last.entry = 0
	if d.last.data == nil {
		d.last.data = make([]byte, d.h.cluster())
	}
	var r io.Reader
	if d.h.zstd {
		z, err := zstd.NewReader(bytes.NewReader(in), zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(8<<20), zstd.WithDecoderLowmem(true))
		if err != nil {
			return nil, err
		}
		defer z.Close()
		r = z
	} else {
		r = flate.NewReader(bytes.NewReader(in))
	}
	if _, err := io.ReadFull(r, d.last.data); err != nil {
		return nil, fmt.Errorf("%w: a compressed cluster at byte %d: %w", ErrDamaged, at, err)
	}
	d.last.entry = entry
	return d.last.data, nil
}

// readBytes fills b from any byte of the file on.
func (d *Image) readBytes(b []byte, at uint64) error {
	unit := uint64(d.info.SectorSize)
	for len(b) > 0 {
		first := at &^ (unit - 1)
		n := min((at-first+uint64(len(b))+unit-1)&^(unit-1), mm.PageSize, d.dev.Info().Sectors<<block.SectorShift-first)
		if err := transfer(d.dev, block.Read, first, d.segments(n)...); err != nil {
			return err
		}
		k := min(uint64(len(b)), n-(at-first))
		d.mem.Page(d.buf[0]).Read(int(at-first), b[:k])
		b, at = b[k:], at+k
	}
	return nil
}
