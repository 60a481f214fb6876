package runtime

import "unsafe"

// The stacks of g0 and gsignal, the ones that Go does not grow, come from the
// kernel with an inaccessible page below them.

const guardSize = 4096

// guardedG makes a g whose stack of n bytes lies above a guard page.
func guardedG(n uintptr) *g {
	gp := new(g)
	systemstack(func() {
		p, err := mmap(nil, n+guardSize, _PROT_NONE, _MAP_ANON|_MAP_PRIVATE, -1, 0)
		if err == 0 {
			_, err = mmap(add(p, guardSize), n, _PROT_READ|_PROT_WRITE, _MAP_ANON|_MAP_FIXED|_MAP_PRIVATE, -1, 0)
		}
		if err != 0 {
			throw("nidus: no memory for a thread's stack")
		}
		gp.stack.lo = uintptr(p) + guardSize
		gp.stack.hi = gp.stack.lo + n
	})
	gp.stackguard0 = gp.stack.lo + stackGuard
	gp.stackguard1 = ^uintptr(0)
	return gp
}

// guardedFree gives such a stack back.
//
//go:systemstack
func guardedFree(s stack) {
	munmap(unsafe.Pointer(s.lo-guardSize), s.hi-s.lo+guardSize)
}
