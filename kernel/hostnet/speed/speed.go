// Package speed is the two ends of a measurement of a TCP connection: the host listens
// for it (option speed=), a guest's program or another machine's asks.
package speed

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"
)

// A request is a kind and a count, little-endian.
const (
	Send      = 'T' // count MiB to the server, which answers with a byte when it has them
	Receive   = 'R' // count MiB from it
	RoundTrip = 'P' // count bytes to it and back, one at a time
)

const (
	requestSize = 5
	// most bounds a request's count, as nobody's patience does.
	most = 4096
	mib  = 1 << 20
)

// Serve does what the other side asks for until it asks for nothing more, in buf.
func Serve(c io.ReadWriter, buf []byte) error {
	for {
		var req [requestSize]byte
		if _, err := io.ReadFull(c, req[:]); err != nil {
			if err == io.EOF {
				return nil
			}
			return err
		}
		n := binary.LittleEndian.Uint32(req[1:])
		if n == 0 || n > most {
			return fmt.Errorf("a count of %d, of at most %d", n, most)
		}
		var err error
		switch req[0] {
		case Send:
			if err = take(c, buf, int(n)*mib); err == nil {
				_, err = c.Write(buf[:1])
			}
		case Receive:
			err = give(c, buf, int(n)*mib)
		case RoundTrip:
			for ; n > 0 && err == nil; n-- {
				if _, err = io.ReadFull(c, buf[:1]); err == nil {
					_, err = c.Write(buf[:1])
				}
			}
		default:
			err = fmt.Errorf("request %#x is unknown", req[0])
		}
		if err != nil {
			return err
		}
	}
}

// Ask has the other side do n of a kind, and tells how long that took.
func Ask(c io.ReadWriter, kind byte, n uint32, buf []byte) (time.Duration, error) {
	begin := time.Now()
	var req [requestSize]byte
	req[0] = kind
	binary.LittleEndian.PutUint32(req[1:], n)
	if _, err := c.Write(req[:]); err != nil {
		return 0, err
	}
	var err error
	switch kind {
	case Send:
		if err = give(c, buf, int(n)*mib); err == nil {
			_, err = io.ReadFull(c, buf[:1])
		}
	case Receive:
		err = take(c, buf, int(n)*mib)
	case RoundTrip:
		for ; n > 0 && err == nil; n-- {
			if _, err = c.Write(buf[:1]); err == nil {
				_, err = io.ReadFull(c, buf[:1])
			}
		}
	default:
		err = errors.New("no such kind")
	}
	return time.Since(begin), err
}

// give writes n bytes, take reads them.
func give(c io.Writer, buf []byte, n int) error {
	for n > 0 {
		k, err := c.Write(buf[:min(n, len(buf))])
		if err != nil {
			return err
		}
		n -= k
	}
	return nil
}

func take(c io.Reader, buf []byte, n int) error {
	for n > 0 {
		k, err := c.Read(buf[:min(n, len(buf))])
		if n -= k; err != nil && n > 0 {
			return err
		}
	}
	return nil
}
