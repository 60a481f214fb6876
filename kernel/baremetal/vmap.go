//go:build tamago

package baremetal

import (
	"sync/atomic"

	"nidus/mm"
)

// The VMap window: the Go runtime's memory, and the stacks that Go does not grow.
//
// Large ranges are mapped when touched, touchSize at a time: until then their entries
// hold a mark. What the runtime gives back (MADV_DONTNEED, munmap) is unmapped on every
// CPU before its frames are free again.

type vrange struct{ lo, hi uint64 }

const (
	// pteLazy marks an entry that is not present: memory, when touched.
	pteLazy = 1 << 9

	// A range below this size is mapped at once: the stacks of g0 and gsignal,
	// on which the kernel itself writes.
	lazyFrom = 64 << 10

	// touchSize is what one touch maps, in bytes, as far as it is marked. The runtime
	// does not know of it, and what it has not used it never gives back: it takes it
	// for given back. So this is not 2 MiB, with which a heap that has been large
	// keeps frames by the hundred that nothing is in.
	touchSize = 64 << 10

	maxRanges = 512
)

var (
	memlock uint32
	vnext   uint64            = VMapBase + page2M
	cached  [maxRanges]vrange // addresses given back
	ncached int

	gone    [256]mm.MFN // unmapped, and not free before every CPU has forgotten them
	ngone   int
	flushes uint64
)

// reserve takes n bytes of addresses. Preconditions: memlock.
func reserve(n, align uint64) uint64 {
	a := (vnext + align - 1) &^ (align - 1)
	if a+n > VMapEnd || a+n < a {
		return 0
	}
	vnext = a + n
	return a
}

// slot returns the address of the entry for va at the level of shift (21 or 12),
// making tables on the way; a marked 2 MiB entry is made a table of marks. 0: no
// memory.
func slot(va uint64, shift uint) uint64 {
	t := hostL4
	for s := uint(39); s > shift; s -= 9 {
		e := table(t, va>>s&511)
		if ld64(e) == pteLazy {
			f := kernelFrame()
			if f == 0 {
				return 0
			}
			for i := uint64(0); i < 512; i++ {
				st64(table(f, i), pteLazy)
			}
			st64(e, f|ptePresent|pteWrite)
		}
		if t = child(t, va>>s&511); t == 0 {
			return 0
		}
	}
	return table(t, va>>shift&511)
}

// populate gives [va, va+n) zeroed memory at once. Preconditions: memlock, page
// aligned.
func populate(va, n uint64) bool {
	for end := va + n; va < end; va += page4K {
		if e := lookup(va); e&ptePresent != 0 {
			clear64(va, page4K)
			continue
		}
		if !mapNew(va) {
			return false
		}
	}
	return true
}

// mapNew maps a zeroed page of 4 KiB. Preconditions: memlock, nothing is there.
func mapNew(va uint64) bool {
	e := slot(va, 12)
	if e == 0 {
		return false
	}
	f := kernelFrame()
	if f == 0 {
		return false
	}
	st64(e, f|pteData)
	return true
}

// promise makes [va, va+n) memory when touched. Preconditions: memlock; nothing, or
// marks, or memory that reads as anything, is there.
func promise(va, n uint64) bool {
	for end := va + n; va < end; {
		if va&(page2M-1) == 0 && end-va >= page2M {
			if e := slot(va, 21); e != 0 && ld64(e)&^pteLazy == 0 {
				st64(e, pteLazy)
				va += page2M
				continue
			}
		}
		switch e := lookup(va); {
		case e&ptePresent != 0:
			clear64(va, page4K)
		default:
			s := slot(va, 12)
			if s == 0 {
				return false
			}
			st64(s, pteLazy)
		}
		va += page4K
	}
	return true
}

// touched maps what is marked at va. False: nothing is promised there.
func touched(va uint64) bool {
	if va < VMapBase || va >= VMapEnd {
		return false
	}
	lock(&memlock)
	ok := touchLocked(va)
	unlock(&memlock)
	return ok
}

func touchLocked(va uint64) bool {
	e := lookup(va)
	if e&ptePresent != 0 {
		return true // another CPU was faster
	}
	if e&pteLazy == 0 {
		return false
	}
	if !mapNew(va &^ (page4K - 1)) {
		fatal("out of memory: no frame for the hypervisor's own heap")
	}
	lo := va &^ (touchSize - 1)
	for a := lo; a < lo+touchSize; a += page4K {
		if lookup(a) == pteLazy && !mapNew(a) {
			break // it isn't needed yet
		}
	}
	return true
}

// slotIfThere is the address of the 2 MiB entry for va, 0 if a table is missing.
func slotIfThere(va uint64) uint64 {
	t := hostL4
	for s := uint(39); s > 21; s -= 9 {
		e := ld64(table(t, va>>s&511))
		if e&ptePresent == 0 {
			return 0
		}
		t = e & pteAddr
	}
	return table(t, va>>21&511)
}

// touch makes sure that the kernel can access [p, p+n) of the runtime's memory: a
// page fault inside the kernel is fatal.
func touch(p, n uint64) {
	if p < VMapBase || p >= VMapEnd || n > VMapEnd-p {
		return // the image's own memory, or a null pointer
	}
	for a := p &^ (page4K - 1); a < p+n; a += page4K {
		if lookup(a)&ptePresent == 0 {
			touched(a)
		}
	}
}

// release takes the memory of [a, a+n) away and leaves mark in its entries.
// Preconditions: memlock, page aligned.
func release(a, n, mark uint64) {
	for end := a + n; a < end; {
		s := slotIfThere(a)
		if s == 0 || ld64(s) == 0 { // nothing was ever there
			a = a&^(page2M-1) + page2M
			continue
		}
		e := ld64(s)
		if e == pteLazy {
			if a&(page2M-1) == 0 && end-a >= page2M {
				st64(s, mark)
			}
			a = a&^(page2M-1) + page2M
			continue
		}
		p := table(e&pteAddr, a>>12&511)
		if e := ld64(p); e&ptePresent != 0 {
			st64(p, mark)
			retire(mm.MFN(e & pteAddr >> 12))
		} else if e != 0 {
			st64(p, mark)
		}
		a += page4K
	}
	forget()
}

func retire(m mm.MFN) {
	gone[ngone] = m
	if ngone++; ngone == len(gone) {
		forget()
	}
}

// forget makes every CPU drop its translations, and then frees what was unmapped.
func forget() {
	if ngone == 0 {
		return
	}
	flushAll()
	for _, m := range gone[:ngone] {
		Frames.Free(m, 0)
	}
	ngone = 0
}

// flushAll empties every CPU's TLB, and waits for it. Preconditions: memlock, not
// klock, interrupts off. A CPU looks for the request when it enters the kernel, and
// when it spins on a lock with interrupts off (lock in asm_amd64.s). The IPI is sent
// again where it may get lost.
func flushAll() {
	me := pcpuAt(cpuself())
	flushes++
	for i := uint64(0); i < ncpu; i++ {
		if c := pcpuOf(i); c != me && c.online != 0 {
			atomic.StoreUint64(&c.flushWant, flushes)
			ipi(c.apicid, icrFixed|vecFlush)
		}
	}
	flushTLB()
	for i := uint64(0); i < ncpu; i++ {
		c := pcpuOf(i)
		for again := rdtsc(); c != me && c.online != 0 && dying == 0 && atomic.LoadUint64(&c.flushDone) < atomic.LoadUint64(&c.flushWant); {
			pause()
			if losesIRQs && rdtsc()-again > tscHz/1000 {
				again = rdtsc()
				ipi(c.apicid, icrFixed|vecFlush)
			}
		}
	}
}

// flushIfWanted does what flushAll of another CPU asks for.
func flushIfWanted(c *pcpu) {
	if w := atomic.LoadUint64(&c.flushWant); w != c.flushDone {
		flushTLB()
		atomic.StoreUint64(&c.flushDone, w)
	}
}

// guardedStack returns the top of a stack of n bytes with a page below it that is
// never mapped.
func guardedStack(n uint64) uint64 {
	a := reserve(n+page4K, page4K)
	if a == 0 || !populate(a+page4K, n) {
		fatal("no memory for a CPU's stacks")
	}
	return a + page4K + n
}

const (
	protRead  = 1
	protWrite = 2
	mapFixed  = 0x10
	mapAnon   = 0x20
)

func sysMmap(a, n, prot, flags uint64) uint64 {
	if flags&mapAnon == 0 {
		return errno(enodev)
	}
	if n == 0 || n > VMapEnd-VMapBase {
		return errno(einval)
	}
	n = (n + page4K - 1) &^ (page4K - 1)
	if flags&mapFixed != 0 {
		if a < VMapBase || a >= VMapEnd || a&(page4K-1) != 0 || n > VMapEnd-a {
			return errno(einval)
		}
	} else if a = vrangeFor(a, n); a == 0 {
		// Go's hints are all in the low half; refused, it grows from where it is.
		return errno(enomem)
	}
	if prot&(protRead|protWrite) == 0 {
		return a
	}
	ok := false
	if n < lazyFrom {
		ok = populate(a, n)
	} else {
		ok = promise(a, n)
	}
	if !ok {
		return errno(enomem)
	}
	return a
}

// vrangeFor finds addresses; a hint is refused.
func vrangeFor(hint, n uint64) uint64 {
	if hint != 0 {
		return 0
	}
	for i := 0; i < ncached; i++ {
		if r := cached[i]; r.hi-r.lo == n {
			ncached--
			cached[i] = cached[ncached]
			return r.lo
		}
	}
	align := uint64(page4K)
	if n >= page2M {
		align = page2M
	}
	if n >= 64<<20 {
		align = 64 << 20
	}
	return reserve(n, align)
}

func sysMunmap(a, n uint64) uint64 {
	n = (n + page4K - 1) &^ (page4K - 1)
	if a < VMapBase || a >= VMapEnd || a&(page4K-1) != 0 || n > VMapEnd-a {
		return errno(einval)
	}
	release(a, n, 0)
	if a+n == vnext {
		vnext = a // an alignment's slack
	} else if ncached < maxRanges {
		cached[ncached] = vrange{a, a + n}
		ncached++
	}
	return 0
}

// sysMadvise: after MADV_DONTNEED the runtime relies on zeroes.
func sysMadvise(a, n, advice uint64) uint64 {
	const dontNeed = 4
	if advice != dontNeed {
		return 0
	}
	n = (n + page4K - 1) &^ (page4K - 1)
	if a < VMapBase || a >= VMapEnd || a&(page4K-1) != 0 || n > VMapEnd-a {
		return errno(einval)
	}
	release(a, n, pteLazy)
	return 0
}
