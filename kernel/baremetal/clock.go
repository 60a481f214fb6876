//go:build tamago

package baremetal

import (
	"math/bits"
	"sync/atomic"

	"nidus/kernel/boot"
	"nidus/kernel/cpu"
)

// clock turns TSC into time: ns = (tsc-tsc0)*mul >> 32.
type clock struct{ tsc0, mul uint64 }

// theTime is the clock. SetTSCHz changes it while others read: clockSeq is odd then, and
// another number afterwards. A reading of the counter counts by the clock that held
// before and after it, so that none goes back.
var (
	theTime    clock
	clockSeq   uint32
	tscHz      uint64
	wallOffset int64 // ns since 1970 at time 0
)

// maxWait is the longest time, in ns, that a timer is set for.
const maxWait = 1 << 50 // 13 days

// Nanotime is the monotonic clock, in ns since boot.
//
//go:nosplit
func Nanotime() int64 {
	for {
		seq := atomic.LoadUint32(&clockSeq)
		tsc, c := rdtsc(), theTime
		if seq&1 == 0 && atomic.LoadUint32(&clockSeq) == seq {
			return c.ns(tsc)
		}
		pause()
	}
}

//go:nosplit
func (c clock) ns(tsc uint64) int64 {
	hi, lo := bits.Mul64(tsc-c.tsc0, c.mul)
	return int64(hi<<32 | lo>>32)
}

// theClock returns the clock whole.
//
//go:nosplit
func theClock() clock {
	for {
		seq := atomic.LoadUint32(&clockSeq)
		c := theTime
		if seq&1 == 0 && atomic.LoadUint32(&clockSeq) == seq {
			return c
		}
		pause()
	}
}

// tscAt is ns's inverse, rounded up. Preconditions: ns is at most some maxWait.
func tscAt(ns int64) uint64 {
	hi, lo := bits.Mul64(uint64(ns), tscHz)
	q, _ := bits.Div64(hi, lo, 1e9)
	return theClock().tsc0 + q + 1
}

// TSCHz is the time-stamp counter's frequency.
func TSCHz() uint64 { return tscHz }

// TSC reads the time-stamp counter.
func TSC() uint64 { return rdtsc() }

// At is the time of a reading of the TSC, in ns since boot.
func At(tsc uint64) int64 { return theClock().ns(tsc) }

// TSCStart is the counter's value at time 0.
func TSCStart() uint64 { return theClock().tsc0 }

// SetWall sets the time of day, in ns since 1970.
func SetWall(ns int64) { atomic.StoreInt64(&wallOffset, ns-Nanotime()) }

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

var (
	evidence boot.TSCEvidence
	// TSCChoice is the boot's first choice of the TSC's frequency.
	TSCChoice boot.TSCChoice
)

// calibrate measures the TSC against the PIT and asks CPUID. The better clocks
// are known only once ACPI was read: see Recalibrate.
func calibrate() {
	const ticks, pitHz = 11932, 1193182
	if pit(100) {
		// What disturbs a measurement only makes it longer: the shortest counts.
		best := ^uint64(0)
		for i := 0; i < 5; i++ {
			a := rdtsc()
			if pit(ticks) {
				best = min(best, rdtsc()-a)
			}
		}
		if best != ^uint64(0) {
			evidence.PIT.Add(best, uint64(ticks)*1e9/pitHz)
		}
	}
	top, _, _, _ := cpu.CPUID(0, 0)
	if top >= 0x15 {
		a, b, c, _ := cpu.CPUID(0x15, 0)
		evidence.CPUID15.Denominator, evidence.CPUID15.Numerator, evidence.CPUID15.CrystalHz = a, b, c
	}
	if top >= 0x16 {
		evidence.CPUID16MHz, _, _, _ = cpu.CPUID(0x16, 0)
	}
	if a, b, c, d := cpu.CPUID(0x40000000, 0); a >= 0x40000010 && a < 0x40010000 && b|c|d != 0 {
		evidence.HypervisorKHz, _, _, _ = cpu.CPUID(0x40000010, 0)
	}
	TSCChoice = boot.ChooseTSC(&evidence)
	if TSCChoice.Hz == 0 {
		puts("Nidus: no clock tells the TSC's frequency; 1 GHz is assumed\n")
		TSCChoice.Hz = 1e9
	}
	tscHz = TSCChoice.Hz
	theTime = clock{bootTSC, tscMul(tscHz)}
}

func tscMul(hz uint64) uint64 {
	hi, lo := bits.Mul64(1e9, 1<<32)
	mul, _ := bits.Div64(hi, lo, hz)
	return mul
}

var seed uint64 = 0x9e3779b97f4a7c15

// randomWord gives RDRAND's words where the CPU has it (Intel SDM volume 1, 7.3.17),
// mixed with the TSC's jitter, which is all there is without.
func randomWord() uint64 {
	if _, _, c, _ := cpu.CPUID(1, 0); c>>30&1 != 0 {
		for i := 0; i < 10; i++ {
			if v, ok := rdrand(); ok {
				seed ^= v
				break
			}
		}
	}
	for i := 0; i < 8; i++ {
		seed ^= rdtsc()
		seed ^= seed << 13
		seed ^= seed >> 7
		seed ^= seed << 17
	}
	return seed
}

// TSCEvidence returns what was measured at boot, to add to.
func TSCEvidence() boot.TSCEvidence { return evidence }

// SetTSCHz corrects the frequency; the clock does not jump, on no CPU. Not for
// concurrent use.
func SetTSCHz(hz uint64) {
	f := cli()
	atomic.AddUint32(&clockSeq, 1)
	t := rdtsc()
	hi, lo := bits.Mul64(uint64(theTime.ns(t))+1, hz) // rounded up: it does not go back
	q, _ := bits.Div64(hi, lo, 1e9)
	theTime = clock{t - q - 1, tscMul(hz)}
	tscHz = hz
	atomic.AddUint32(&clockSeq, 1)
	restore(f)
}
