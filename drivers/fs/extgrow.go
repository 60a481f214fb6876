package fs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// How a file of ext4 gets room, without its journal, which has nothing to be played back. First
// the new blocks are zeros, marked as in use in the bitmaps, and what the tree of extents has of new nodes
// is in new blocks, too; then the inode, which is in one sector, has the new tree, length and count of blocks. Each
// is on the medium before the next. Where that ends early, blocks are marked that
// nothing uses. The superblock says meanwhile that the file system was not unmounted, for e2fsck to look.

const (
	extPiece   = 8 << 20 // bytes that a file gets at once, at most
	extHole    = 1 << 20 // bytes that a hole's write fills around it
	extInode   = 128     // bytes of it that all have
	flagsAt    = 0x20    // places in it
	treeAt     = 0x28
	sizeLow    = 4
	sizeHigh   = 0x6c
	sectorsLow = 0x1c
	sectorsTop = 0x74
	extFlags   = extExtents | 0x8 | 0x40 | 0x80 // of an inode: sync, nodump and noatime don't matter
)

// readInode reads the inode of a file that grows.
func (e *ext4) readInode(f *File) (b []byte, t *tree, err error) {
	le := binary.LittleEndian
	b = make([]byte, e.inode)
	if err := e.read(b, f.at); err != nil {
		return nil, nil, err
	}
	t = &tree{inode: f.at, seed: crc32cOf(e.w.seed, f.id, le.Uint32(b[0x64:]))}
	if !e.sumInode(b, t.seed, false) {
		return nil, nil, fixed("the checksum of the file's inode is another one")
	}
	if flags := le.Uint32(b[flagsAt:]); flags&^extFlags != 0 || flags&extExtents == 0 || le.Uint16(b)&0xf000 != 0x8000 || le.Uint16(b[0x1a:]) == 0 {
		return nil, nil, fixed("the file has flags that are not known here, %#x", flags&^extFlags)
	}
	return b, t, e.load(t, b[treeAt:][:60], 0, extMaxDepth+1)
}

// sumInode tells whether an inode's checksum is right, or makes it so.
func (e *ext4) sumInode(b []byte, seed uint32, set bool) bool {
	le := binary.LittleEndian
	if e.w.features&extSums == 0 {
		return true
	}
	high := e.inode > extInode && le.Uint16(b[0x80:]) >= 4
	low, top := le.Uint16(b[0x7c:]), uint16(0)
	le.PutUint16(b[0x7c:], 0)
	if high {
		top = le.Uint16(b[0x82:])
		le.PutUint16(b[0x82:], 0)
	}
	sum := crc32c(seed, b)
	if set {
		low, top = uint16(sum), uint16(sum>>16)
	}
	le.PutUint16(b[0x7c:], low)
	if high {
		le.PutUint16(b[0x82:], top)
	}
	return low == uint16(sum) && (!high || top == uint16(sum>>16))
}

// reload reads where a file is, and how long.
func (e *ext4) reload(f *File) error {
	b, t, err := e.readInode(f)
	if err != nil {
		return err
	}
	le := binary.LittleEndian
	size := uint64(le.Uint32(b[sizeLow:])) | uint64(le.Uint32(b[sizeHigh:]))<<32
	if size > 1<<50 || int64(size) < f.Size {
		return damaged("a file of %d bytes", size)
	}
	if t.end() > (size+uint64(e.block)-1)/uint64(e.block) {
		return fixed("the file has blocks behind its end, as by fallocate -n")
	}
	f.Size = int64(size)
	return e.spread(f, t)
}

// spread makes a file's extents of its tree.
func (e *ext4) spread(f *File, t *tree) error {
	next := File{}
	for _, l := range t.leaves {
		for _, m := range l.all {
			if m.unused {
				continue
			}
			if err := next.add(Extent{int64(m.first) * e.block, int64(m.at) * e.block, int64(m.n) * e.block}); err != nil {
				return err
			}
		}
	}
	f.Extents, f.tree = next.Extents, t
	return nil
}

// Prepare implements Grower.
func (e *ext4) Prepare(f *File) error {
	if e.w.fixed != nil {
		return e.w.fixed
	}
	if err := e.ready(); err != nil {
		return err
	}
	if err := e.reload(f); err != nil {
		if errors.Is(err, ErrFixed) {
			return err
		}
		return fixed("%v", err)
	}
	if at := f.place(f.Size); at != 0 && f.Size%e.block != 0 {
		if err := e.medium().Zero(at, e.block-f.Size%e.block); err != nil {
			return err
		}
	}
	if size := (f.Size + 511) &^ 511; size != f.Size {
		if err := e.begin(); err != nil {
			return err
		}
		return e.commit(f, size, &taking{e: e, groups: map[uint64]*group{}}, nil, 0)
	}
	return nil
}

// Extend implements Grower.
func (e *ext4) Extend(f *File, least, most int64, used func(Extent) bool) error {
	if err := e.again(f); err != nil {
		return err
	}
	limit := int64(1)<<32*e.block - e.block
	if e.w.features&extLarge == 0 {
		limit = 1<<31 - e.block
	}
	most = min(max(least, most), 8*extPiece)
	if least <= 0 || least > most || f.Size > limit-least {
		return fmt.Errorf("a file has %d bytes at most, and this one %d: %w", limit, f.Size, ErrFull)
	}
	first := uint64((f.Size + e.block - 1) / e.block)
	need := uint64((f.Size+least+e.block-1)/e.block) - first
	want := uint64((min(f.Size+most, limit)+e.block-1)/e.block) - first
	if need == 0 {
		return e.change(f, f.Size+least, first, 0, 0, nil, used)
	}
	_, before, _, _ := f.tree.around(first)
	return e.change(f, 0, first, need, want, &before, used)
}

// Fill implements Filler.
func (e *ext4) Fill(f *File, from, n int64, used func(Extent) bool) error {
	if err := e.again(f); err != nil {
		return err
	}
	if from < 0 || n <= 0 || from >= f.Size {
		return nil
	}
	block := uint64(from / e.block)
	last := uint64((min(from+min(n, extPiece), f.Size) - 1) / e.block)
	at, before, low, high := f.tree.around(block)
	if at.n != 0 && !at.unused {
		return nil // somebody else has done it
	}
	// As much as is aligned around it, in the hole.
	per := uint64(extHole / e.block)
	low = max(low, block/per*per)
	high = min(high, (last/per+1)*per, uint64((f.Size+e.block-1)/e.block))
	if at.n != 0 {
		m := mapping{first: low, n: high - low, at: at.at + low - at.first}
		if used(Extent{0, int64(m.at) * e.block, int64(m.n) * e.block}) {
			return damaged("the blocks of a file are another one's, too")
		}
		return e.use(f, m, used)
	}
	if e.enough() < high-low { // the disk is nearly full
		low, high = block, min(high, last+1)
	}
	if before.n != 0 { // as far behind it on the disk as in the file
		before.at += low - before.end()
	}
	return e.change(f, 0, low, block-low+1, high-low, &before, used)
}

// again reads a file's tree if it has to be.
func (e *ext4) again(f *File) error {
	if e.w.fixed != nil {
		return e.w.fixed
	}
	if err := e.begin(); err != nil {
		return err
	}
	if f.tree == nil {
		return e.reload(f)
	}
	return nil
}

// enough is how many blocks may be taken.
func (e *ext4) enough() uint64 { return e.w.total - min(e.w.reserved, e.w.total) }

// change gives a file blocks from first on, need to want of them, behind before. size is its
// new length, 0 if what it gets says it: if that is behind its end.
func (e *ext4) change(f *File, size int64, first, need, want uint64, before *mapping, used func(Extent) bool) error {
	t := &taking{e: e, used: used, groups: map[uint64]*group{}}
	var add []mapping
	if want > 0 {
		goal := uint64(0)
		if before.n != 0 {
			goal = before.at + before.n
		}
		// Some for the nodes of the tree.
		const spare = 16
		if e.enough() < need+spare {
			return noRoom(e, need)
		}
		runs, err := t.take(goal, min(want, e.enough()-spare))
		if err != nil {
			return err
		}
		at := first
		for _, r := range runs {
			for r.n > 0 {
				n := min(r.n, extMostUsed)
				add = append(add, mapping{first: at, n: n, at: r.at})
				at, r.at, r.n = at+n, r.at+n, r.n-n
			}
		}
		if at < first+need {
			return noRoom(e, need)
		}
		if end := int64(at) * e.block; int64(first)*e.block >= f.Size {
			size = end
		}
		if f.tree.fields+len(add) > maxExtents-2 {
			return fmt.Errorf("%w: the file is in %d pieces", ErrFull, f.tree.fields)
		}
	}
	return e.commit(f, max(size, f.Size), t, add, int64(want))
}

// use makes blocks that the file has, and does not use, zeros.
func (e *ext4) use(f *File, m mapping, used func(Extent) bool) error {
	if f.tree.fields > maxExtents-2 {
		return fmt.Errorf("%w: the file is in %d pieces", ErrFull, f.tree.fields)
	}
	return e.commit(f, f.Size, &taking{e: e, used: used, groups: map[uint64]*group{}}, []mapping{m}, 0)
}

// commit brings a file's new blocks and length to the medium. If taken is 0 it had the
// blocks, unused.
func (e *ext4) commit(f *File, size int64, t *taking, add []mapping, taken int64) (err error) {
	w, next := &e.w, *f.tree
	next.leaves = slices.Clone(next.leaves)
	f.tree = nil // until all is well it is not known what the medium has
	keep := func(err error) error { w.failed = true; return err }
	old := slices.Clone(next.above)
	blocks := int64(0)
	for _, m := range add {
		old = append(old, next.put(m, e.most())...)
		if taken > 0 {
			blocks += int64(m.n)
		}
		if err := e.medium().Zero(int64(m.at)*e.block, int64(m.n)*e.block); err != nil {
			return keep(err)
		}
	}
	root := []byte(nil)
	if len(add) > 0 {
		old = slices.DeleteFunc(old, func(b uint64) bool { return b == 0 })
		need := e.nodes(&next)
		runs, err := t.take(add[0].at, min(need, e.w.total))
		if err != nil {
			return keep(err)
		}
		var free []uint64
		for _, r := range runs {
			for i := range r.n {
				free = append(free, r.at+i)
			}
		}
		if uint64(len(free)) < need {
			return noRoom(e, need)
		}
		blocks += int64(len(free)) - int64(len(old))
		if root, err = e.store(&next, func() uint64 {
			b := free[0]
			free = free[1:]
			return b
		}); err != nil {
			return keep(err)
		}
	}
	if err := t.write(); err != nil {
		return keep(err)
	}
	if err := e.medium().Flush(); err != nil {
		return keep(err)
	}
	if err := e.putInode(f, size, root, blocks); err != nil {
		return keep(err)
	}
	if err := e.medium().Flush(); err != nil {
		return keep(err)
	}
	if err := t.give(old); err != nil {
		return keep(err)
	}
	f.Size = size
	return e.spread(f, &next)
}

// putInode writes a file's inode: its length, its tree if that is not nil, and that it has so
// many blocks more.
func (e *ext4) putInode(f *File, size int64, root []byte, blocks int64) error {
	le, b := binary.LittleEndian, make([]byte, e.inode)
	if err := e.read(b, f.at); err != nil {
		return err
	}
	le.PutUint32(b[sizeLow:], uint32(size))
	le.PutUint32(b[sizeHigh:], uint32(size>>32))
	sectors := int64(le.Uint32(b[sectorsLow:])) | int64(le.Uint16(b[sectorsTop:]))<<32
	sectors += blocks * (e.block / 512)
	if sectors < 0 || sectors >= 1<<48 || sectors >= 1<<32 && e.w.features&extHuge == 0 {
		return damaged("a file of %d sectors", sectors)
	}
	le.PutUint32(b[sectorsLow:], uint32(sectors))
	le.PutUint16(b[sectorsTop:], uint16(sectors>>32))
	if root != nil {
		copy(b[treeAt:][:60], root)
	}
	e.sumInode(b, crc32cOf(e.w.seed, f.id, le.Uint32(b[0x64:])), true)
	return e.write(b, f.at)
}
