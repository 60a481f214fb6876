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
	"nidus/drivers/pci"
	"nidus/drivers/virtio"
	"nidus/drivers/virtioblk"
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

// disk drives the first virtio-blk disk as a backend does: several requests at once.
func disk(m *machine.Machine) (string, error) {
	pool := mm.NewPool(&baremetal.Frames, baremetal.FrameLists{}, baremetal.DirectPages{})
	host := m.Devices(pool)
	var f *pci.Function
	for g := range pci.Functions(machine.PCI) {
		if k, ok := virtio.KindOf(g); ok && k == virtio.KindBlock {
			f = g
			break
		}
	}
	if f == nil {
		return "", errors.New("there is no virtio-blk disk")
	}
	d, err := virtioblk.Open(host, f, func(format string, args ...any) { fmt.Printf(format+"\n", args...) })
	if err != nil {
		return "", err
	}
	t, err := partition.Read(block.ReaderAt(d, host), d.Info())
	if err != nil || len(t.Entries) != 1 || t.Entries[0].First != diskPart {
		return "", fmt.Errorf("partitions %+v, %w", t, err)
	}
	p := partition.Open(d, t.Entries[0], "vda1")
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
	if err := each(p, block.Write, sectors/2, sectors, frames, func(page mm.Page, sector uint64) error {
		for i := range uint64(diskBatch) {
			page.Write(int(i)*512, flipped(sector+i))
		}
		return nil
	}); err != nil {
		return "", err
	}
	if err := block.Do(p, &block.Request{Op: block.Flush}); err != nil {
		return "", fmt.Errorf("flush: %w", err)
	}
	fmt.Printf("selftest: FIGURE disk-write %.1f MiB/s\n", float64(sectors)/4096/time.Since(begin).Seconds())
	// One at a time: what an interrupt takes.
	const rounds = 200
	begin = time.Now()
	var longest time.Duration
	for i := range uint64(rounds) {
		one := time.Now()
		if err := block.Do(p, &block.Request{Sector: i, Segments: []block.Segment{{Frame: frames[0], Len: 512}}}); err != nil {
			return "", err
		}
		longest = max(longest, time.Since(one))
	}
	fmt.Printf("selftest: FIGURE disk-latency %.1f us, longest %.1f us\n", float64(time.Since(begin).Microseconds())/rounds, float64(longest.Microseconds()))
	page := []block.Segment{{Frame: frames[0], Len: 512}}
	host.Page(frames[0]).Write(0, flipped(0))
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
