//go:build tamago

package baremetal

import "math/bits"

var (
	tscHz      uint64
	tscMul     uint64 // ns = tsc*mul >> 32
	tsc0       uint64
	wallOffset int64 // ns since 1970 at time 0
)

// Nanotime is the monotonic clock, in ns since boot.
//
//go:nosplit
func Nanotime() int64 { return nsAt(rdtsc()) }

//go:nosplit
func nsAt(tsc uint64) int64 {
	hi, lo := bits.Mul64(tsc-tsc0, tscMul)
	return int64(hi<<32 | lo>>32)
}

// tscAt is nsAt's inverse, rounded up.
func tscAt(ns int64) uint64 {
	hi, lo := bits.Mul64(uint64(ns), tscHz)
	q, _ := bits.Div64(hi, lo, 1e9)
	return tsc0 + q + 1
}

// TSCHz is the time-stamp counter's frequency.
func TSCHz() uint64 { return tscHz }

// TSC reads the time-stamp counter.
func TSC() uint64 { return rdtsc() }

// TSCStart is the counter's value at time 0.
func TSCStart() uint64 { return tsc0 }

// SetWall sets the time of day, in ns since 1970.
func SetWall(ns int64) { wallOffset = ns - Nanotime() }

// pit waits n ticks of 1193182 Hz on channel 2; false if it does not count.
func pit(n uint16) bool {
	out8(0x61, in8(0x61)&^2|1)
	out8(0x43, 0xb0)
	out8(0x42, byte(n))
	out8(0x42, byte(n>>8))
	for i := 0; i < 10_000_000; i++ {
		if in8(0x61)&0x20 != 0 {
			return true
		}
	}
	return false
}

// calibrate measures the TSC. Temporary: the PIT alone.
func calibrate() {
	pit(11931)
	a := rdtsc()
	pit(11931)
	tscHz = (rdtsc() - a) * 100
	tscMul = (1e9 << 32) / tscHz
	tsc0 = bootTSC
}

var seed uint64 = 0x9e3779b97f4a7c15

// randomWord is early entropy: RDRAND where there is one, jitter of the TSC too.
func randomWord() uint64 {
	for i := 0; i < 8; i++ {
		seed ^= rdtsc()
		seed ^= seed << 13
		seed ^= seed >> 7
		seed ^= seed << 17
	}
	return seed
}
