package ahci

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"nidus/drivers/block"
	"nidus/mm"
)

// Commands for CD drives (MMC-6, section 6; SPC-4, section 6).
const (
	cdTestReady   = 0x00
	cdSense       = 0x03
	cdCapacity    = 0x25
	cdRead        = 0xa8 // READ (12)
	cdSector      = 2048
	cdSectorShift = 11 - block.SectorShift

	ataPacket         = 0xa0
	ataIdentifyPacket = 0xa1
	packetDMA         = 1 << 0 // of the features
	packetToHost      = 1 << 2 // the same, if the drive wants to be told
	atPacket          = 0x40   // of a table
	// atScratch is where what was read and not asked for goes: less than a disc's sector.
	atScratch = 0xa00
)

// Sense keys (SPC-4, section 4.5.6), which are in the upper half of the error register.
const (
	senseNotReady  = 2
	senseMedium    = 3
	senseAttention = 6
	// codeNoDisc and codeStarting are additional sense codes of senseNotReady.
	codeNoDisc   = 0x3a
	codeStarting = 0x04
)

// ErrNoDisc says that a drive is empty.
var ErrNoDisc = errors.New("no disc is in the drive")

// SenseKey is why a drive did not do a command.
type SenseKey uint8

func (k SenseKey) Error() string {
	what := map[SenseKey]string{senseNotReady: "it is not ready", senseMedium: "an error of the disc", senseAttention: "that the disc was changed"}[k]
	if what == "" {
		what = "a failure"
	}
	return fmt.Sprintf("AHCI: the drive reports %s (sense key %d)", what, uint8(k))
}

// Drive is a CD drive.
type Drive struct {
	p     *port
	name  string
	discs atomic.Uint64 // counts those that went
}

// Name is the drive's, for people.
func (d *Drive) Name() string { return d.name }

// disc is what is in a drive: a block.Device until it is taken out.
type disc struct {
	*Drive
	number uint64 // of the drive's discs
	info   block.Info
}

// Open returns the disc that is in the drive. It may take as long as the drive needs to get
// it turning. Several may have it open. The error may wrap ErrNoDisc.
func (d *Drive) Open() (block.Device, error) {
	host := d.p.hba.host
	m, err := host.Alloc(0, mm.ZoneAny)
	if err != nil {
		return nil, err
	}
	defer host.Free(m, 0)
	if err := d.ready(m); err != nil {
		return nil, fmt.Errorf("%s: %w", d.name, err)
	}
	x := &disc{Drive: d, number: d.discs.Load()}
	if err := d.command([12]byte{cdCapacity}, m, 8); err != nil {
		return nil, fmt.Errorf("%s: the disc's size: %w", d.name, err)
	}
	b := make([]byte, 8)
	host.Page(m).Read(0, b)
	last, size := binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:])
	if size != cdSector {
		return nil, fmt.Errorf("%s: the disc's sectors have %d bytes, and must have %d: %w", d.name, size, cdSector, ErrUnusable)
	}
	x.info = block.Info{Sectors: (uint64(last) + 1) << cdSectorShift, SectorSize: 1 << block.SectorShift, PhysicalSize: cdSector,
		ReadOnly: true, Removable: true, MaxSegments: maxSegments, MaxBytes: maxSegments * mm.PageSize, Name: d.name}
	return x, nil
}

// ready waits until the drive has looked at its disc.
func (d *Drive) ready(m mm.MFN) error {
	const most, every = 20 * time.Second, 100 * time.Millisecond
	for end := time.Now().Add(most); ; time.Sleep(every) {
		err := d.command([12]byte{cdTestReady}, 0, 0)
		late := time.Now().After(end)
		attention := errors.Is(err, SenseKey(senseAttention)) // of a disc or a reset of before
		if !attention && !errors.Is(err, SenseKey(senseNotReady)) {
			return err
		}
		const length = 18 // some forget an attention by this only
		if err := d.command([12]byte{cdSense, 4: length}, m, length); err != nil {
			return err
		}
		switch code := d.p.hba.host.Page(m).Load8(12); {
		case !attention && code == codeNoDisc:
			return ErrNoDisc
		case late || !attention && code != codeStarting:
			return err
		}
	}
}

// command has the drive do one that reads n bytes into a frame.
func (d *Drive) command(packet [12]byte, m mm.MFN, n uint16) error {
	end := make(chan error, 1)
	r := &block.Request{Op: block.Read, Done: func(_ *block.Request, err error) { end <- err }}
	if n > 0 {
		r.Segments = []block.Segment{{Frame: m, Len: n}}
	}
	d.p.submit(flight{r: r, packet: &packet})
	return <-end
}

// Close ends the drive; requests to its discs get block.ErrGone.
func (d *Drive) Close() error { return d.p.disk.Close() }

// Info implements block.Device.
func (x *disc) Info() block.Info { return x.info }

// Submit implements block.Device. What is read of a disc that went gets block.ErrGone.
func (x *disc) Submit(r *block.Request) {
	if _, err := x.info.Check(r); err != nil {
		r.Done(r, err)
		return
	}
	x.p.submit(flight{r: r, disc: x})
}

// Close implements block.Device.
func (x *disc) Close() error { return nil }

// changed tells whether the disc went.
func (x *disc) changed() bool { return x.number != x.discs.Load() }

// packet fills a slot's table with a command of its drive, and returns what the header says.
func (p *port) packet(f *flight, m mm.MFN) (header uint32) {
	table := p.hba.host.Page(m)
	scratch := p.hba.host.DMA(m) + atScratch
	n := 0
	add := func(addr uint64, bytes uint32) {
		if bytes > 0 {
			prd(table, n, addr, bytes)
			n++
		}
	}
	var command [16]byte
	if f.packet != nil {
		copy(command[:], f.packet[:])
		for _, s := range f.r.Segments {
			add(p.hba.host.DMA(s.Frame), uint32(s.Len))
		}
	} else {
		// The disc's sectors are larger than those of the request: what is before and
		// behind is read, too.
		const unit = cdSector >> block.SectorShift
		before := f.r.Sector % unit
		sectors := before
		add(scratch, uint32(before)<<block.SectorShift)
		for _, s := range f.r.Segments {
			add(p.hba.host.DMA(s.Frame)+uint64(s.Off), uint32(s.Len))
			sectors += uint64(s.Len) >> block.SectorShift
		}
		add(scratch, uint32((unit-sectors%unit)%unit)<<block.SectorShift)
		command[0] = cdRead
		binary.BigEndian.PutUint32(command[2:], uint32(f.r.Sector/unit))
		binary.BigEndian.PutUint32(command[6:], uint32((sectors+unit-1)/unit))
	}
	x := fis{command: ataPacket}
	if n > 0 {
		x.features = packetDMA
		if p.disk.id.direction {
			x.features |= packetToHost
		}
	}
	x.write(table)
	table.Write(atPacket, command[:])
	return fisWords | headerATAPI | uint32(n)<<headerPRDs
}

// failPacket ends a drive's command, by what it said. If the disc went, all that is to be
// read of it ends. Preconditions: mu.
func (p *port) failPacket(slot uint8, s Status, b *batch) {
	key := SenseKey(s.Register >> 4)
	own := p.flying[slot].packet != nil
	if (key == senseAttention || key == senseNotReady) && !own {
		p.drive.discs.Add(1)
		left := p.waiting[:0]
		var out uint32
		for _, w := range p.waiting {
			if p.flying[w].disc != nil && p.flying[w].disc.changed() {
				out |= 1 << w
			} else {
				left = append(left, w)
			}
		}
		p.waiting = left
		p.finish(out|1<<slot, block.ErrGone, b)
		p.hba.log("%s: the disc is not in the drive any more, or another one is", p.drive.name)
		return
	}
	if own && key == senseAttention {
		p.drive.discs.Add(1) // who reads on has another disc
	}
	p.finish(1<<slot, key, b)
}
