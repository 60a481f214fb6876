package start

import (
	"encoding/binary"

	"nidus/mm"
)

// Bits of a page-table entry (AMD64 manual volume 2, 5.4).
const (
	present  = 1 << 0
	writable = 1 << 1
	user     = 1 << 2
	accessed = 1 << 5
	dirty    = 1 << 6
)

// linear are the bits of an address that page tables translate.
const linear = 1<<48 - 1

// shift is where the bits of an address begin that name a table of a level, and not what
// is inside it; level 0 are pages.
func shift(level int) int { return mm.PageShift + 9*level }

// mapping is a range of virtual addresses over a run of frames.
type mapping struct {
	virt uint64
	Run
}

// first and last are the ends that a mapping has at a level.
func (m mapping) first(level int) uint64 { return m.virt & linear >> shift(level) }
func (m mapping) last(level int) uint64 {
	return (m.virt + m.Pages<<mm.PageShift - 1) & linear >> shift(level)
}

// key names a table: its level, and the addresses that it translates.
type key struct {
	level int
	index uint64
}

type table struct {
	key
	pfn PFN
}

// tree is a set of page tables.
type tree struct {
	levels   int
	mappings []mapping
	tables   []table // in order of their frames
	at       map[key]PFN
}

func newTree(levels int) tree { return tree{levels: levels, at: make(map[key]PFN)} }

// tables is the number of page tables that map a range alone.
func (g *guest) tables(start, end uint64) uint64 {
	t := newTree(g.levels)
	return t.missing(start, (end-start)>>mm.PageShift)
}

// missing is the number of tables that a mapping needs which are not there.
func (t *tree) missing(virt, pages uint64) uint64 {
	n := uint64(0)
	t.each(mapping{virt, Run{0, pages}}, func(key) { n++ })
	return n
}

// each calls f for every table that m needs and that is not there, from the root down.
func (t *tree) each(m mapping, f func(key)) {
	if m.Pages == 0 {
		return
	}
	for level := t.levels; level > 0; level-- {
		for i := m.first(level); i <= m.last(level); i++ {
			if _, ok := t.at[key{level, i}]; !ok {
				f(key{level, i})
			}
		}
		// A PAE root's last entry is there in any case: the table behind it is where
		// the hypervisor's own part goes.
		if last := (key{2, 3}); t.levels == 3 && level == 2 && m.last(level) < last.index {
			if _, ok := t.at[last]; !ok {
				f(last)
			}
		}
	}
}

// add makes the tables that m needs of the frames from pfn on.
func (t *tree) add(m mapping, pfn PFN) {
	t.each(m, func(k key) {
		t.tables = append(t.tables, table{k, pfn})
		t.at[k] = pfn
		pfn++
	})
	t.mappings = append(t.mappings, m)
}

// fill writes the contents of a table to b.
func (p *Plan) fill(t table, frame func(PFN) mm.MFN, b *[mm.PageSize]byte) {
	for i := range uint64(512) {
		at := t.index<<9 | i // of what the entry leads to, at its level
		e := uint64(0)
		if t.level > 1 {
			if pfn, ok := p.tree.at[key{t.level - 1, at}]; ok {
				e = p.entry(t.level, frame(pfn), true)
			}
		} else if pfn, ok := p.tree.page(at); ok {
			e = p.entry(t.level, frame(pfn), !p.Tables.has(pfn) && !p.P2MTables.has(pfn))
		}
		binary.LittleEndian.PutUint64(b[8*i:], e)
	}
}

// page returns the frame that is mapped at a page number.
func (t *tree) page(n uint64) (PFN, bool) {
	for _, m := range t.mappings {
		if f := m.first(0); n >= f && n-f < m.Pages {
			return m.First + PFN(n-f), true
		}
	}
	return 0, false
}

// entry makes an entry for a table of a level. A 64-bit kernel runs as the processor's
// user, and a PAE root's entries have no rights.
func (p *Plan) entry(level int, m mm.MFN, write bool) uint64 {
	e := uint64(m)<<mm.PageShift | present
	if p.Bits == 32 && level == 3 {
		return e
	}
	e |= accessed
	if write {
		e |= writable | dirty
	}
	if p.Bits == 64 || level > 1 {
		e |= user
	}
	return e
}
