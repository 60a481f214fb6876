//go:build linux

package main

import (
	"fmt"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

// front is a frontend of this program's own, for a device that no driver of Linux has
// taken: its nodes by xenbus, its pages by gntalloc, its port by evtchn. It does what its
// caller wants, not what the protocol says.
type front struct {
	store    *store
	dir      string // of its nodes
	back     string // the backend's
	*granted        // pages, to domain 0
	evtchn   int
	port     uint32
}

// newFront makes a frontend with so many pages granted to domain 0.
func newFront(s *store, kind string, id, pages int) (*front, error) {
	f := &front{store: s, dir: fmt.Sprintf("device/%s/%d", kind, id)}
	var err error
	if f.back, err = s.ask(xsRead, 0, f.dir+"/backend", ""); err != nil {
		return nil, err
	}
	if f.granted, err = grantPages(0, pages); err != nil {
		return nil, err
	}
	if f.evtchn, err = device("evtchn"); err != nil {
		return nil, err
	}
	if f.port, err = portTo(f.evtchn, 0); err != nil {
		return nil, err
	}
	return f, nil
}

// end gives the pages and the port back.
func (f *front) end() {
	_ = syscall.Munmap(f.mem)
	_ = syscall.Close(f.fd)
	_ = syscall.Close(f.evtchn)
}

// notify sends an event.
func (f *front) notify() error { return notify(f.evtchn, f.port) }

// word is a 32-bit word of the pages that the backend reads or writes too.
func (f *front) word(at int) *atomic.Uint32 { return (*atomic.Uint32)(unsafe.Pointer(&f.mem[at])) }

// set writes a node.
func (f *front) set(name, value string) error {
	_, err := f.store.ask(xsWrite, 0, f.dir+"/"+name, value)
	return err
}

// state returns the backend's state.
func (f *front) state() (int, error) {
	s, err := f.store.ask(xsRead, 0, f.back+"/state", "")
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(s)
}

// await waits until the backend has a state.
func (f *front) await(want int) error {
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(2 * time.Millisecond) {
		s, err := f.state()
		if err != nil || s == want {
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("the backend is in state %d, and not in %d", s, want)
		}
	}
}
