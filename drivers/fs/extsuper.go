package fs

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// What ext4's superblock says of writing.

const (
	extSuper     = 1024 // where it is, and how long
	extState     = 0x3a // its places
	extLast      = 0x88 // the path where it was mounted last, 64 bytes
	extFreeLow   = 0x0c
	extFreeHigh  = 0x158
	extSum       = 0x3fc
	extValid     = 1 // of its state: unmounted
	extErrors    = 2
	extJournal   = 0x4 // compatible features
	extSparse2   = 0x200
	extCompat    = 0x4 | 0x8 | 0x10 | 0x20 | 0x400 | 0x800 | 0x1000 // those that don't matter: has_journal, ext_attr, resize_inode, dir_index, fast_commit, stable_inodes, orphan_file
	extSparse    = 0x1                                              // features of who writes
	extLarge     = 0x2
	extHuge      = 0x8
	extGroupSums = 0x10
	extSums      = 0x400
	extWritable  = extSparse | extLarge | extHuge | extGroupSums | 0x20 | 0x40 | extSums // and dir_nlink, extra_isize
	extMaxGroups = 1 << 18
)

// extReadOnly are the features that are not kept up here, by their bits.
var extReadOnly = map[uint32]string{0x80: "has_snapshot", 0x100: "quota", 0x200: "bigalloc", 0x800: "replica", 0x1000: "readonly", 0x2000: "project", 0x4000: "shared_blocks", 0x8000: "verity", 0x10000: "orphans to be deleted"}

// writer is what is needed to give the files of an ext4 room.
type writer struct {
	fixed    error // why they can't have any, or nil
	blocks   uint64
	reserved uint64 // of them, for root
	first    uint64 // of the first group
	perGroup uint64 // blocks
	groups   uint64
	features uint32 // of who writes
	tables   uint64 // blocks of the descriptors, and reserved for them
	seed     uint32
	uuid     [16]byte

	valid   bool // it was unmounted
	marked  bool // it says that it is not
	failed  bool // something was not written
	free    []uint32
	total   uint64 // free blocks of all groups
	net     int64  // that were allocated since it was opened
	meta    []blockRun
	covered bool // meta and free are there
}

// writable finds out from the superblock whether files can have more room.
func (e *ext4) writable(b []byte) {
	le, w := binary.LittleEndian, &e.w
	compat, incompat, ro, state := le.Uint32(b[0x5c:]), le.Uint32(b[0x60:]), le.Uint32(b[0x64:]), le.Uint16(b[extState:])
	w.features = ro
	w.blocks, w.reserved = uint64(le.Uint32(b[4:])), uint64(le.Uint32(b[8:]))
	w.first, w.perGroup = uint64(le.Uint32(b[0x14:])), uint64(le.Uint32(b[0x20:]))
	if e.wide {
		w.blocks |= uint64(le.Uint32(b[0x150:])) << 32
		w.reserved |= uint64(le.Uint32(b[0x154:])) << 32
	}
	w.valid = state&extValid != 0
	copy(w.uuid[:], b[0x68:])
	if w.seed = crc32c(^uint32(0), w.uuid[:]); incompat&0x2000 != 0 {
		w.seed = le.Uint32(b[0x270:])
	}
	w.fixed = func() error {
		var names []string
		for _, bit := range slices.Sorted(maps.Keys(extReadOnly)) {
			if ro&bit != 0 {
				names = append(names, extReadOnly[bit])
			}
		}
		if names != nil {
			return fixed("ext4 with %s", strings.Join(names, ", "))
		}
		switch {
		case e.medium() == nil:
			return fixed("the disk is only read")
		case compat&^extCompat != 0 || ro&^extWritable != 0 || le.Uint32(b[0x4c:]) == 0:
			return fixed("ext4 with features that are not known here, %#x and %#x", compat&^extCompat, ro&^extWritable)
		case state&^extValid != 0 || le.Uint32(b[0xe8:]) != 0:
			return fixed("the ext4 has errors, or files to be deleted: \"e2fsck\" repairs it")
		case !w.valid && compat&extJournal == 0:
			return fixed("the ext4 has no journal and was not unmounted: \"e2fsck -p\" repairs it")
		case ro&extSums != 0 && (b[0x175] != 1 || crc32c(^uint32(0), b[:extSum]) != le.Uint32(b[extSum:])):
			return fixed("the checksum of its superblock is another one")
		case w.perGroup == 0 || w.perGroup > uint64(e.block)*8 || w.perGroup%8 != 0 || w.blocks <= w.first || w.blocks > uint64(e.size/e.block) ||
			w.first != map[bool]uint64{true: 1}[e.block == 1024] || e.wide && e.desc != 64 || e.inode > 512 || e.perGroup > uint32(e.block)*8:
			return fixed("the ext4 has %d blocks, %d in a group, %d inodes there, from %d on", w.blocks, w.perGroup, e.perGroup, w.first)
		}
		w.groups = (w.blocks - w.first + w.perGroup - 1) / w.perGroup
		w.tables = (w.groups*uint64(e.desc)+uint64(e.block)-1)/uint64(e.block) + uint64(le.Uint16(b[0xce:]))
		if w.groups > extMaxGroups || w.reserved > w.blocks || w.groups*uint64(e.perGroup) < uint64(e.inodes) {
			return fixed("the ext4 has %d groups", w.groups)
		}
		return nil
	}()
}

// mark says on the medium that the file system is not unmounted, or, after all is done, that
// it is. What changes is in one sector, which is written or not, so the checksum, which is in
// the next one, stays: something that nobody reads makes up for it.
func (e *ext4) mark(done bool) error {
	le, b, w := binary.LittleEndian, make([]byte, extSuper), &e.w
	if err := e.medium().Flush(); err != nil {
		return err
	}
	if err := e.read(b, extSuper); err != nil {
		return err
	}
	state := le.Uint16(b[extState:]) &^ extValid
	if done {
		free := int64(uint64(le.Uint32(b[extFreeLow:]))|uint64(le.Uint32(b[extFreeHigh:]))<<32) - w.net
		if !e.wide {
			free = int64(uint32(free))
		}
		if w.valid {
			state |= extValid
		}
		free = max(min(free, int64(w.blocks)), 0)
		le.PutUint32(b[extFreeLow:], uint32(free))
		if e.wide {
			le.PutUint32(b[extFreeHigh:], uint32(free>>32))
		}
	}
	le.PutUint16(b[extState:], state)
	if w.features&extSums != 0 {
		b[extLast+59] = 0 // the path ends
		balance(b[:extSum], extLast+60, le.Uint32(b[extSum:]))
	}
	if err := e.write(b[:512], extSuper); err != nil {
		return err
	}
	return e.medium().Flush()
}

// ready reads the groups, once.
func (e *ext4) ready() error {
	if e.w.covered {
		return nil
	}
	err := e.cover()
	e.w.covered = err == nil
	return err
}

// begin is before the first change.
func (e *ext4) begin() error {
	w := &e.w
	if err := e.ready(); err != nil || w.marked {
		return err
	}
	if err := e.mark(false); err != nil {
		return err
	}
	w.marked = true
	return nil
}

// Finish implements Grower.
func (e *ext4) Finish() error {
	if !e.w.marked || e.w.failed {
		return nil // nothing was written, or e2fsck is to look at it
	}
	e.w.marked = false
	if err := e.mark(true); err != nil {
		return fmt.Errorf("at the end: %w", err)
	}
	e.w.net = 0
	return nil
}
