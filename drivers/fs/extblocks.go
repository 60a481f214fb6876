package fs

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math/bits"
	"slices"
	"sort"
)

// blockRun is n blocks of an ext4 from one on.
type blockRun struct{ at, n uint64 }

const (
	extNoBitmap = 2 // of a group's flags: its bitmap was never written
	groupFlags  = 0x12
	groupSum    = 0x1e
)

// cover reads all groups: what is the file system's own, and how much is free.
func (e *ext4) cover() error {
	le, w := binary.LittleEndian, &e.w
	w.free, w.meta, w.total = make([]uint32, w.groups), nil, 0
	table := (uint64(e.perGroup)*uint64(e.inode) + uint64(e.block) - 1) / uint64(e.block)
	const pageBytes = 64 << 10
	page, most := make([]byte, pageBytes), 1024
	for g := range w.groups {
		off := int64(g) * e.desc
		if off%pageBytes == 0 {
			if err := e.read(page[:min(pageBytes, int64(w.groups)*e.desc-off)], e.descs+off); err != nil {
				return err
			}
		}
		d := page[off%pageBytes:][:e.desc]
		if !e.sumOf(d, g, false) {
			return fixed("the checksum of group %d is another one", g)
		}
		first := w.first + g*w.perGroup
		if e.hasSuper(g) {
			w.meta = append(w.meta, blockRun{first, 1 + w.tables})
		}
		for _, m := range [][3]int64{{0, 0x20, 1}, {4, 0x24, 1}, {8, 0x28, int64(table)}} {
			r := blockRun{uint64(le.Uint32(d[m[0]:])), uint64(m[2])}
			if e.wide {
				r.at |= uint64(le.Uint32(d[m[1]:])) << 32
			}
			if r.at <= w.first || r.at >= w.blocks || r.n > w.blocks-r.at {
				return fixed("the tables of group %d are not in the file system", g)
			}
			w.meta = append(w.meta, r)
		}
		w.free[g] = e.freeIn(d)
		w.total += uint64(w.free[g])
		if len(w.meta) > most {
			w.meta = joined(w.meta)
			most = 2*len(w.meta) + 1024
		}
	}
	w.meta = joined(w.meta)
	return nil
}

// joined sorts runs, and makes one of those that meet.
func joined(all []blockRun) []blockRun {
	slices.SortFunc(all, func(a, b blockRun) int { return cmp.Compare(a.at, b.at) })
	out := all[:0]
	for _, r := range all {
		if n := len(out); n > 0 && r.at <= out[n-1].at+out[n-1].n {
			out[n-1].n = max(out[n-1].n, r.at+r.n-out[n-1].at)
		} else {
			out = append(out, r)
		}
	}
	return out
}

// own returns the runs of the file system's own that a run has some of.
func (w *writer) own(r blockRun) []blockRun {
	i := sort.Search(len(w.meta), func(i int) bool { return w.meta[i].at+w.meta[i].n > r.at })
	j := i
	for j < len(w.meta) && w.meta[j].at < r.at+r.n {
		j++
	}
	return w.meta[i:j]
}

// hasSuper tells whether a group has a copy of the superblock: all have, or the first two and
// the powers of 3, 5 and 7.
func (e *ext4) hasSuper(g uint64) bool {
	if g <= 1 || e.w.features&extSparse == 0 {
		return true
	}
	for _, p := range []uint64{3, 5, 7} {
		for n := p; n <= g; n *= p {
			if n == g {
				return true
			}
		}
	}
	return false
}

func (e *ext4) freeIn(d []byte) uint32 {
	n := uint32(binary.LittleEndian.Uint16(d[0xc:]))
	if e.wide {
		n |= uint32(binary.LittleEndian.Uint16(d[0x2c:])) << 16
	}
	return n
}

// sumOf tells whether a descriptor's checksum is right, or makes it so.
func (e *ext4) sumOf(d []byte, g uint64, set bool) bool {
	le, sum := binary.LittleEndian, uint16(0)
	switch f := e.w.features; {
	case f&extSums != 0:
		s := crc32cOf(e.w.seed, uint32(g))
		s = crc32c(s, d[:groupSum])
		s = crc32c(s, []byte{0, 0})
		sum = uint16(crc32c(s, d[groupSum+2:]))
	case f&extGroupSums != 0:
		sum = crc16(0xffff, e.w.uuid[:])
		sum = crc16(sum, le.AppendUint32(nil, uint32(g)))
		sum = crc16(sum, d[:groupSum])
		sum = crc16(sum, d[groupSum+2:])
	default:
		return true
	}
	if set {
		le.PutUint16(d[groupSum:], sum)
	}
	return le.Uint16(d[groupSum:]) == sum
}

// group is one whose blocks are being allocated.
type group struct {
	g     uint64
	at    int64  // where its bitmap is, in bytes
	bits  []byte // its bitmap
	desc  []byte
	fresh bool // the bitmap was never written
}

// size is how many blocks a group has.
func (w *writer) size(g uint64) uint64 {
	return min(w.perGroup, w.blocks-w.first-g*w.perGroup)
}

// open reads a group; nil if there is something wrong with it, so that none of its blocks is
// taken.
func (e *ext4) openGroup(g uint64) (*group, error) {
	le, w := binary.LittleEndian, &e.w
	x := &group{g: g, bits: make([]byte, e.block), desc: make([]byte, e.desc)}
	if err := e.read(x.desc, e.descs+int64(g)*e.desc); err != nil {
		return nil, err
	}
	block := uint64(le.Uint32(x.desc))
	if e.wide {
		block |= uint64(le.Uint32(x.desc[0x20:])) << 32
	}
	if !e.sumOf(x.desc, g, false) || block >= w.blocks {
		return nil, nil
	}
	at, err := e.place(block)
	if err != nil {
		return nil, nil
	}
	x.at = at
	all := blockRun{w.first + g*w.perGroup, w.size(g)}
	if w.features&(extSums|extGroupSums) != 0 && le.Uint16(x.desc[groupFlags:])&extNoBitmap != 0 {
		x.fresh = true
		for i := all.n; i < uint64(e.block)*8; i++ {
			x.bits[i/8] |= 1 << (i % 8)
		}
		for _, r := range w.own(all) {
			for b := max(r.at, all.at); b < min(r.at+r.n, all.at+all.n); b++ {
				x.set(b-all.at, true)
			}
		}
		if x.count(all.n) != e.freeIn(x.desc) {
			return nil, nil
		}
		return x, nil
	}
	if err := e.read(x.bits, at); err != nil {
		return nil, err
	}
	if w.features&extSums != 0 {
		sum := crc32c(w.seed, x.bits[:w.perGroup/8])
		// What a power cut or an error left is right without it: each bit was set on the medium
		// before anything pointed there.
		if ours := !w.valid || w.failed; !ours && (le.Uint16(x.desc[0x18:]) != uint16(sum) || e.wide && le.Uint16(x.desc[0x38:]) != uint16(sum>>16)) {
			return nil, nil
		}
	}
	for _, r := range w.own(all) { // what is the file system's own is not free
		for b := max(r.at, all.at); b < min(r.at+r.n, all.at+all.n); b++ {
			if !x.has(b - all.at) {
				return nil, nil
			}
		}
	}
	return x, nil
}

func (x *group) has(i uint64) bool { return x.bits[i/8]>>(i%8)&1 != 0 }

func (x *group) set(i uint64, on bool) {
	if x.bits[i/8] &^= 1 << (i % 8); on {
		x.bits[i/8] |= 1 << (i % 8)
	}
}

// count returns how many of a group's n blocks are free.
func (x *group) count(n uint64) uint32 {
	free := uint64(0)
	for i := uint64(0); i < n; {
		if i%8 == 0 && n-i >= 8 {
			free += 8 - uint64(bits.OnesCount8(x.bits[i/8]))
			i += 8
			continue
		}
		if !x.has(i) {
			free++
		}
		i++
	}
	return uint32(free)
}

// taking is what is allocated and not on the medium yet.
type taking struct {
	e      *ext4
	used   func(Extent) bool
	groups map[uint64]*group
}

// group opens one, once.
func (t *taking) group(g uint64) (*group, error) {
	if x := t.groups[g]; x != nil {
		return x, nil
	}
	x, err := t.e.openGroup(g)
	if x != nil {
		t.groups[g] = x
	}
	return x, err
}

// take allocates at most want blocks, from goal on if they are free, and then anywhere.
func (t *taking) take(goal, want uint64) (got []blockRun, err error) {
	w := &t.e.w
	if goal < w.first || goal >= w.blocks {
		goal = w.first
	}
	from, skip := (goal-w.first)/w.perGroup, (goal-w.first)%w.perGroup
	for i := uint64(0); i <= w.groups && want > 0; i++ {
		g := (from + i) % w.groups
		if w.free[g] == 0 {
			continue
		}
		x, err := t.group(g)
		if err != nil {
			return nil, err
		}
		if x == nil {
			w.total -= uint64(w.free[g])
			w.free[g] = 0
			continue
		}
		n := w.size(g)
		for b := skip * (1 - min(i, 1)); b < n && want > 0; b++ {
			if b%8 == 0 && x.bits[b/8] == 0xff {
				b += 7
				continue
			}
			at := w.first + g*w.perGroup + b
			if x.has(b) || t.used(Extent{0, int64(at) * t.e.block, t.e.block}) {
				continue
			}
			x.set(b, true)
			want--
			if l := len(got) - 1; l >= 0 && got[l].at+got[l].n == at {
				got[l].n++
			} else {
				got = append(got, blockRun{at, 1})
			}
		}
	}
	return got, nil
}

// write brings all groups to the medium's cache, bitmaps first.
func (t *taking) write() error {
	le, e, w := binary.LittleEndian, t.e, &t.e.w
	fresh := false
	for _, x := range t.groups {
		if err := e.write(x.bits, x.at); err != nil {
			return err
		}
		fresh = fresh || x.fresh
	}
	if fresh { // who sees that a group has a bitmap has to see that
		if err := e.medium().Flush(); err != nil {
			return err
		}
	}
	for g, x := range t.groups {
		free := x.count(w.size(g))
		le.PutUint16(x.desc[0xc:], uint16(free))
		if e.wide {
			le.PutUint16(x.desc[0x2c:], uint16(free>>16))
		}
		if w.features&extSums != 0 {
			sum := crc32c(w.seed, x.bits[:w.perGroup/8])
			le.PutUint16(x.desc[0x18:], uint16(sum))
			if e.wide {
				le.PutUint16(x.desc[0x38:], uint16(sum>>16))
			}
		}
		if x.fresh {
			le.PutUint16(x.desc[groupFlags:], le.Uint16(x.desc[groupFlags:])&^extNoBitmap)
			x.fresh = false
		}
		e.sumOf(x.desc, g, true)
		if err := e.write(x.desc, e.descs+int64(g)*e.desc); err != nil {
			return err
		}
		w.net += int64(w.free[g]) - int64(free)
		w.total += uint64(free) - uint64(w.free[g])
		w.free[g] = free
	}
	return nil
}

// give frees blocks that nothing points to on the medium any more.
func (t *taking) give(all []uint64) error {
	w := &t.e.w
	for _, b := range all {
		if x, err := t.group((b - w.first) / w.perGroup); err != nil {
			return err
		} else if x != nil && len(w.own(blockRun{b, 1})) == 0 {
			x.set((b-w.first)%w.perGroup, false)
		}
	}
	return t.write()
}

func noRoom(e *ext4, want uint64) error {
	w := &e.w
	return fmt.Errorf("%w: %d blocks of %d KiB are free, of them %d for root (\"tune2fs -m 0\" says otherwise), and %d are needed", ErrFull, w.total, e.block>>10, min(w.reserved, w.total), want)
}
