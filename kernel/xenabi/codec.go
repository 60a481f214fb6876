package xenabi

import "encoding/binary"

// Struct is an argument of a hypercall: a Go struct that knows the C layout of
// its fields. The types of this package implement it.
type Struct interface{ layout(c *codec) }

// Codec measures, reads and writes structures. One that is kept spares an allocation each time;
// it has one user at a time. The zero value is ready.
type Codec struct{ c codec }

// Size returns how many bytes s takes in a guest of width w (C's sizeof).
func (k *Codec) Size(w Width, s Struct) int {
	k.c = codec{w: w, mode: measure}
	s.layout(&k.c)
	return k.c.end()
}

// Decode fills s from b, a private copy of a guest's bytes, and tells whether b
// was long enough; if not, s is unchanged.
func (k *Codec) Decode(w Width, b []byte, s Struct) bool {
	if len(b) < k.Size(w, s) {
		return false
	}
	k.c = codec{w: w, mode: decode, b: b}
	s.layout(&k.c)
	return true
}

// Encode writes s to b and tells whether b was long enough; if not, b is
// unchanged. Padding keeps what b had.
func (k *Codec) Encode(w Width, b []byte, s Struct) bool {
	if len(b) < k.Size(w, s) {
		return false
	}
	k.c = codec{w: w, mode: encode, b: b}
	s.layout(&k.c)
	return true
}

// Size is a Codec's.
func Size(w Width, s Struct) int { return new(Codec).Size(w, s) }

// Decode is a Codec's.
func Decode(w Width, b []byte, s Struct) bool { return new(Codec).Decode(w, b, s) }

// Encode is a Codec's.
func Encode(w Width, b []byte, s Struct) bool { return new(Codec).Encode(w, b, s) }

type mode uint8

const (
	measure mode = iota
	decode
	encode
)

// codec walks the fields of a C structure in order, by C's rules of alignment,
// so that one description of a structure serves to measure, read and write it.
type codec struct {
	w        Width
	mode     mode
	b        []byte
	off      int
	maxAlign int
	trace    []int // offset of each field, for the tests
	keep     bool
}

// field makes room for one field and returns its bytes, or nil.
func (c *codec) field(size, align int) []byte {
	c.maxAlign = max(c.maxAlign, align)
	at := (c.off + align - 1) &^ (align - 1)
	c.off = at + size
	if c.keep {
		c.trace = append(c.trace, at)
	}
	if c.mode == measure {
		return nil
	}
	return c.b[at : at+size]
}

// end returns the structure's size: its end, rounded up to its alignment.
func (c *codec) end() int {
	a := max(c.maxAlign, 1)
	return (c.off + a - 1) &^ (a - 1)
}

func (c *codec) u8(v *uint8) {
	switch b := c.field(1, 1); c.mode {
	case decode:
		*v = b[0]
	case encode:
		b[0] = *v
	}
}

func (c *codec) u16(v *uint16) {
	switch b := c.field(2, 2); c.mode {
	case decode:
		*v = binary.LittleEndian.Uint16(b)
	case encode:
		binary.LittleEndian.PutUint16(b, *v)
	}
}

func (c *codec) u32(v *uint32) {
	switch b := c.field(4, 4); c.mode {
	case decode:
		*v = binary.LittleEndian.Uint32(b)
	case encode:
		binary.LittleEndian.PutUint32(b, *v)
	}
}

func (c *codec) u64(v *uint64) {
	switch b := c.field(8, int(c.w)); c.mode {
	case decode:
		*v = binary.LittleEndian.Uint64(b)
	case encode:
		binary.LittleEndian.PutUint64(b, *v)
	}
}

// word is C's unsigned long, a pointer, a guest handle or xen_pfn_t.
func (c *codec) word(v *uint64) {
	if c.w == Guest64 {
		c.u64(v)
		return
	}
	n := uint32(*v)
	c.u32(&n)
	if c.mode == decode {
		*v = uint64(n)
	}
}

// chars is an array of C's char.
func (c *codec) chars(v []byte) {
	switch b := c.field(len(v), 1); c.mode {
	case decode:
		copy(v, b)
	case encode:
		copy(b, v)
	}
}

func (c *codec) status(v *GnttabStatus) {
	n := uint16(*v)
	c.u16(&n)
	if c.mode == decode {
		*v = GnttabStatus(n)
	}
}

// align moves to the next place for a structure that holds a word.
func (c *codec) align() { c.off = (c.off + int(c.w) - 1) &^ (int(c.w) - 1) }
