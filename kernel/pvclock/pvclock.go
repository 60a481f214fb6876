// Package pvclock keeps the time that a paravirtual guest reads without an
// exit: the TSC of the processor and, in memory that it shares with the
// hypervisor, how to make nanoseconds of it.
//
// ABI: xen/include/public/xen.h (struct vcpu_time_info, and wc_* of struct
// shared_info), MIT. A guest computes
//
//	delta = tsc - tsc_timestamp, shifted left by tsc_shift (right if negative)
//	now   = system_time + (delta * tsc_to_system_mul) >> 32
package pvclock

import (
	"fmt"
	"math/bits"

	"nidus/mm"
)

// Offsets in struct vcpu_time_info, whose size is TimeInfoSize.
const (
	offVersion   = 0
	offTimestamp = 8
	offSystem    = 16
	offMul       = 24
	offShift     = 28 // int8, then flags, then two bytes of padding

	// TimeInfoSize is the size of struct vcpu_time_info in bytes.
	TimeInfoSize = 32
	// VCPUInfoTime is where struct vcpu_info, of 32- and 64-bit guests
	// alike, has its vcpu_time_info.
	VCPUInfoTime = 32
)

// FlagTSCStable is XEN_PVCLOCK_TSC_STABLE_BIT: all vcpus' values agree, and a
// guest need not look for time that runs backwards between them.
const FlagTSCStable = 1

// Bounds of the frequencies that NewScale takes, in kHz.
const (
	MinKHz = 1_000
	MaxKHz = 100_000_000
)

// Scale converts TSC ticks to nanoseconds.
type Scale struct {
	KHz   uint32
	Mul   uint32 // tsc_to_system_mul, at least 1<<31: full precision
	Shift int8   // tsc_shift
}

// NewScale returns the scale of a TSC of khz. Mul is rounded down, so that the
// time a guest computes is never ahead of the exact one, and a new timestamp
// never takes it back.
func NewScale(khz uint32) (Scale, error) {
	if khz < MinKHz || khz > MaxKHz {
		return Scale{}, fmt.Errorf("pvclock: a TSC of %d kHz: outside of %d to %d kHz; check its calibration", khz, MinKHz, MaxKHz)
	}
	// The ratio 10^6/khz is mul/2^32 * 2^shift with 2^31 <= mul < 2^32.
	s := Scale{KHz: khz}
	num, den := uint64(1_000_000), uint64(khz)
	for num >= den {
		den <<= 1
		s.Shift++
	}
	for num*2 < den {
		num <<= 1
		s.Shift--
	}
	s.Mul = uint32(num << 32 / den)
	return s, nil
}

// GuestNanos is the guest's computation: ticks to nanoseconds. It is what time
// means to a guest between two timestamps.
func (s Scale) GuestNanos(ticks uint64) uint64 {
	if s.Shift >= 0 {
		ticks <<= uint8(s.Shift)
	} else {
		ticks >>= uint8(-s.Shift)
	}
	hi, lo := bits.Mul64(ticks, uint64(s.Mul))
	return hi<<32 | lo>>32
}

// Nanos converts exactly, rounding down. A result beyond 64 bits (584 years)
// saturates.
func (s Scale) Nanos(ticks uint64) uint64 { return mulDiv(ticks, 1_000_000, uint64(s.KHz)) }

// Ticks converts nanoseconds to ticks, rounding up: at the tick that it
// returns, Nanos has reached ns.
func (s Scale) Ticks(ns uint64) uint64 {
	hi, lo := bits.Mul64(ns, uint64(s.KHz))
	lo, c := bits.Add64(lo, 999_999, 0)
	hi += c
	if hi >= 1_000_000 {
		return ^uint64(0)
	}
	q, _ := bits.Div64(hi, lo, 1_000_000)
	return q
}

// stamp is At rounded up. A guest rounds down twice more, so that its time is
// within 1 ns of the exact one; and since ceil(a)+floor(b) <= ceil(a+b), a new
// timestamp still never takes time back.
func (c *Clock) stamp(tsc uint64) uint64 {
	ns := c.At(tsc)
	if tsc <= c.Epoch {
		return ns
	}
	// Both products are taken modulo 2^64: their difference is small.
	if (tsc-c.Epoch)*1_000_000 != (ns-c.Base)*uint64(c.Scale.KHz) {
		ns++
	}
	return ns
}

func mulDiv(v, mul, div uint64) uint64 {
	hi, lo := bits.Mul64(v, mul)
	if div == 0 || hi >= div {
		return ^uint64(0)
	}
	q, _ := bits.Div64(hi, lo, div)
	return q
}

// Clock is a domain's system time: nanoseconds since the TSC was Epoch, plus
// Base. Plain data; it goes with the domain when that moves.
type Clock struct {
	Scale Scale
	Epoch uint64 // a value of the guest's TSC
	Base  uint64 // ns
}

// At is the system time when the guest's TSC is tsc.
func (c *Clock) At(tsc uint64) uint64 {
	if tsc < c.Epoch {
		return c.Base
	}
	return c.Base + c.Scale.Nanos(tsc-c.Epoch)
}

// TSCAt is the guest's TSC at which the system time reaches ns.
func (c *Clock) TSCAt(ns uint64) uint64 {
	if ns <= c.Base {
		return c.Epoch
	}
	t, carry := bits.Add64(c.Epoch, c.Scale.Ticks(ns-c.Base), 0)
	if carry != 0 {
		return ^uint64(0)
	}
	return t
}

// MaxAge is how old a timestamp may get, in nanoseconds, while what the guest
// computes stays within 1 ns of the exact time (TSC up to 8 GHz). An older
// one lags by another quarter of a nanosecond for each second, as Mul is rounded.
const MaxAge = 1_000_000_000

// Update writes a vcpu_time_info at off of a page that the guest shares, with
// tsc, the guest's TSC now, as its timestamp.
//
// The version is odd while the rest changes; a guest reads it before and after.
// Only one thread may update one vcpu_time_info at a time. An offset that
// isn't a multiple of 8, or leaves no room in the page, is an error.
func (c *Clock) Update(pg mm.Page, off int, tsc uint64, flags uint8) error {
	if pg.IsZero() || off < 0 || off&7 != 0 || off > mm.PageSize-TimeInfoSize {
		return fmt.Errorf("pvclock: no vcpu_time_info fits at offset %#x of a page", off)
	}
	odd := pg.Load32(off+offVersion) | 1
	pg.Store32(off+offVersion, odd)
	pg.Store64(off+offTimestamp, tsc)
	pg.Store64(off+offSystem, c.stamp(tsc))
	pg.Store32(off+offMul, c.Scale.Mul)
	pg.Store32(off+offShift, uint32(uint8(c.Scale.Shift))|uint32(flags)<<8)
	pg.Store32(off+offVersion, odd+1)
	return nil
}
