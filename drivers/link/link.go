// Package link is what network ports are to those who use them: guests' interfaces,
// host's network cards, the host's own TCP/IP stack; a bridge joins them.
//
// A frame's first bytes are a copy that is the host's own, so that what a bridge
// looked at is what leaves; the rest may be in pages of a guest, which a card reads by
// DMA, and software through mm.DirectMap. A guest can change those bytes at any moment.
package link

import (
	"errors"
	"fmt"
	"sync/atomic"

	"nidus/mm"
)

// Limits of one frame.
const (
	// HeadSize is the room of a frame's head: Ethernet with a VLAN tag, IPv6 and TCP with
	// options fit.
	HeadSize = 192
	// HeadFill is how much of a head a port fills at most: a bridge may have to put a VLAN
	// tag in.
	HeadFill = HeadSize - 4
	// HeaderSize is that of Ethernet's header, without a VLAN tag.
	HeaderSize = 14
	// MaxSegments is how many segments follow the head.
	MaxSegments = 18
	// MaxFrame is the longest frame in bytes, with offloaded segmentation.
	MaxFrame = 65536 + 22
)

// Segmentation is how a frame that is longer than the MTU is to be cut.
type Segmentation uint8

// Kinds of Segmentation.
const (
	Whole Segmentation = iota // not at all
	TCPv4
	TCPv6
)

// Checksum is what is known of, or left to do for, a frame's TCP or UDP checksum.
type Checksum uint8

// The states of a Checksum.
const (
	// Complete: it is in the frame; nobody checked it.
	Complete Checksum = iota
	// Partial: the field at CsumStart+CsumOffset has the pseudo header's sum, and whoever
	// lets the frame leave the machine adds that of the bytes from CsumStart on.
	Partial
	// Verified: it is in the frame, and was right.
	Verified
)

// Segment is a piece of one memory frame: Off+Len is at most mm.PageSize, and Len isn't 0.
type Segment struct {
	Frame    mm.MFN
	Off, Len uint16
}

// Frame is an Ethernet frame from the destination address on, without the FCS. Who sends
// it owns it again when Done is called; until then nobody changes it.
type Frame struct {
	// Head are its first bytes, 14 at least, and at most HeadSize: the headers that
	// bridges, filters and offloads read are in it, as far as they fit. HeadAt is where it
	// is for a device, in host's memory.
	Head   []byte
	HeadAt Segment
	// Segments are the bytes after Head.
	Segments []Segment

	Checksum              Checksum
	CsumStart, CsumOffset uint16 // in bytes from the frame's begin, for Partial
	Segmentation          Segmentation
	MSS                   uint16 // bytes of TCP data in each piece, if Segmentation isn't Whole

	// From is the port that the frame came in by, whatever its addresses say.
	From ID
	// Lender is whom to ask before the frame is kept because its receiver has no room;
	// Buffers is how many of the Lender's it has, 0 if it is nil.
	Lender  *Lender
	Buffers int

	// Done is called once, by any goroutine and maybe before Send returns, when nothing
	// of the frame is needed any more. It must not block and may not send.
	Done func(f *Frame)
}

// Len is the frame's length in bytes.
func (f *Frame) Len() int {
	n := len(f.Head)
	for _, s := range f.Segments {
		n += int(s.Len)
	}
	return n
}

// Drop is Done for frames that nobody takes.
func Drop(frames []*Frame) {
	for _, f := range frames {
		f.Done(f)
	}
}

// ID is a port's number, by which those who share something among senders know frames of
// the same one. There is no port 0.
type ID uint64

var ids atomic.Uint64

// NewID returns one that nobody has.
func NewID() ID { return ID(ids.Add(1)) }

// Offloads is what a port takes of frames that are sent to it. What it doesn't take,
// the sender does before (package offload).
type Offloads struct {
	Checksum bool // Partial, of TCP and UDP on IPv4 and IPv6
	TCPv4    bool // Segmentation
	TCPv6    bool
	Gather   int // segments after the head, at most MaxSegments; 0: the head alone
}

// MAC is an Ethernet address.
type MAC [6]byte

// Broadcast is everybody's address.
var Broadcast = MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// Group tells whether m is the address of several.
func (m MAC) Group() bool { return m[0]&1 != 0 }

// String writes an address as 52:54:00:12:34:56.
func (m MAC) String() string {
	return fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4], m[5])
}

// Info is what a port is. It does not change.
type Info struct {
	Name string // for people and for configurations: eth0, vif3.0
	MAC  MAC
	MTU  int // of the payload, without Ethernet's header: 1500
	Take Offloads
}

// ErrGone is what a port that was closed, or whose device is gone, says.
var ErrGone = errors.New("link: the port is gone")

// Receiver takes frames that came in by a port. It owns each until it calls Done.
// The slice is the caller's. It must not block: what it can't take it drops, with Done.
type Receiver func(frames []*Frame)

// Port is one end of a link, open. Its methods may be called by several goroutines.
type Port interface {
	Info() Info
	// Send gives frames to what is behind the port: a guest, a wire. It doesn't wait: what
	// there is no room for is dropped, counted, and Done. The slice is the caller's.
	Send(frames []*Frame)
	// Receive says who takes what comes in, from now on; nil for nobody.
	Receive(r Receiver)
	// Up tells whether there is a link. changed is closed at the next change.
	Up() (up bool, changed <-chan struct{})
	// Stats are the counts so far.
	Stats() Stats
	// Close returns when no Receiver will be called any more and all frames are Done.
	Close() error
}

// Stats are counts since a port was made. Sent is what went out by Send.
type Stats struct {
	SentFrames, SentBytes, SentDropped                uint64
	ReceivedFrames, ReceivedBytes, ReceivedDropped    uint64
	SentErrors, ReceivedErrors, ReceivedBad, NoBuffer uint64
}
