package speed

import (
	"net"
	"strings"
	"testing"
	"time"
)

// TestBothEnds: what one end asks for, the other does, again and again on one connection.
func TestBothEnds(t *testing.T) {
	here, there := net.Pipe()
	done := make(chan error, 1)
	go func() { done <- Serve(there, make([]byte, 1<<16)) }()
	for _, c := range []struct {
		kind byte
		n    uint32
	}{{Send, 2}, {Receive, 3}, {RoundTrip, 10}, {Send, 1}} {
		if took, err := Ask(here, c.kind, c.n, make([]byte, 1<<15)); err != nil || took <= 0 {
			t.Errorf("%c %d: %v, %v", c.kind, c.n, took, err)
		}
	}
	here.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestRefused: what isn't a request ends the connection, and nothing is done for it.
func TestRefused(t *testing.T) {
	for req, want := range map[string]string{
		"X\x01\x00\x00\x00": "0x58 is unknown", "T\x00\x00\x00\x00": "count of 0", "R\x01\x10\x00\x00": "count of 4097", "P\xff\xff\xff\xff": "of at most",
	} {
		here, there := net.Pipe()
		done := make(chan error, 1)
		go func() { done <- Serve(there, make([]byte, 1<<16)) }()
		if _, err := here.Write([]byte(req)); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-done:
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%q: %v, want %q", req, err, want)
			}
		case <-time.After(10 * time.Second):
			t.Errorf("%q: still served", req)
		}
		here.Close()
	}
}
