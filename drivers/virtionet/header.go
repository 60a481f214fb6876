package virtionet

import (
	"encoding/binary"

	"nidus/drivers/link"
	"nidus/drivers/nic"
)

// The header before each frame (section 5.1.6): flags, kind of segmentation, length of the
// headers, size of the segments, begin and offset of the checksum, number of buffers.
const (
	headerSize    = 12
	oldHeaderSize = 10 // before 1.0, without the number of buffers if it is always 1

	flagPartial  = 1
	flagVerified = 2

	cutNone = 0
	cutTCP4 = 1
	cutTCP6 = 4
	cutECN  = 0x80
)

// describe makes the header of a frame that is sent. Preconditions: nic.Sendable.
func describe(h *[headerSize]byte, f *link.Frame, ecn bool) {
	*h = [headerSize]byte{}
	le := binary.LittleEndian
	if f.Checksum == link.Partial {
		h[0] = flagPartial
		le.PutUint16(h[6:], f.CsumStart)
		le.PutUint16(h[8:], f.CsumOffset)
	}
	switch f.Segmentation {
	case link.Whole:
		return
	case link.TCPv4:
		h[1] = cutTCP4
	case link.TCPv6:
		h[1] = cutTCP6
	}
	if ecn && nic.CWR(f) {
		h[1] |= cutECN
	}
	n, _ := nic.TCPEnd(f)
	le.PutUint16(h[2:], uint16(n))
	le.PutUint16(h[4:], f.MSS)
}

// understand takes what the header says of a frame that came in; false if that can't be.
func understand(h []byte, f *link.Frame, features uint64) bool {
	le := binary.LittleEndian
	if features&featGuestChecksum != 0 {
		switch {
		case h[0]&flagPartial != 0:
			f.Checksum, f.CsumStart, f.CsumOffset = link.Partial, le.Uint16(h[6:]), le.Uint16(h[8:])
			if int(f.CsumStart)+int(f.CsumOffset)+2 > f.Len() {
				return false
			}
		case h[0]&flagVerified != 0:
			f.Checksum = link.Verified
		}
	}
	switch cut := h[1]; {
	case cut == cutNone:
		return true
	case cut == cutTCP4 && features&featGuestTSO4 != 0:
		f.Segmentation = link.TCPv4
	case cut == cutTCP6 && features&featGuestTSO6 != 0:
		f.Segmentation = link.TCPv6
	default:
		return false
	}
	f.MSS = le.Uint16(h[4:])
	_, ok := nic.TCPEnd(f)
	return ok && f.MSS > 0 && f.Checksum == link.Partial
}
