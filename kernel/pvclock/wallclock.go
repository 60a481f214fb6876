package pvclock

import "nidus/mm"

// Layout says which struct shared_info a guest has.
type Layout uint8

// The layouts of struct shared_info (xen.h, arch-x86/xen.h).
const (
	Shared64 Layout = iota // x86-64
	Shared32               // i386
)

// Offsets of wc_version in struct shared_info, with wc_sec and wc_nsec after
// it; and of wc_sec_hi, which i386 keeps in struct arch_shared_info.
const (
	wc64   = 3072
	wcHi64 = 3084
	wc32   = 2304
	wcHi32 = 2340
)

// UpdateWallclock writes the wall-clock time of system time zero (seconds and
// nanoseconds since 1970, UTC) to a shared_info page. nsec is below 10^9.
func UpdateWallclock(pg mm.Page, l Layout, sec uint64, nsec uint32) {
	at, hi := wc64, wcHi64
	if l == Shared32 {
		at, hi = wc32, wcHi32
	}
	odd := pg.Load32(at) | 1
	pg.Store32(at, odd)
	pg.Store32(at+4, uint32(sec))
	pg.Store32(at+8, nsec)
	pg.Store32(hi, uint32(sec>>32))
	pg.Store32(at, odd+1)
}

// BootTime splits what UpdateWallclock takes: the wall clock now, in ns since
// 1970, less the system time now.
func BootTime(wallNow, systemNow uint64) (sec uint64, nsec uint32) {
	b := wallNow - min(wallNow, systemNow)
	return b / 1e9, uint32(b % 1e9)
}
