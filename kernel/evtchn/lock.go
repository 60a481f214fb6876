package evtchn

import (
	"runtime"
	"sync"
	"sync/atomic"
)

// lock is a mutex that code without a goroutine, which can't wait, may take as well, if it is free: see Domain.Quick.
type lock struct {
	mu   sync.Mutex
	held atomic.Uint32
}

// Lock waits until the lock is free, and takes it.
func (l *lock) Lock() {
	l.mu.Lock()
	for !l.held.CompareAndSwap(0, 1) {
		runtime.Gosched() // a Quick on another CPU has it, for some ten instructions
	}
}

// Unlock gives back what Lock took.
func (l *lock) Unlock() {
	l.held.Store(0)
	l.mu.Unlock()
}

// try takes the lock if it is free and tells whether it was. drop gives it back.
//
//go:nosplit
func (l *lock) try() bool { return l.held.CompareAndSwap(0, 1) }

//go:nosplit
func (l *lock) drop() { l.held.Store(0) }
