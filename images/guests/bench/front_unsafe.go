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
	gntalloc int
	evtchn   int
	mem      []byte // pages that domain 0 may write
	refs     []uint32
	port     uint32
}

// newFront makes a frontend with so many pages granted to domain 0.
func newFront(s *store, kind string, id, pages int) (*front, error) {
	f := &front{store: s, dir: fmt.Sprintf("device/%s/%d", kind, id)}
	var err error
	if f.back, err = s.ask(xsRead, 0, f.dir+"/backend", ""); err != nil {
		return nil, err
	}
	if f.gntalloc, err = device("gntalloc"); err != nil {
		return nil, err
	}
	if f.evtchn, err = device("evtchn"); err != nil {
		return nil, err
	}
	arg := struct {
		dom, flags uint16
		count      uint32
		index      uint64
		refs       [16]uint32
	}{flags: 1, count: uint32(pages)} // GNTALLOC_FLAG_WRITABLE
	if err := ioctl(f.gntalloc, 5, 24, unsafe.Pointer(&arg)); err != nil { // IOCTL_GNTALLOC_ALLOC_GREF
		return nil, fmt.Errorf("allocate %d grants: %w", pages, err)
	}
	f.refs = arg.refs[:pages]
	if f.mem, err = syscall.Mmap(f.gntalloc, int64(arg.index), pages*pageSize, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED); err != nil {
		return nil, fmt.Errorf("map own pages: %w", err)
	}
	dom0 := uint32(0)
	port, _, e := syscall.Syscall(syscall.SYS_IOCTL, uintptr(f.evtchn), ioc('E', 2, 4), uintptr(unsafe.Pointer(&dom0))) // IOCTL_EVTCHN_BIND_UNBOUND_PORT
	if e != 0 {
		return nil, fmt.Errorf("bind unbound port: %w", e)
	}
	f.port = uint32(port)
	return f, nil
}

// end gives the pages and the port back: without the devices' descriptors Linux takes the
// grants back as soon as they are used no more.
func (f *front) end() {
	_ = syscall.Munmap(f.mem)
	_ = syscall.Close(f.gntalloc)
	_ = syscall.Close(f.evtchn)
}

// notify sends an event.
func (f *front) notify() error {
	if _, _, e := syscall.Syscall(syscall.SYS_IOCTL, uintptr(f.evtchn), ioc('E', 4, 4), uintptr(unsafe.Pointer(&f.port))); e != 0 { // IOCTL_EVTCHN_NOTIFY
		return e
	}
	return nil
}

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
