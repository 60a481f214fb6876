//go:build linux

package main

import (
	"io"
	"syscall"
	"unsafe"
)

// Loops of system calls that are measured go past Go's runtime. To its monitor a goroutine that makes
// calls and never gives way is one that has to be made to: it takes the P away in each of them, and looks
// every 20 us, which are thousands of timers and switches between threads a second, under any hypervisor (runtime,
// sysmon and retake). Nobody else waits for the P here.

// raw is a file's descriptor.
type raw int

func (r raw) Read(p []byte) (int, error) {
	n, err := r.move(syscall.SYS_READ, p)
	if n == 0 && err == nil && len(p) > 0 {
		err = io.EOF
	}
	return n, err
}

func (r raw) Write(p []byte) (int, error) { return r.move(syscall.SYS_WRITE, p) }

func (r raw) move(call uintptr, p []byte) (int, error) {
	for {
		n, _, e := syscall.RawSyscall(call, uintptr(r), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)))
		if e == 0 {
			return int(n), nil
		} else if e != syscall.EINTR {
			return 0, e
		}
	}
}
