package nvme

import (
	"nidus/drivers/block"
	"nidus/drivers/device"
	"nidus/mm"
)

// maxSegments is what a slot's frame describes in either way, and more than backends
// send at once.
const maxSegments = 128

// place is somewhere in a request's segments.
type place struct {
	seg int
	off uint16 // bytes into it
}

// piece is what one command moves of a request.
type piece struct {
	from, to place
	bytes    uint32
	bounce   bool // through the slot's frame: the segments' pieces are no whole blocks
}

// describer says to the device where a request's data is.
//
// A PRP list (section 4.3) has pages: only the first may begin, and only the last may end,
// in the middle of one. That is how a buffer in one piece looks, and so nearly all of what
// Linux sends. What looks different is described by an SGL, if the device takes those, and
// otherwise goes in several commands, which end where the pages have a hole. A block that
// lies on both sides of a hole is copied.
type describer struct {
	mem   device.Memory
	sgl   bool
	block uint32 // of the namespace, in bytes
}

// whole tells whether segments from p on can be one PRP list, and else where the longest
// piece of whole blocks ends that can.
func (d *describer) whole(segs []block.Segment, p place) (longest piece, all bool) {
	longest.from = p
	bytes := uint32(0)
	for i := p.seg; i < len(segs); i++ {
		s := segs[i]
		if i == p.seg {
			s.Off, s.Len = s.Off+p.off, s.Len-p.off
		} else if s.Off != 0 || segs[i-1].Off+segs[i-1].Len != mm.PageSize {
			return longest, false
		}
		// The end of the last whole block may be inside of the segment.
		if n := (bytes+uint32(s.Len))&^(d.block-1) - bytes; int32(n) > 0 {
			longest.bytes, longest.to = bytes+n, after(segs, i, s.Off-segs[i].Off+uint16(n))
		}
		bytes += uint32(s.Len)
	}
	return longest, true
}

// after is the place of a byte of a segment, which may be its end.
func after(segs []block.Segment, i int, off uint16) place {
	if off == segs[i].Len {
		return place{i + 1, 0}
	}
	return place{i, off}
}

// plan returns the next piece of a request. Preconditions: p is not the end, and what is
// left is whole blocks.
func (d *describer) plan(segs []block.Segment, p place) (x piece, useSGL bool) {
	x, all := d.whole(segs, p)
	switch {
	case all:
		return x, false
	case d.sgl && p == (place{}):
		x = piece{to: place{len(segs), 0}}
		for _, s := range segs {
			x.bytes += uint32(s.Len)
		}
		return x, true
	case x.bytes > 0:
		return x, false
	}
	x = piece{from: p, to: p, bytes: d.block, bounce: true}
	for left := d.block; left > 0; {
		n := min(left, uint32(segs[x.to.seg].Len-x.to.off))
		x.to = after(segs, x.to.seg, x.to.off+uint16(n))
		left -= n
	}
	return x, false
}

// prp fills DPTR, and the list if it takes one.
func (d *describer) prp(segs []block.Segment, x piece, list mm.MFN) (dptr [2]uint64) {
	if x.bounce {
		return [2]uint64{d.mem.DMA(list)}
	}
	end := x.to.seg
	if x.to.off > 0 {
		end++
	}
	segs = segs[x.from.seg:end]
	dptr[0] = d.mem.DMA(segs[0].Frame) + uint64(segs[0].Off+x.from.off)
	switch rest := segs[1:]; len(rest) {
	case 0:
	case 1:
		dptr[1] = d.mem.DMA(rest[0].Frame)
	default:
		dptr[1] = d.mem.DMA(list)
		page := d.mem.Page(list)
		for i, s := range rest {
			page.Store64(i*prpSize, d.mem.DMA(s.Frame))
		}
	}
	return dptr
}

// scatter fills DPTR, and the list, with SGL descriptors of all segments.
func (d *describer) scatter(segs []block.Segment, list mm.MFN) (dptr [2]uint64) {
	if len(segs) == 1 {
		return [2]uint64{d.mem.DMA(segs[0].Frame) + uint64(segs[0].Off), uint64(segs[0].Len) | sglData}
	}
	page := d.mem.Page(list)
	for i, s := range segs {
		page.Store64(i*sglSize, d.mem.DMA(s.Frame)+uint64(s.Off))
		page.Store64(i*sglSize+8, uint64(s.Len)|sglData)
	}
	return [2]uint64{d.mem.DMA(list), uint64(len(segs)*sglSize) | sglLast}
}

// copyBlock copies a piece that bounces from the list's frame to the segments, or back.
func (d *describer) copyBlock(segs []block.Segment, x piece, list mm.MFN, in bool) {
	bounce := d.mem.Page(list)
	for p, at := x.from, 0; p != x.to; {
		s := segs[p.seg]
		n := int(s.Len - p.off)
		if left := int(x.bytes) - at; n > left {
			n = left
		}
		page, off := d.mem.Page(s.Frame), int(s.Off+p.off)
		if in {
			page.Copy(off, bounce, at, n)
		} else {
			bounce.Copy(at, page, off, n)
		}
		at += n
		p = after(segs, p.seg, p.off+uint16(n))
	}
}
