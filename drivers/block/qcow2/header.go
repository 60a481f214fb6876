package qcow2

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"strings"
	"unicode"
)

// The header (docs/interop/qcow2.txt, "Header"), big endian.
const (
	magic         = 0x514649fb
	v2Bytes       = 72
	v3Bytes       = 104
	autoclearAt   = 88
	maxName       = 1023    // of the backing file's name
	maxFormat     = 64      // of its format's
	maxL1         = 4 << 20 // entries, 32 MiB as in QEMU
	maxRefTable   = 8 << 20 // bytes, as in QEMU
	extEnd        = 0
	extFormat     = 0xe2792aca
	minBits       = 9
	maxBits       = 21
	entryBytes    = 8 // of every table but those of refcounts
	incompatDirty = 1 << 0
	incompatBad   = 1 << 1
	incompatComp  = 1 << 3
)

// incompatible are the features that change what a reader has to do, by their bits.
var incompatible = [...]string{2: "an external data file (bit 2)", 4: "extended L2 entries, subclusters (bit 4)"}

// header is what an image says of itself, checked.
type header struct {
	version       uint32
	bits          uint   // of a cluster's size
	size          uint64 // of the disk, in bytes
	l1, l1Entries uint64
	refTable      uint64
	refTableBytes uint64
	refBits       uint64 // of a reference count
	zstd          bool
	autoclear     bool
	backing       string // name of the file below, "" for none
	format        string // its format
}

func (h *header) cluster() uint64 { return 1 << h.bits }

// l2Entries is how many clusters a table of the second level maps.
func (h *header) l2Entries() uint64 { return h.cluster() / entryBytes }

// Room is how long a file may have to be for all of an image's disk, or 0 for what is no
// image; b is how it begins.
func Room(b []byte) uint64 {
	if len(b) < v2Bytes || binary.BigEndian.Uint32(b) != magic {
		return 0
	}
	size := min(binary.BigEndian.Uint64(b[24:]), 1<<50)
	return size + size/16 + 4<<maxBits // tables of the smallest clusters
}

// parseHeader reads an image's header from its first bytes; end is the file's length. The
// error says what can't be had.
func parseHeader(b []byte, end uint64, readOnly bool) (h header, err error) {
	be := binary.BigEndian
	if len(b) < v2Bytes || be.Uint32(b) != magic {
		return h, fmt.Errorf("it is no qcow2 image: it begins with % x", b[:min(4, len(b))])
	}
	h.version = be.Uint32(b[4:])
	switch {
	case h.version < 2 || h.version > 3:
		return h, fmt.Errorf("qcow2 of version %d; there are 2 and 3", h.version)
	case h.version == 3 && len(b) < v3Bytes:
		return h, fmt.Errorf("its header ends after %d bytes", len(b))
	}
	headerBytes, order := uint32(v2Bytes), uint32(4)
	if h.version == 3 {
		order, headerBytes = be.Uint32(b[96:]), be.Uint32(b[100:])
		if err := h.features(be.Uint64(b[72:]), readOnly); err != nil {
			return h, err
		}
		h.autoclear = be.Uint64(b[autoclearAt:]) != 0
	}
	if n := be.Uint32(b[20:]); n < minBits || n > maxBits {
		return h, fmt.Errorf("clusters of 2^%d bytes; there are 2^%d to 2^%d", n, minBits, maxBits)
	} else {
		h.bits = uint(n)
	}
	if crypt := be.Uint32(b[32:]); crypt != 0 {
		return h, fmt.Errorf("it is encrypted (method %d), which can't be read here", crypt)
	}
	if h.version == 3 && (headerBytes < v3Bytes || headerBytes%8 != 0 || uint64(headerBytes) > min(h.cluster(), uint64(len(b)))) {
		return h, fmt.Errorf("its header is said to have %d bytes", headerBytes)
	}
	if order > 6 {
		return h, fmt.Errorf("reference counts of 2^%d bits; there are 1 to 64", order)
	}
	h.refBits = 1 << order
	if incompat := be.Uint64(b[72:]); h.version == 3 && incompat&incompatComp != 0 {
		if headerBytes <= v3Bytes || b[104] > 1 {
			return h, fmt.Errorf("clusters that are compressed in a way that is not known here")
		}
		h.zstd = b[104] == 1
	}
	h.size = be.Uint64(b[24:])
	h.l1, h.l1Entries = be.Uint64(b[40:]), uint64(be.Uint32(b[36:]))
	h.refTable, h.refTableBytes = be.Uint64(b[48:]), uint64(be.Uint32(b[56:]))<<h.bits
	if err := h.check(end); err != nil {
		return h, err
	}
	return h, h.extensions(b, headerBytes)
}

// features looks at the incompatible ones.
func (h *header) features(incompat uint64, readOnly bool) error {
	switch {
	case incompat&incompatBad != 0 && !readOnly:
		return fmt.Errorf("it is marked as corrupt (bit 1): repair it by \"qemu-img check -r all\", or read it only")
	case incompat&incompatDirty != 0 && !readOnly:
		return fmt.Errorf("it is marked as dirty (bit 0), not closed by who wrote it last: repair it by \"qemu-img check -r all\", or read it only")
	}
	if rest := incompat &^ (incompatDirty | incompatBad | incompatComp); rest != 0 {
		n := bits.TrailingZeros64(rest)
		what := fmt.Sprintf("a feature that is not known here (bit %d)", n)
		if n < len(incompatible) && incompatible[n] != "" {
			what = incompatible[n]
		}
		return fmt.Errorf("it has %s, which can't be had", what)
	}
	return nil
}

// check looks whether the tables are in a file of end bytes and have room for the disk.
func (h *header) check(end uint64) error {
	c := h.cluster()
	for _, t := range []struct {
		name      string
		at, bytes uint64
		most      uint64
	}{{"L1 table", h.l1, h.l1Entries * entryBytes, maxL1 * entryBytes}, {"table of reference counts", h.refTable, h.refTableBytes, maxRefTable}} {
		if t.at == 0 || t.at%c != 0 || t.bytes == 0 || t.bytes > t.most || t.at > end || t.bytes > end-t.at {
			return fmt.Errorf("its %s, %d bytes at %d, is not in the file of %d bytes, or has more than %d", t.name, t.bytes, t.at, end, t.most)
		}
	}
	if h.size == 0 || h.size > h.l1Entries*h.l2Entries()<<h.bits {
		return fmt.Errorf("a disk of %d bytes: its L1 table of %d entries has room for 1 to %d", h.size, h.l1Entries, h.l1Entries*h.l2Entries()<<h.bits)
	}
	return nil
}

// extensions reads the name and the format of the file below.
func (h *header) extensions(b []byte, at uint32) error {
	be := binary.BigEndian
	if off, n := be.Uint64(b[8:]), be.Uint32(b[16:]); off != 0 {
		if n == 0 || n > maxName || off > uint64(len(b)) || uint64(n) > min(uint64(len(b)), h.cluster())-min(off, h.cluster()) {
			return fmt.Errorf("the name of its backing file, %d bytes at %d, is not in the first cluster", n, off)
		}
		h.backing = string(b[off:][:n])
	}
	for x := b[min(uint64(at), uint64(len(b))):min(h.cluster(), uint64(len(b)))]; len(x) >= 8; {
		kind, n := be.Uint32(x), uint64(be.Uint32(x[4:]))
		if kind == extEnd {
			break
		}
		if n > uint64(len(x)-8) {
			return fmt.Errorf("an extension of its header, %#x, has %d bytes", kind, n)
		}
		if kind == extFormat {
			h.format = string(x[8:][:n])
		}
		x = x[min(8+(n+7)&^7, uint64(len(x))):]
	}
	// Both get into messages.
	strange := func(r rune) bool { return !unicode.IsPrint(r) }
	if strings.ContainsFunc(h.backing, strange) || strings.ContainsFunc(h.format, strange) || len(h.format) > maxFormat {
		return fmt.Errorf("the name of its backing file, %.80q, or of its format, %.80q, is none", h.backing, h.format)
	}
	if h.backing != "" && h.format == "" {
		return fmt.Errorf("it doesn't say what format its backing file %q has, and a guess may be what a guest wrote: \"qemu-img rebase -u -F FORMAT -b %s\" says it", h.backing, h.backing)
	}
	return nil
}
