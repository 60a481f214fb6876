//go:build linux

package main

import (
	"encoding/binary"
	"fmt"
	"strings"
	"syscall"
)

// store keeps a watch and an open transaction while its host's control plane dies, by
// Linux's /dev/xen/xenbus, which takes and gives messages of the wire protocol
// (xs_wire.h). It prints what a regression waits for as lines that begin with STORE.
type store struct {
	fd  int
	id  uint32
	buf []byte
	// The first event of each token is the watch's own.
	events []string
}

const (
	xsRead = iota + 2
	_
	xsWatch
	_
	xsBegin
	xsEnd
	xsWrite      = 11
	xsRm         = 13
	xsEvent      = 15
	xsError      = 16
	headerLength = 16
)

// receive returns the next message.
func (s *store) receive() (kind, id uint32, body string, err error) {
	for {
		if len(s.buf) >= headerLength {
			n := headerLength + int(binary.LittleEndian.Uint32(s.buf[12:]))
			if len(s.buf) >= n {
				kind, id = binary.LittleEndian.Uint32(s.buf), binary.LittleEndian.Uint32(s.buf[4:])
				body = string(s.buf[headerLength:n])
				s.buf = s.buf[n:]
				return kind, id, body, nil
			}
		}
		var b [4096]byte
		n, err := syscall.Read(s.fd, b[:])
		if err != nil {
			return 0, 0, "", err
		}
		s.buf = append(s.buf, b[:n]...)
	}
}

// ask sends a request and returns its answer. Events that come before it are kept.
func (s *store) ask(kind, tx uint32, words ...string) (string, error) {
	payload := strings.Join(words, "\x00")
	s.id++
	b := make([]byte, 0, headerLength+len(payload))
	for _, v := range []uint32{kind, s.id, tx, uint32(len(payload))} {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	if _, err := syscall.Write(s.fd, append(b, payload...)); err != nil {
		return "", fmt.Errorf("request %d: %w", kind, err)
	}
	for {
		got, id, body, err := s.receive()
		switch {
		case err != nil:
			return "", err
		case got == xsEvent:
			s.events = append(s.events, body)
		case got == xsError:
			return "", fmt.Errorf("request %d %q: %s", kind, words, strings.TrimRight(body, "\x00"))
		case got != kind || id != s.id:
			return "", fmt.Errorf("answer %d to request %d, %q", got, kind, words)
		default:
			return strings.TrimRight(body, "\x00"), nil
		}
	}
}

// event waits for an event.
func (s *store) event() (string, error) {
	for len(s.events) == 0 {
		kind, _, body, err := s.receive()
		if err != nil {
			return "", err
		}
		if kind == xsEvent {
			s.events = append(s.events, body)
		}
	}
	e := s.events[0]
	s.events = s.events[1:]
	return strings.Trim(strings.ReplaceAll(e, "\x00", "|"), "|"), nil
}

// inTransaction reads and writes in a transaction, waits until its host writes data/go,
// and ends it: what it was in the midst of is what it was.
func inTransaction() error {
	fd, err := device("xenbus")
	if err != nil {
		return err
	}
	s := &store{fd: fd}
	var tx uint32
	// Requests in turn; what is wrong ends them.
	ask := func(want string, kind, tx uint32, words ...string) {
		if err != nil {
			return
		}
		var got string
		if got, err = s.ask(kind, tx, words...); err == nil && want != "*" && got != want {
			err = fmt.Errorf("request %d %q: %q, want %q", kind, words, got, want)
		}
	}
	event := func(want string) {
		if err != nil {
			return
		}
		var got string
		if got, err = s.event(); err == nil && got != want {
			err = fmt.Errorf("event %q, want %q", got, want)
		}
	}
	ask("OK", xsWrite, 0, "data/kept", "before")
	ask("OK", xsWatch, 0, "data/go", "tok", "")
	event("data/go|tok")
	if err != nil {
		return err
	}
	number, err := s.ask(xsBegin, 0, "", "")
	if err != nil {
		return err
	}
	if _, err = fmt.Sscan(number, &tx); err != nil {
		return err
	}
	ask("before", xsRead, tx, "data/kept", "")
	ask("OK", xsWrite, tx, "data/kept", "after")
	if err == nil {
		fmt.Println("STORE waits")
	}
	event("data/go|tok")
	ask("after", xsRead, tx, "data/kept", "")
	ask("before", xsRead, 0, "data/kept", "")
	ask("OK", xsEnd, tx, "T", "")
	ask("after", xsRead, 0, "data/kept", "")
	ask("OK", xsWrite, 0, "data/go", "mine")
	event("data/go|tok")
	if err == nil {
		fmt.Println("STORE unbroken")
	}
	return err
}
