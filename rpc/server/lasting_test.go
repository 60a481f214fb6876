package server

import (
	"context"
	"errors"
	"net"
	"testing"
)

// A connection that comes between two who serve is the second one's.
func TestLasting(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	a := NewLasting(l)
	first, end := context.WithCancel(t.Context())
	end()
	if c, err := a.Until(first).Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("after its end: %v, %v", c, err)
	}
	far, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	second := a.Until(t.Context())
	near, err := second.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if near.RemoteAddr().String() != far.LocalAddr().String() {
		t.Errorf("a connection of %v, want %v", near.RemoteAddr(), far.LocalAddr())
	}
	near.Close()
	second.Close()
	if far, err := net.Dial("tcp", l.Addr().String()); err != nil {
		t.Errorf("who served has ended the listener: %v", err)
	} else {
		far.Close()
	}
	(<-a.conns).Close()
	l.Close()
	if _, err := second.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("%v", err)
	}
}
