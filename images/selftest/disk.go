//go:build tamago

package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"nidus/drivers/block"
	"nidus/drivers/block/partition"
	"nidus/drivers/device"
	"nidus/drivers/hostdisk"
	"nidus/drivers/pci"
	"nidus/kernel/baremetal"
	"nidus/kernel/machine"
	"nidus/mm"
)

// The disk that images/regress makes has one partition. Each of its sectors holds 64 times
// its own number; this turns all bits of the second half's over.
const (
	diskPart  = 2048 // first sector of the partition
	diskBatch = 8    // sectors of a request
)

// firstDisk opens the first disk that can be written.
func firstDisk(host device.Host) (block.Device, error) {
	var names hostdisk.Names
	for f := range pci.Functions(machine.PCI) {
		if _, ok := hostdisk.Driver(f); !ok {
			continue
		}
		disks, err := names.Open(host, f, func(format string, args ...any) { fmt.Printf(format+"\n", args...) })
		if err != nil {
			return nil, err
		}
		for _, d := range disks {
			if d.Drive == nil && !d.Info().ReadOnly {
				return d, nil
			}
		}
	}
	return nil, errors.New("there is no disk")
}

// disk drives the first disk as a backend does: several requests at once.
func disk(m *machine.Machine) (string, error) {
	pool := mm.NewPool(&baremetal.Frames, baremetal.FrameLists{}, baremetal.DirectPages{})
	host := m.Devices(pool)
	d, err := firstDisk(host)
	if err != nil {
		return "", err
	}
	t, err := partition.Read(block.ReaderAt(d, host), d.Info())
	if err != nil || len(t.Entries) != 1 || t.Entries[0].First != diskPart {
		return "", fmt.Errorf("partitions %+v, %w", t, err)
	}
	p := partition.Open(d, t.Entries[0], "the partition")
	frames := make([]mm.MFN, 32)
	for i := range frames {
		if frames[i], err = host.Alloc(0, mm.ZoneAny); err != nil {
			return "", err
		}
	}
	sectors := p.Info().Sectors
	begin := time.Now()
	if err := each(p, block.Read, 0, sectors, frames, func(page mm.Page, sector uint64) error {
		got, want := make([]byte, 512), pattern(sector)
		for i := range uint64(diskBatch) {
			page.Read(int(i)*512, got)
			if want = pattern(sector + i); !bytes.Equal(got, want) {
				return fmt.Errorf("sector %d begins with % x", sector+i, got[:8])
			}
		}
		return nil
	}); err != nil {
		return "", err
	}
	fmt.Printf("selftest: FIGURE disk-read %.1f MiB/s\n", float64(sectors)/2048/time.Since(begin).Seconds())
	begin = time.Now()
	if err := ragged(p, host, sectors-diskBatch, frames[:3]); err != nil {
		return "", err
	}
	if err := each(p, block.Write, sectors/2, sectors-diskBatch, frames, func(page mm.Page, sector uint64) error {
		for i := range uint64(diskBatch) {
			page.Write(int(i)*512, flipped(sector+i))
		}
		return nil
	}); err != nil {
		return "", err
	}
	if p.Info().CanFlush {
		if err := block.Do(p, &block.Request{Op: block.Flush}); err != nil {
			return "", fmt.Errorf("flush: %w", err)
		}
	}
	fmt.Printf("selftest: FIGURE disk-write %.1f MiB/s\n", float64(sectors)/4096/time.Since(begin).Seconds())
	// One at a time: what an interrupt takes.
	const rounds = 200
	unit := d.Info().SectorSize
	page := []block.Segment{{Frame: frames[0], Len: uint16(unit)}}
	begin = time.Now()
	var longest time.Duration
	for i := range uint64(rounds) {
		one := time.Now()
		if err := block.Do(p, &block.Request{Sector: i * uint64(unit>>block.SectorShift), Segments: page}); err != nil {
			return "", err
		}
		longest = max(longest, time.Since(one))
	}
	fmt.Printf("selftest: FIGURE disk-latency %.1f us, longest %.1f us\n", float64(time.Since(begin).Microseconds())/rounds, float64(longest.Microseconds()))
	for i := range int(unit >> block.SectorShift) {
		host.Page(frames[0]).Write(i*512, flipped(uint64(i)))
	}
	if err := block.Do(p, &block.Request{Op: block.WriteFUA, Segments: page}); err != nil {
		return "", fmt.Errorf("write with FUA: %w", err)
	}
	if err := block.Do(p, &block.Request{Sector: sectors, Segments: page}); !errors.Is(err, block.ErrRange) {
		return "", fmt.Errorf("a read beyond the end: %w", err)
	}
	if err := d.Close(); err != nil {
		return "", err
	}
	return d.Info().Name, nil
}

// ragged reads a batch into pieces that lie in no order, and writes it from there, flipped.
func ragged(d block.Device, mem device.Memory, sector uint64, frames []mm.MFN) error {
	segs := []block.Segment{{Frame: frames[0], Off: 512, Len: 1024}, {Frame: frames[1], Off: 2048, Len: 512}, {Frame: frames[2], Len: 2560}}
	if err := block.Do(d, &block.Request{Sector: sector, Segments: segs}); err != nil {
		return fmt.Errorf("a ragged read: %w", err)
	}
	at := sector
	for _, s := range segs {
		for off := s.Off; off < s.Off+s.Len; off += 512 {
			got := make([]byte, 512)
			mem.Page(s.Frame).Read(int(off), got)
			if !bytes.Equal(got, pattern(at)) {
				return fmt.Errorf("a ragged read: sector %d begins with % x", at, got[:8])
			}
			mem.Page(s.Frame).Write(int(off), flipped(at))
			at++
		}
	}
	if err := block.Do(d, &block.Request{Op: block.Write, Sector: sector, Segments: segs}); err != nil {
		return fmt.Errorf("a ragged write: %w", err)
	}
	return nil
}

func pattern(sector uint64) []byte {
	return bytes.Repeat(binary.LittleEndian.AppendUint64(nil, sector), 64)
}

func flipped(sector uint64) []byte { return pattern(^sector) }

// each has a request for each batch from a sector to another, as many at once as there are
// frames. look is called for what was read, or for what is to be written.
func each(d block.Device, op block.Op, from, to uint64, frames []mm.MFN, look func(mm.Page, uint64) error) error {
	type end struct {
		r   *block.Request
		err error
	}
	ends := make(chan end, len(frames))
	inFlight, free := 0, frames
	pages := baremetal.DirectPages{}
	for from < to || inFlight > 0 {
		if from < to && len(free) > 0 {
			m := free[0]
			free = free[1:]
			if op == block.Write {
				if err := look(pages.Page(m), from); err != nil {
					return err
				}
			}
			inFlight++
			d.Submit(&block.Request{Op: op, Sector: from, Segments: []block.Segment{{Frame: m, Len: diskBatch * 512}},
				Done: func(r *block.Request, err error) { ends <- end{r, err} }})
			from += diskBatch
			continue
		}
		e := <-ends
		inFlight--
		if e.err != nil {
			return fmt.Errorf("sector %d: %w", e.r.Sector, e.err)
		}
		m := e.r.Segments[0].Frame
		if op == block.Read {
			if err := look(pages.Page(m), e.r.Sector); err != nil {
				return err
			}
		}
		free = append(free, m)
	}
	return nil
}
