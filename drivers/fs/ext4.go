package fs

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// ext4, as in "ext4 Data Structures and Algorithms" (docs.kernel.org/filesystems/ext4):
// file systems whose files have extents.

const (
	extMagic    = 0xef53
	extRoot     = 2 // its inode
	extTree     = 0xf30a
	extExtents  = 0x80000 // of an inode's flags
	extUnused   = 32768   // from this length on, an extent is not written yet
	extMaxDepth = 5
	extMaxTree  = 64 << 20 // bytes of a file's tree: more than maxExtents need
)

// extRefused are the features that make a file system another one, by their bits.
var extRefused = []struct {
	bit  uint32
	what string
}{
	{0x4, "it was not unmounted, and its journal has to be played back: mount and unmount it with Linux"},
	{0x1, "compression"}, {0x8, "it is a journal"}, {0x10, "meta_bg"}, {0x100, "mmp"}, {0x400, "ea_inode"}, {0x1000, "dirdata"},
	{0x8000, "inline_data"}, {0x10000, "encrypt"}, {0x20000, "casefold"},
}

// extKnown are filetype, extents, 64bit, flex_bg, metadata_csum_seed and large_dir.
const extKnown = 0x2 | 0x40 | 0x80 | 0x200 | 0x2000 | 0x4000

type ext4 struct {
	disk
	block            int64 // bytes
	inodes, perGroup uint32
	inode, desc      int64 // bytes of an inode, and of a group's descriptor
	descs            int64 // where those are
	wide             bool  // descriptors have 64-bit numbers
	w                writer
}

func openExt4(d disk) (System, error) {
	b := make([]byte, 1024)
	if d.size < 2048 || d.read(b, 1024) != nil {
		return nil, ErrUnknown
	}
	le := binary.LittleEndian
	if le.Uint16(b[0x38:]) != extMagic {
		return nil, ErrUnknown
	}
	incompat := le.Uint32(b[0x60:])
	for _, f := range extRefused {
		if incompat&f.bit != 0 {
			return nil, fmt.Errorf("ext4 that can't be read here: %s", f.what)
		}
	}
	if incompat&^extKnown != 0 {
		return nil, fmt.Errorf("ext4 that can't be read here: it has features that are not known, %#x", incompat&^extKnown)
	}
	shift := le.Uint32(b[0x18:])
	e := &ext4{disk: d, inodes: le.Uint32(b), perGroup: le.Uint32(b[0x28:]), inode: 128, desc: 32, wide: incompat&0x80 != 0}
	if le.Uint32(b[0x4c:]) > 0 {
		e.inode = int64(le.Uint16(b[0x58:]))
	}
	if e.wide {
		e.desc = int64(le.Uint16(b[0xfe:]))
	}
	if shift > 6 {
		return nil, damaged("blocks of 2^%d bytes", shift+10)
	}
	e.block = 1024 << shift
	if e.inode < 128 || e.inode > e.block || e.inode&(e.inode-1) != 0 || e.perGroup == 0 || e.wide && (e.desc < 64 || e.desc > 1024) {
		return nil, damaged("inodes of %d bytes, %d in a group, and descriptors of %d", e.inode, e.perGroup, e.desc)
	}
	// They follow the superblock's block. s_first_data_block is not that one's number with
	// bigalloc: there it is 0 with blocks of 1 KiB, too.
	e.descs = (extSuper/e.block + 1) * e.block
	e.writable(b)
	return e, nil
}

// Kind implements System.
func (e *ext4) Kind() string { return "ext4" }

// Find implements System.
func (e *ext4) Find(path string) (File, error) {
	file, mode, err := e.open(extRoot)
	for _, part := range parts(path) {
		if err != nil {
			return file, err
		}
		if mode != 0x4000 {
			return file, irregular(path, part, "in what is not a folder")
		}
		dir, err2 := file.all(e.disk)
		if err2 != nil {
			return file, err2
		}
		n, err2 := extFind(dir, part, e.block)
		if err2 != nil {
			return file, err2
		}
		if n == 0 {
			return file, missing(path, part)
		}
		file, mode, err = e.open(n)
	}
	if err == nil && mode != 0x8000 {
		err = irregular(path, path, "not a regular file, such as a folder or a link")
	}
	return file, err
}

// open reads an inode: where its file is, and what it is (the top digit of its mode).
func (e *ext4) open(n uint32) (f File, mode uint16, err error) {
	if n == 0 || n > e.inodes {
		return f, 0, damaged("inode %d of %d", n, e.inodes)
	}
	d := make([]byte, e.desc)
	if err := e.read(d, e.descs+int64((n-1)/e.perGroup)*e.desc); err != nil {
		return f, 0, err
	}
	le := binary.LittleEndian
	table := uint64(le.Uint32(d[8:]))
	if e.wide {
		table |= uint64(le.Uint32(d[0x28:])) << 32
	}
	at, err := e.place(table)
	if err != nil {
		return f, 0, err
	}
	b := make([]byte, e.inode)
	if err := e.read(b, at+int64((n-1)%e.perGroup)*e.inode); err != nil {
		return f, 0, err
	}
	size := uint64(le.Uint32(b[4:])) | uint64(le.Uint32(b[0x6c:]))<<32
	if mode = le.Uint16(b) & 0xf000; mode != 0x4000 && mode != 0x8000 {
		return f, mode, nil
	}
	if le.Uint32(b[0x20:])&extExtents == 0 {
		return f, mode, fmt.Errorf("a file or a folder in it has no extents, as in ext3; copy it in an ext4")
	}
	if size > 1<<50 {
		return f, mode, damaged("a file of %d bytes", size)
	}
	f.Size, f.id, f.at = int64(size), n, at+int64((n-1)%e.perGroup)*e.inode
	w := walk{e: e, f: &f}
	return f, mode, w.node(b[0x28:0x28+60], extMaxDepth+1)
}

// place is where a block is.
func (e *ext4) place(block uint64) (int64, error) {
	if block == 0 || block >= uint64(e.size/e.block) {
		return 0, damaged("block %d of %d", block, e.size/e.block)
	}
	return int64(block) * e.block, nil
}

// walk goes through the tree of a file's extents.
type walk struct {
	e     *ext4
	f     *File
	next  uint64 // the first block of the file that may come
	bytes int64  // of the nodes so far
}

// node reads a node of the tree, which is less than depth deep.
func (w *walk) node(b []byte, depth int) error {
	le := binary.LittleEndian
	entries, deep := int(le.Uint16(b[2:])), int(le.Uint16(b[6:]))
	if w.bytes += int64(len(b)); w.bytes > extMaxTree {
		return damaged("a file's tree of extents has more than %d MiB", extMaxTree>>20)
	}
	if le.Uint16(b) != extTree || entries > len(b)/12-1 || deep >= depth {
		return damaged("a file's tree of extents")
	}
	for i := range entries {
		x := b[12*(i+1):]
		if deep > 0 {
			at, err := w.e.place(uint64(le.Uint32(x[4:])) | uint64(le.Uint16(x[8:]))<<32)
			if err != nil {
				return err
			}
			below := make([]byte, w.e.block)
			if err := w.e.read(below, at); err != nil {
				return err
			}
			if err := w.node(below, deep); err != nil {
				return err
			}
			continue
		}
		first, n := uint64(le.Uint32(x)), uint64(le.Uint16(x[4:]))
		unused := n > extUnused
		if unused {
			n -= extUnused
		}
		at, err := w.e.place(uint64(le.Uint32(x[8:])) | uint64(le.Uint16(x[6:]))<<32)
		if err != nil {
			return err
		}
		if first < w.next || n == 0 {
			return damaged("a file's extents are not in order")
		}
		if _, err := w.e.place(uint64(at/w.e.block) + n - 1); err != nil {
			return err
		}
		w.next = first + n
		if unused { // reads as zeros
			continue
		}
		if err := w.f.add(Extent{int64(first) * w.e.block, at, int64(n) * w.e.block}); err != nil {
			return err
		}
	}
	return nil
}

// extFind returns the inode of a name in a folder, or 0. The index that large ones have
// looks like unused entries.
func extFind(dir []byte, name string, block int64) (uint32, error) {
	le := binary.LittleEndian
	for ; int64(len(dir)) >= block; dir = dir[block:] {
		for b := dir[:block]; len(b) >= 8; {
			inode, n, l := le.Uint32(b), int(le.Uint16(b[4:])), int(b[6])
			if n < 8 || n > len(b) || l+8 > n {
				return 0, damaged("an entry of %d bytes in a folder", n)
			}
			if inode != 0 && bytes.Equal(b[8:8+l], []byte(name)) {
				return inode, nil
			}
			b = b[n:]
		}
	}
	return 0, nil
}
