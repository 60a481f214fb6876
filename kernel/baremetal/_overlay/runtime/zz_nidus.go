package runtime

import "unsafe"

// The stacks of g0 and gsignal, the ones that Go does not grow, come from the
// kernel with an inaccessible page below them. Those of threads that ended are kept
// for the next ones, up to a bound: to unmap one, every CPU must empty its TLB.

const (
	guardSize    = 4096
	guardedStack = 32 << 10 // of every such stack
	maxGuarded   = 64       // kept: 2 MiB
)

var guarded struct {
	lock mutex // a leaf: nothing is taken under it
	n    int
	lo   [maxGuarded]uintptr // lowest addresses of the stacks kept
}

// guardedG makes a g whose stack lies above a guard page.
func guardedG() *g {
	gp := new(g)
	systemstack(func() { gp.stack = guardedAlloc() })
	gp.stackguard0 = gp.stack.lo + stackGuard
	gp.stackguard1 = ^uintptr(0)
	return gp
}

//go:systemstack
func guardedAlloc() stack {
	lock(&guarded.lock)
	lo := uintptr(0)
	if guarded.n > 0 {
		guarded.n--
		lo = guarded.lo[guarded.n]
	}
	unlock(&guarded.lock)
	if lo == 0 {
		p, err := mmap(nil, guardedStack+guardSize, _PROT_NONE, _MAP_ANON|_MAP_PRIVATE, -1, 0)
		if err == 0 {
			_, err = mmap(add(p, guardSize), guardedStack, _PROT_READ|_PROT_WRITE, _MAP_ANON|_MAP_FIXED|_MAP_PRIVATE, -1, 0)
		}
		if err != 0 {
			throw("nidus: no memory for a thread's stack")
		}
		lo = uintptr(p) + guardSize
	}
	return stack{lo, lo + guardedStack}
}

// guardedFree gives such a stack back.
//
//go:systemstack
func guardedFree(s stack) {
	lock(&guarded.lock)
	kept := guarded.n < maxGuarded
	if kept {
		guarded.lo[guarded.n] = s.lo
		guarded.n++
	}
	unlock(&guarded.lock)
	if !kept {
		munmap(unsafe.Pointer(s.lo-guardSize), s.hi-s.lo+guardSize)
	}
}
