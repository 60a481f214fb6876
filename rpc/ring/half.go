package ring

import (
	"fmt"
	"sync/atomic"
)

// A view is one end's knowledge of an index word of the other end. The word may hold
// anything: a value is loaded once, checked against what is known, and only then kept.
type view struct {
	word   *atomic.Uint64
	off    int // the word's offset in its slot, for errors
	pos    uint32
	closed bool
	seen   uint64 // the last value loaded
}

// load reads the word, which must belong to epoch, have stayed closed if it was, and
// have moved by at most limit bytes since it was last seen.
func (v *view) load(epoch uint32, limit int) error {
	w := v.word.Load()
	if w == v.seen {
		return nil
	}
	pos, closed := uint32(w)&posMask, w&closedBit != 0
	moved := (pos - v.pos) & posMask
	switch {
	case epochOf(w) != epoch:
		return v.bad(w, fmt.Sprintf("it is of epoch %#x, the connection of %#x", epochOf(w), epoch))
	case v.closed && (!closed || moved != 0):
		return v.bad(w, "it changed after it was closed")
	case moved > uint32(limit):
		return v.bad(w, fmt.Sprintf("it went from %#x to %#x, could move by %#x at most", v.pos, pos, limit))
	}
	v.seen, v.pos, v.closed = w, pos, closed
	return nil
}

func (v *view) bad(w uint64, why string) error {
	return &ProtocolError{Field: wordName(v.off), Value: w, Why: why, off: v.off}
}

// producer is the end of a ring that adds bytes. One goroutine at a time uses it.
type producer struct {
	data  []byte
	epoch uint32
	tail  uint32 // bytes added, modulo 2^31; the truth: the word is only its publication
	own   *atomic.Uint64
	head  view // how far the consumer has come
}

// room returns how many bytes can be added.
func (p *producer) room() (int, error) {
	used := int((p.tail - p.head.pos) & posMask)
	if err := p.head.load(p.epoch, used); err != nil {
		return 0, err
	}
	return len(p.data) - int((p.tail-p.head.pos)&posMask), nil
}

// put copies b into the ring; publish shows it to the consumer. Preconditions:
// len(b) is at most the last room.
func (p *producer) put(b []byte) {
	n := copy(p.data[int(p.tail)&(len(p.data)-1):], b)
	copy(p.data, b[n:])
	p.tail = (p.tail + uint32(len(b))) & posMask
}

func (p *producer) publish(closed bool) { p.own.Store(indexWord(p.epoch, p.tail, closed)) }

// consumer is the end of a ring that takes bytes. One goroutine at a time uses it.
type consumer struct {
	data  []byte
	epoch uint32
	head  uint32 // bytes taken, modulo 2^31
	own   *atomic.Uint64
	tail  view // how far the producer has come
}

// avail returns how many bytes can be taken.
func (c *consumer) avail() (int, error) {
	have := int((c.tail.pos - c.head) & posMask)
	if err := c.tail.load(c.epoch, len(c.data)-have); err != nil {
		return 0, err
	}
	return int((c.tail.pos - c.head) & posMask), nil
}

// take moves len(b) bytes out of the ring; publish gives their room to the producer.
// Preconditions: len(b) is at most the last avail.
func (c *consumer) take(b []byte) {
	n := copy(b, c.data[int(c.head)&(len(c.data)-1):])
	copy(b[n:], c.data)
	c.head = (c.head + uint32(len(b))) & posMask
}

func (c *consumer) publish(closed bool) { c.own.Store(indexWord(c.epoch, c.head, closed)) }

func indexWord(epoch, pos uint32, closed bool) uint64 {
	if closed {
		pos |= closedBit
	}
	return tagged(epoch, pos)
}
