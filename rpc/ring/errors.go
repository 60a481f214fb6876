package ring

import (
	"errors"
	"fmt"
)

var (
	// ErrFormat: the region is too small, or does not hold a ring of this layout.
	ErrFormat = errors.New("ring: not a usable region")
	// ErrVersion: the host speaks another major version of the layout.
	ErrVersion = errors.New("ring: another version")
	// ErrNoHost: no host serves the region.
	ErrNoHost = errors.New("ring: no host")
	// ErrBusy: every slot of the region has a client.
	ErrBusy = errors.New("ring: all slots are taken")
	// ErrPeerReset: the other side died, started anew or dropped the connection. The
	// error's text says which.
	ErrPeerReset = errors.New("ring: connection reset by peer")
	// ErrProtocol: the other side broke the protocol; see ProtocolError.
	ErrProtocol = errors.New("ring: protocol violation")
)

// A ProtocolError says what the peer did that no correct peer does. The connection is
// dropped. It is an ErrProtocol.
type ProtocolError struct {
	Slot  int
	Field string // name of the word in docs/ring.md
	Value uint64 // what was read, once
	Why   string

	off int // the word's offset, for the peer
}

func (e *ProtocolError) Error() string {
	return fmt.Sprintf("ring: slot %d: %s is %#x: %s", e.Slot, e.Field, e.Value, e.Why)
}

// Is makes a ProtocolError an ErrProtocol.
func (e *ProtocolError) Is(target error) bool { return target == ErrProtocol }

func resetBecause(why string) error { return fmt.Errorf("%w: %s", ErrPeerReset, why) }

// Why a host ended a connection: the low byte of a slot's last word. For a violation
// the 12 bits above hold the offset of the word.
const (
	endClosed    = 1 // both sides had closed
	endViolation = 2 // the client broke the protocol
	endSilent    = 3 // the client's heartbeat stopped
	endLinger    = 4 // the host closed, the client did not in time
	endDead      = 5 // another client found the client dead
	endHost      = 6 // the host itself ends; written before it closes
)

// hostReason is endReason from the host's side.
func hostReason(low uint32) string {
	switch low & 0xff {
	case endClosed:
		return "both sides had closed"
	case endViolation:
		return "the client broke the protocol in " + wordName(int(low>>8&0xfff))
	case endSilent:
		return "the client's heartbeat stopped"
	case endLinger:
		return "the client did not close in time after the host had"
	}
	return "another client found the client dead"
}

// endReason spells out the low half of a last word. It comes from the peer, so that
// any value is possible.
func endReason(low uint32) string {
	switch low & 0xff {
	case endClosed:
		return "both sides had closed"
	case endViolation:
		return "the host saw a protocol violation in " + wordName(int(low>>8&0xfff))
	case endSilent:
		return "the host missed this client's heartbeat"
	case endLinger:
		return "the host closed it and did not wait longer"
	case endDead:
		return "another client found this one dead"
	case endHost:
		return "the host has ended"
	}
	return "the host gave no reason"
}
