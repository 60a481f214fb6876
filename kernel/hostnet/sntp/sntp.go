// Package sntp asks servers for the time (RFC 4330).
package sntp

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"time"
)

// Port is NTP's.
const Port = "123"

// size is that of a message without authentication, in bytes.
const size = 48

// Fields of a message (RFC 4330, 4).
const (
	leapUnknown    = 3
	modeClient     = 3
	modeServer     = 4
	version        = 4
	maxStratum     = 15
	receiveAt      = 32
	transmitAt     = 40
	originateAt    = 24
	tooLong        = 2 * time.Second // a trip that says nothing any more
	eraUnixSeconds = 2208988800      // from 1900 to 1970
)

// Answer is what a server says.
type Answer struct {
	// Offset is how much the own clock is behind.
	Offset time.Duration
	// Delay is how long the way there and back took: Offset is wrong by at most half of it.
	Delay   time.Duration
	Stratum int
}

// Ask asks a server, HOST or HOST:PORT, by the clock now.
func Ask(ctx context.Context, dial func(ctx context.Context, network, address string) (net.Conn, error), server string, now func() time.Time) (Answer, error) {
	if _, _, err := net.SplitHostPort(server); err != nil {
		server = net.JoinHostPort(server, Port)
	}
	c, err := dial(ctx, "udp", server)
	if err != nil {
		return Answer{}, err
	}
	defer context.AfterFunc(ctx, func() { c.Close() })()
	defer c.Close()
	q := make([]byte, size)
	q[0] = version<<3 | modeClient
	rand.Read(q[transmitAt:]) // it comes back: who can't see the question can't answer it
	begin := now()
	if _, err := c.Write(q); err != nil {
		return Answer{}, err
	}
	c.SetReadDeadline(time.Now().Add(tooLong))
	a := make([]byte, 2*size)
	for {
		n, err := c.Read(a)
		if err != nil {
			return Answer{}, err
		}
		end := now()
		if n >= size && string(a[originateAt:originateAt+8]) == string(q[transmitAt:]) {
			return parse(a[:n], begin, end)
		}
	}
}

var errUnsynchronized = errors.New("the server does not know the time itself")

// parse reads an answer to a question of begin, that came at end.
func parse(a []byte, begin, end time.Time) (Answer, error) {
	stratum := int(a[1])
	switch {
	case a[0]&7 != modeServer:
		return Answer{}, fmt.Errorf("it is no server's answer: mode %d", a[0]&7)
	case stratum == 0: // the kiss of death
		return Answer{}, fmt.Errorf("the server refuses: %q", a[12:16])
	case a[0]>>6 == leapUnknown, stratum > maxStratum, binary.BigEndian.Uint64(a[transmitAt:]) == 0:
		return Answer{}, errUnsynchronized
	}
	received, sent := timeOf(a[receiveAt:], end), timeOf(a[transmitAt:], end)
	d := end.Sub(begin) - sent.Sub(received)
	if d < 0 || sent.Before(received) {
		return Answer{}, errors.New("the server's times contradict each other")
	}
	return Answer{Offset: (received.Sub(begin) + sent.Sub(end)) / 2, Delay: d, Stratum: stratum}, nil
}

// timeOf reads a timestamp, of the era that is next to a time (RFC 4330, 3).
func timeOf(b []byte, near time.Time) time.Time {
	sec, frac := uint64(binary.BigEndian.Uint32(b)), uint64(binary.BigEndian.Uint32(b[4:]))
	const era = 1 << 32
	unix := int64(sec) - eraUnixSeconds
	// A clock without a battery begins long ago; time doesn't go back before 2020.
	least := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC).Unix()
	for unix < max(least, near.Unix()-era/2) {
		unix += era
	}
	return time.Unix(unix, int64(frac*1e9>>32))
}
