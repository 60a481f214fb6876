package inteltest

import (
	"encoding/binary"
	"fmt"

	"nidus/drivers/nic/nictest"
)

// Wrapper is what a card does with a frame before it is on the wire.
type Wrapper struct {
	Cut   bool
	Sum   bool // TCP's or UDP's
	SumIP bool
	V4    bool

	IP, IPEnd, IPSum int // where IP's header is, its last byte and its sum
	Start, SumAt     int // where TCP's or UDP's header is, and the sum
	Headers, MSS     int
	// LenOfWhole and LenOfCut say that a descriptor has a length: of a frame that is not to be
	// cut, or of what is behind the headers of one that is.
	LenOfWhole, LenOfCut bool
}

// check panics if what a descriptor says of the frame's length is wrong.
func (w *Wrapper) check(b []byte, said int) {
	want := len(b)
	if w.Cut {
		want -= w.Headers
	}
	if (w.Cut && w.LenOfCut || !w.Cut && w.LenOfWhole) && said != want {
		panic(fmt.Sprintf("a frame of %d bytes with headers of %d is said to have %d", len(b), w.Headers, said))
	}
}

// wire puts a frame on the wire, cut if it has to be.
func (w *Wrapper) wire(b []byte, sent func(b []byte)) {
	be := binary.BigEndian
	sum := func(b []byte) {
		if w.Sum {
			be.PutUint16(b[w.SumAt:], ^nictest.Sum(b[w.Start:]))
		}
	}
	if !w.Cut {
		sum(b)
		sent(b)
		return
	}
	seq := be.Uint32(b[w.Start+4:])
	for at, i := w.Headers, 0; at < len(b); at, i = at+w.MSS, i+1 {
		data := b[at:min(at+w.MSS, len(b))]
		p := append(append([]byte{}, b[:w.Headers]...), data...)
		if w.V4 {
			be.PutUint16(p[w.IP+2:], uint16(len(p)-w.IP))
			be.PutUint16(p[w.IP+4:], be.Uint16(p[w.IP+4:])+uint16(i))
			if w.SumIP {
				be.PutUint16(p[w.IPSum:], ^nictest.Sum(p[w.IP:w.IPEnd+1]))
			}
		} else {
			be.PutUint16(p[w.IP+4:], uint16(len(p)-w.IP-40))
		}
		be.PutUint32(p[w.Start+4:], seq+uint32(i*w.MSS))
		if at+w.MSS < len(b) {
			p[w.Start+13] &^= 0x09 // FIN, PSH
		}
		// The length goes into the sum of the pseudo header.
		be.PutUint16(p[w.SumAt:], nictest.Sum(be.AppendUint16(p[w.SumAt:w.SumAt+2:w.SumAt+2], uint16(len(p)-w.Start))))
		sum(p)
		sent(p)
	}
}
