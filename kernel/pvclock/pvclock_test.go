package pvclock

import (
	"math/big"
	"math/rand/v2"
	"testing"

	"nidus/mm"
)

func exact(ticks uint64, khz uint32) uint64 {
	n := new(big.Int).SetUint64(ticks)
	n.Mul(n, big.NewInt(1_000_000))
	return n.Div(n, big.NewInt(int64(khz))).Uint64()
}

// guest is what Linux does with the page (a reader of the ABI, not our code).
func guest(pg mm.Page, off int, tsc uint64) uint64 {
	delta := tsc - pg.Load64(off+8)
	if sh := int8(pg.Load8(off + 28)); sh >= 0 {
		delta <<= sh
	} else {
		delta >>= -sh
	}
	p := new(big.Int).SetUint64(delta)
	p.Mul(p, big.NewInt(int64(pg.Load32(off+24))))
	return pg.Load64(off+16) + p.Rsh(p, 32).Uint64()
}

var freqs = []uint32{MinKHz, 1_193_182, 999_999, 1_000_000, 1_000_001, 2_000_000, 2_095_078, 2_399_999, 2_899_886, 3_500_000, 4_200_123, 5_800_000, MaxKHz}

func TestScale(t *testing.T) {
	for _, khz := range freqs {
		s, err := NewScale(khz)
		if err != nil {
			t.Fatal(err)
		}
		if s.Mul < 1<<31 {
			t.Errorf("%d kHz: mul %#x loses precision", khz, s.Mul)
		}
		// Without a new timestamp for a year the rate alone counts.
		ticks := uint64(khz) * 1000 * 86400 * 365
		if khz > 10_000_000 {
			ticks /= 100
		}
		e, g := exact(ticks, khz), s.GuestNanos(ticks)
		if g > e || e-g > e>>31+2 {
			t.Errorf("%d kHz: a year is off by %d ns", khz, int64(e-g))
		}
	}
	for _, khz := range []uint32{0, 1, MinKHz - 1, MaxKHz + 1, ^uint32(0)} {
		if _, err := NewScale(khz); err == nil {
			t.Errorf("%d kHz taken", khz)
		}
	}
}

// TestGuestTime follows a guest for a simulated year: the time it computes is
// within 1 ns of the exact one, and never runs backwards.
func TestGuestTime(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	pg := mm.NewPage()
	for _, khz := range freqs {
		s, _ := NewScale(khz)
		c := Clock{Scale: s, Epoch: rng.Uint64() >> 20, Base: 12345}
		tsc, last := c.Epoch, uint64(0)
		maxAge := s.Ticks(MaxAge)
		for range 2_000 {
			if err := c.Update(pg, 64, tsc, 0); err != nil {
				t.Fatal(err)
			}
			stamp := tsc
			for range 3 {
				tsc = max(tsc, stamp+rng.Uint64N(maxAge))
				g, e := guest(pg, 64, tsc), c.Base+exact(tsc-c.Epoch, khz)
				bound := uint64(1)
				if khz > 8_000_000 {
					bound = 2
				}
				if g > e+1 || e > g+bound {
					t.Fatalf("%d kHz: guest %d, exact %d, stamp %d ticks old", khz, g, e, tsc-stamp)
				}
				if g < last {
					t.Fatalf("%d kHz: time runs backwards from %d to %d", khz, last, g)
				}
				last = g
			}
			// Not looked at for up to half an hour.
			tsc += rng.Uint64N(uint64(khz) * 1000 * 1800)
		}
	}
}

func TestTicks(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	for _, khz := range freqs {
		s, _ := NewScale(khz)
		c := Clock{Scale: s, Epoch: 1000, Base: 77}
		for range 10_000 {
			ns := rng.Uint64() >> (1 + rng.IntN(63)) >> 10
			k := s.Ticks(ns)
			if s.Nanos(k) < ns || k > 0 && s.Nanos(k-1) >= ns {
				t.Fatalf("%d kHz: %d ns is not %d ticks", khz, ns, k)
			}
			if at := c.TSCAt(ns); c.At(at) < ns {
				t.Fatalf("%d kHz: TSCAt(%d) is early", khz, ns)
			}
		}
		if khz > 1_000_000 && s.Ticks(^uint64(0)) != ^uint64(0) {
			t.Errorf("%d kHz: overflow", khz)
		}
	}
	c := Clock{Scale: Scale{KHz: 1_000_000}, Epoch: 100, Base: 7}
	if c.At(5) != 7 || c.TSCAt(3) != 100 || c.TSCAt(^uint64(0)) < 1<<63 {
		t.Error("outside the clock's range")
	}
}

func TestUpdate(t *testing.T) {
	s, _ := NewScale(2_500_000)
	c := Clock{Scale: s}
	pg := mm.NewPage()
	for i, start := range []uint32{0, 1, 0xffffffff, 0xfffffffe, 41} { // a guest may write anything
		pg.Store32(0, start)
		if err := c.Update(pg, 0, uint64(i)*1e6, FlagTSCStable); err != nil {
			t.Fatal(err)
		}
		if v := pg.Load32(0); v&1 != 0 || v == start {
			t.Errorf("version %#x after %#x", v, start)
		}
	}
	if pg.Load8(29) != FlagTSCStable || pg.Load8(30) != 0 || pg.Load8(31) != 0 || pg.Load64(32) != 0 {
		t.Error("flags, padding or what follows")
	}
	for _, off := range []int{-8, 4, mm.PageSize - 24, mm.PageSize, 1 << 40} {
		if c.Update(pg, off, 0, 0) == nil {
			t.Errorf("offset %d taken", off)
		}
	}
	if c.Update(mm.Page{}, 0, 0, 0) == nil {
		t.Error("no page taken")
	}
}

// Offsets: offsetof(struct shared_info, wc_*) of xen/include/public/xen.h,
// compiled for x86-64 (3072, 3084), and for i386 32 vcpu_info of 64 bytes, two
// bitmaps of 128, and six words of arch_shared_info before wc_sec_hi.
func TestWallclock(t *testing.T) {
	for l, want := range map[Layout][2]int{Shared64: {32*64 + 2*512, 32*64 + 2*512 + 12}, Shared32: {32*64 + 2*128, 32*64 + 2*128 + 12 + 6*4}} {
		pg := mm.NewPage()
		pg.Store32(want[0], 7)
		sec, nsec := BootTime(0x1_2345_6789*1e9+17, 5)
		UpdateWallclock(pg, l, sec, nsec)
		if pg.Load32(want[0]) != 8 || pg.Load32(want[0]+4) != 0x23456789 || pg.Load32(want[0]+8) != 12 || pg.Load32(want[1]) != 1 {
			t.Errorf("layout %d: %x", l, [4]uint32{pg.Load32(want[0]), pg.Load32(want[0] + 4), pg.Load32(want[0] + 8), pg.Load32(want[1])})
		}
	}
	if s, n := BootTime(5, 10); s != 0 || n != 0 {
		t.Error("a clock before 1970")
	}
}
