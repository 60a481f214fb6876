//go:build tamago

package baremetal

// The VMap window: the Go runtime's reservations, and the stacks that Go does
// not grow. Frames come 2 MiB at a time where a range covers that much.
//
// What was mapped stays mapped: munmap keeps a range with its frames for the
// next mmap that fits, so no TLB ever holds an entry that became wrong.

type vrange struct{ lo, hi uint64 }

const maxRanges = 512

var (
	memlock   uint32
	vnext     uint64     = VMapBase + page2M
	lazy      [16]vrange // mapped when touched
	nlazy     int
	cached    [maxRanges]vrange // given back
	ncached   int
	vmapBytes uint64
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

// populate gives [va, va+n) zeroed memory. Preconditions: memlock, page aligned.
func populate(va, n uint64) bool {
	for end := va + n; va < end; {
		e := lookup(va)
		switch {
		case e&ptePresent != 0:
			clear64(va, page4K)
			va += page4K
		case va&(page2M-1) == 0 && end-va >= page2M && e == 0:
			f := kernelFrame2M()
			if f != 0 {
				clear64(DirectMap+f, page2M)
				if !mapPage(va, f, pteData, page2M) {
					return false
				}
				vmapBytes += page2M
				va += page2M
				continue
			}
			fallthrough
		default:
			f := kernelFrame()
			if f == 0 || !mapPage(va, f, pteData, page4K) {
				return false
			}
			vmapBytes += page4K
			va += page4K
		}
	}
	return true
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

	// A range of at least this size is mapped when touched: the runtime's
	// tables, of which it uses a fraction.
	lazyFrom = 16 << 20
)

func sysMmap(a, n, prot, flags uint64) uint64 {
	if flags&mapAnon == 0 {
		return errno(enodev)
	}
	if n == 0 || n > VMapEnd-VMapBase {
		return errno(einval)
	}
	n = (n + page4K - 1) &^ (page4K - 1)
	writable := prot&(protRead|protWrite) != 0
	if flags&mapFixed != 0 {
		if a < VMapBase || a >= VMapEnd || a&(page4K-1) != 0 {
			return errno(einval)
		}
		if writable && !populate(a, n) {
			return errno(enomem)
		}
		return a
	}
	if a != 0 {
		// Go's hints are all in the low half; refused, it grows from where it is.
		return errno(enomem)
	}
	for i := 0; i < ncached; i++ {
		if r := cached[i]; r.hi-r.lo == n {
			ncached--
			cached[i] = cached[ncached]
			if writable && !populate(r.lo, n) {
				return errno(enomem)
			}
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
	a = reserve(n, align)
	if a == 0 {
		return errno(enomem)
	}
	switch {
	case !writable:
	case n >= lazyFrom && nlazy < len(lazy):
		lazy[nlazy] = vrange{a, a + n}
		nlazy++
	case !populate(a, n):
		return errno(enomem)
	}
	return a
}

func sysMunmap(a, n uint64) uint64 {
	n = (n + page4K - 1) &^ (page4K - 1)
	if a < VMapBase || a >= VMapEnd || a&(page4K-1) != 0 || n > VMapEnd-a {
		return errno(einval)
	}
	for i := 0; i < nlazy; i++ {
		if lazy[i].lo < a+n && a < lazy[i].hi {
			return 0 // never given back by the runtime; keep it as it is
		}
	}
	if a+n == vnext && lookup(a)&ptePresent == 0 {
		vnext = a // an alignment's slack
		return 0
	}
	if ncached < maxRanges && lookup(a+page4K)&ptePresent != 0 {
		cached[ncached] = vrange{a, a + n}
		ncached++
	}
	return 0
}

// sysMadvise: the runtime relies on zeroes after MADV_DONTNEED.
func sysMadvise(a, n, advice uint64) uint64 {
	const dontNeed = 4
	if advice != dontNeed {
		return 0
	}
	if a < VMapBase || a&(page4K-1) != 0 || n > VMapEnd-a {
		return errno(einval)
	}
	for end := a + n; a < end; a += page4K {
		if lookup(a)&ptePresent != 0 {
			clear64(a, page4K)
		}
	}
	return 0
}

// touched maps the page of a lazy range at va. False: va is not in one.
func touched(va uint64) bool {
	for i := 0; i < nlazy; i++ {
		if va >= lazy[i].lo && va < lazy[i].hi {
			lock(&memlock)
			ok := lookup(va)&ptePresent != 0 || populate(va&^(page4K-1), page4K)
			unlock(&memlock)
			return ok
		}
	}
	return false
}
