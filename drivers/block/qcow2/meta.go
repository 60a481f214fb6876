package qcow2

import (
	"encoding/binary"
	"fmt"

	"nidus/drivers/block"
	"nidus/mm"
)

// kind is what a page of the image's own tables belongs to, in the order in which changes
// reach the file: what is pointed to before what points to it.
type kind uint8

const (
	refBlock kind = iota + 1
	refTable
	level2
	level1
	kinds
)

// maxPages bounds the pages that are kept, 1 MiB; half of them may be changed.
const maxPages = 256

// page is a piece of a table: a page of memory, or a cluster where that is less.
type page struct {
	off     uint64
	frame   mm.MFN
	changed kind // 0: as in the file
	used    bool // since the hand came by
}

// meta keeps pages of the image's tables.
type meta struct {
	dev     block.Device
	mem     mm.FrameMemory
	unit    uint64 // bytes of a page
	pages   map[uint64]*page
	ring    []*page
	hand    int
	changed int
}

// transfer reads or writes whole sectors of dev at a place in bytes.
func transfer(dev block.Device, op block.Op, at uint64, segs ...block.Segment) error {
	return block.Do(dev, &block.Request{Op: op, Sector: at >> block.SectorShift, Segments: segs})
}

func (m *meta) flush() error {
	if !m.dev.Info().CanFlush {
		return nil
	}
	return block.Do(m.dev, &block.Request{Op: block.Flush})
}

// get returns the page of a place.
func (m *meta) get(at uint64) (*page, error) {
	off := at &^ (m.unit - 1)
	if p := m.pages[off]; p != nil {
		p.used = true
		return p, nil
	}
	p, err := m.free()
	if err != nil {
		return nil, err
	}
	p.off = off
	part := m.part(p)
	if err := transfer(m.dev, block.Read, off, part); err != nil {
		return nil, err
	}
	m.mem.Page(p.frame).Zero(int(part.Len), mm.PageSize-int(part.Len))
	p.used = true
	m.pages[off] = p
	return p, nil
}

// part is what the file has of a page: it may end in the last one.
func (m *meta) part(p *page) block.Segment {
	end := m.dev.Info().Sectors << block.SectorShift
	return block.Segment{Frame: p.frame, Len: uint16(min(m.unit, max(end, p.off)-p.off))}
}

// free returns a page that is nobody's: a new one, or one that was not used for long.
func (m *meta) free() (*page, error) {
	if len(m.ring) < maxPages {
		if f, ok := m.mem.AllocFrames(0, mm.FrameKernel, mm.DomIDXen, mm.ZoneAny); ok {
			p := &page{frame: f}
			m.ring = append(m.ring, p)
			return p, nil
		}
	}
	for range 2 * len(m.ring) {
		p := m.ring[m.hand]
		m.hand = (m.hand + 1) % len(m.ring)
		if p.changed == 0 && !p.used {
			if m.pages[p.off] == p {
				delete(m.pages, p.off)
			}
			return p, nil
		}
		p.used = false
	}
	return nil, fmt.Errorf("the image's tables: %w", block.ErrNoSpace)
}

// load reads b from a table; it is within a page.
func (m *meta) load(at uint64, b []byte) error {
	p, err := m.get(at)
	if err == nil {
		m.mem.Page(p.frame).Read(int(at-p.off), b)
	}
	return err
}

// store changes a table; what is kept reaches the file by sync.
func (m *meta) store(k kind, at uint64, b []byte) error {
	p, err := m.get(at)
	if err != nil {
		return err
	}
	m.mem.Page(p.frame).Write(int(at-p.off), b)
	if p.changed == 0 {
		m.changed++
	}
	p.changed = k
	return nil
}

// entry reads an entry of a table of places.
func (m *meta) entry(at uint64) (uint64, error) {
	var b [entryBytes]byte
	err := m.load(at, b[:])
	return binary.BigEndian.Uint64(b[:]), err
}

func (m *meta) setEntry(k kind, at, v uint64) error {
	var b [entryBytes]byte
	binary.BigEndian.PutUint64(b[:], v)
	return m.store(k, at, b[:])
}

// drop forgets what is kept of a cluster, which is to be written beside.
func (m *meta) drop(at, bytes uint64) {
	for off := at; off < at+bytes; off += m.unit {
		if p := m.pages[off]; p != nil {
			if p.changed != 0 {
				m.changed--
			}
			p.changed, p.used = 0, false
			delete(m.pages, off)
		}
	}
}

// sync writes all changes, each kind on the medium before the next one is written: a
// cluster is counted, and has its data, before a table points to it.
func (m *meta) sync() error {
	for k := refBlock; k < kinds; k++ {
		wrote := false
		for _, p := range m.ring {
			if p.changed != k {
				continue
			}
			if err := transfer(m.dev, block.Write, p.off, m.part(p)); err != nil {
				return err
			}
			p.changed, wrote = 0, true
			m.changed--
		}
		// The first time also for the data of new clusters.
		if wrote || k == refBlock {
			if err := m.flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

// close gives the memory back.
func (m *meta) close() {
	for _, p := range m.ring {
		m.mem.FreeFrames(p.frame, 0)
	}
	m.ring, m.pages = nil, nil
}
