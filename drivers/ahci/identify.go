package ahci

import (
	"encoding/binary"
	"fmt"

	"nidus/drivers/block"
	"nidus/mm"
)

// identity is what a disk says of itself.
type identity struct {
	command        uint8 // that it was asked by
	model, serial  string
	sectors        uint64 // logical
	unit, physical uint32 // bytes of a logical and of a physical sector
	depth          int    // of the queue; 0: it has none
	cache          bool   // volatile, for writing
	fua, trim      bool
	direction      bool // of a CD drive: it wants to know where data goes
}

// Words of what IDENTIFY DEVICE returns (ACS-3, section 7.12.7).
const (
	idSerial    = 10 // to 19
	idModel     = 27 // to 46
	idDirection = 62 // of CD drives
	idDepth     = 75
	idSATA      = 76
	idKnows     = 82 // to 84
	idEnabled   = 85
	idSectors   = 100 // to 103
	idSizes     = 106
	idWords     = 117 // and 118: of a logical sector
	idDataSet   = 169
	sataQueues  = 1 << 8
	kindCD      = 5 // of word 0

	knowsCache = 1 << 5  // of word 82, and on in word 85
	knows48    = 1 << 10 // of word 83
	knowsFlush = 1 << 13 // of word 83: FLUSH CACHE EXT
	knowsFUA   = 1 << 6  // of word 84
	sizesMany  = 1 << 13 // of word 106: a physical sector has several logical ones
	sizesLarge = 1 << 12 // of word 106: a logical one is larger than 512 bytes
)

// valid tells whether a word has the two bits that say that the disk sets it.
func valid(w uint16) bool { return w>>14 == 1 }

// identify asks the disk, or the CD drive, what it is. Preconditions: those of exec.
func (p *port) identify(command uint8) (identity, error) {
	page, err := p.exec(fis{command: command}, true)
	if err != nil {
		return identity{}, fmt.Errorf("identifying the disk: %w", err)
	}
	b := make([]byte, bufferSize)
	page.Read(atBuffer, b)
	return parseIdentity(command, b)
}

// parseIdentity reads the 512 bytes. The error wraps ErrUnusable.
func parseIdentity(command uint8, b []byte) (id identity, err error) {
	le := binary.LittleEndian
	word := func(i int) uint16 { return le.Uint16(b[2*i:]) }
	text := func(i, n int) string {
		s := make([]byte, 0, 2*n)
		for ; n > 0; i, n = i+1, n-1 {
			s = append(s, b[2*i+1], b[2*i]) // the first character is in the upper half
		}
		return block.Printable(s)
	}
	id = identity{model: text(idModel, 20), serial: text(idSerial, 10), sectors: le.Uint64(b[2*idSectors:]), unit: 512, cache: true}
	id.command = command
	if command == ataIdentifyPacket {
		if kind := word(0) >> 8 & 0x1f; word(0)>>14 != 2 || kind != kindCD || word(0)&3 != 0 {
			return id, unusable("%s is no CD drive, or of an old kind (%#x)", id.model, word(0))
		}
		id.cache, id.direction = false, word(idDirection)>>15 != 0
		return id, nil
	}
	if word(0)&0x8000 != 0 {
		return id, unusable("it is no ATA disk")
	}
	if known := word(idKnows + 1); !valid(known) || known&knows48 == 0 || known&knowsFlush == 0 {
		return id, unusable("%s knows no addresses of 48 bits", id.model)
	}
	if s := word(idSizes); valid(s) {
		if s&sizesLarge != 0 {
			if id.unit = 2 * le.Uint32(b[2*idWords:]); id.unit < 512 || id.unit > mm.PageSize || id.unit&(id.unit-1) != 0 {
				return id, unusable("%s has sectors of %d bytes; those of 512 to 4096 can be used", id.model, id.unit)
			}
		}
		id.physical = id.unit
		if s&sizesMany != 0 {
			id.physical <<= s & 0xf
		}
	}
	id.physical = max(id.physical, id.unit)
	if id.sectors == 0 || id.sectors >= 1<<48 {
		return id, unusable("%s has %d sectors, which can't be", id.model, id.sectors)
	}
	if w := word(idSATA); w != 0xffff && w&sataQueues != 0 {
		id.depth = int(word(idDepth)&0x1f) + 1
	}
	if word(idKnows)&knowsCache == 0 || valid(word(idEnabled+2)) && word(idEnabled)&knowsCache == 0 {
		id.cache = false
	}
	id.fua = valid(word(idKnows+2)) && word(idKnows+2)&knowsFUA != 0
	id.trim = word(idDataSet) != 0xffff && word(idDataSet)&dataSetTrim != 0
	return id, nil
}

// cdDepth is how many requests of a CD drive have a slot, of which it does one at a time.
const cdDepth = 4

// newDisk makes a disk of what one says of itself.
func newDisk(p *port, id identity) (*Disk, error) {
	d := &Disk{p: p, id: id, depth: int(p.hba.cap>>capSlots&0x1f) + 1, fua: id.fua}
	if id.command == ataIdentifyPacket {
		d.depth = min(d.depth, cdDepth)
		p.drive = &Drive{p: p, name: fmt.Sprintf("%s at %v, port %d", id.model, p.hba.f.Address, p.index)}
		return d, nil
	}
	if p.hba.cap&capNCQ != 0 && id.depth > 0 {
		d.queues, d.depth = true, min(d.depth, id.depth)
	}
	for 512<<d.shift < id.unit {
		d.shift++
	}
	d.info = block.Info{
		Sectors: id.sectors << d.shift, SectorSize: id.unit, PhysicalSize: id.physical,
		CanFlush: id.cache, CanDiscard: id.trim, DiscardUnit: id.unit,
		MaxSegments: maxSegments, MaxBytes: maxSegments * mm.PageSize, Prompt: true,
		Name: fmt.Sprintf("SATA %s at %v, port %d", id.model, p.hba.f.Address, p.index),
	}
	return d, nil
}
