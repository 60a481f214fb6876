package blkback

import (
	"encoding/binary"

	"nidus/drivers/block"
	"nidus/mm"
)

// Operations and statuses (io/blkif.h, BLKIF_OP_*, BLKIF_RSP_*).
const (
	opRead     = 0
	opWrite    = 1
	opBarrier  = 2
	opFlush    = 3
	opDiscard  = 5
	opIndirect = 6

	rspOkay        = 0
	rspError       = -1
	rspUnsupported = -2
)

// What VDISK_* say of a device (io/blkif.h).
const (
	vdiskCDROM     = 1
	vdiskRemovable = 2
	vdiskReadOnly  = 4
)

const (
	// maxDirect is BLKIF_MAX_SEGMENTS_PER_REQUEST.
	maxDirect = 11
	// segmentSize is that of struct blkif_request_segment.
	segmentSize = 8
	// sectorsPerPage bounds first_sect and last_sect.
	sectorsPerPage = mm.PageSize >> block.SectorShift
)

// Places of a shared ring's indexes (io/ring.h, struct NAME_sring); the slots begin
// at ringHeader.
const (
	ringReqProd  = 0
	ringReqEvent = 4
	ringRspProd  = 8
	ringRspEvent = 12
	ringHeader   = 64
)

// layout is where the fields of a request are, in bytes, in one of the protocols
// (io/protocols.h). A response has the same places in all of them.
type layout struct {
	slot     int // size of a slot
	id       int // uint64
	sector   int // uint64
	segments int // of read and write
	sectors  int // uint64 of a discard
	grefs    int // of an indirect request
}

// Fields that all layouts have in the same place.
const (
	reqOp        = 0
	reqSegments  = 1 // uint8
	reqIndirect  = 1 // operation of an indirect request
	reqIndirectN = 2 // uint16: its segments

	rspID     = 0
	rspOp     = 8
	rspStatus = 10
	rspSize   = 12 // what is written of it
)

// maxSlot is the largest slot.
const maxSlot = 112

var (
	layout64 = layout{slot: 112, id: 8, sector: 16, segments: 24, sectors: 24, grefs: 28}
	// layout32 is that of 32-bit x86, whose uint64 need an alignment of 4 only.
	layout32 = layout{slot: 108, id: 4, sector: 12, segments: 20, sectors: 20, grefs: 24}
)

// protocols are the values of the node protocol; native is what this host is.
var protocols = map[string]*layout{"": &layout64, "x86_64-abi": &layout64, "x86_32-abi": &layout32}

// slots is how many a ring of so many pages has: the largest power of two that fits.
func (l *layout) slots(pages int) uint32 {
	fit := uint32(pages*mm.PageSize-ringHeader) / uint32(l.slot)
	n := uint32(1)
	for n*2 <= fit {
		n *= 2
	}
	return n
}

// segment is struct blkif_request_segment.
type segment struct {
	gref        uint32
	first, last uint8
}

func parseSegment(b []byte) segment {
	return segment{binary.LittleEndian.Uint32(b), b[4], b[5]}
}

// ring is the shared ring's memory. The guest may write it at any moment.
type ring struct {
	pages []mm.Page
	*layout
	size uint32 // slots, a power of two
}

func (r *ring) load(index int) uint32     { return r.pages[0].Load32(index) }
func (r *ring) store(index int, v uint32) { r.pages[0].Store32(index, v) }

// read copies slot i.
func (r *ring) read(i uint32, b []byte) {
	at := r.place(i)
	for len(b) > 0 {
		off := at & mm.PageMask
		n := min(len(b), mm.PageSize-off)
		r.pages[at>>mm.PageShift].Read(off, b[:n])
		b, at = b[n:], at+n
	}
}

// write fills the beginning of slot i.
func (r *ring) write(i uint32, b []byte) {
	at := r.place(i)
	for len(b) > 0 {
		off := at & mm.PageMask
		n := min(len(b), mm.PageSize-off)
		r.pages[at>>mm.PageShift].Write(off, b[:n])
		b, at = b[n:], at+n
	}
}

func (r *ring) place(i uint32) int { return ringHeader + int(i&(r.size-1))*r.slot }
