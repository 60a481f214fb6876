package hypercall

import (
	"encoding/binary"
	"testing"

	"nidus/kernel/domain"
	"nidus/kernel/virt"
	"nidus/kernel/xenabi"
	"nidus/mm"
)

const vcpuNr = xenabi.HypercallVCPUOp

func context64() *xenabi.VCPUHVMContext64 {
	return &xenabi.VCPUHVMContext64{Mode: xenabi.VCPUHVMMode64b, RIP: 0x1000, RSP: 0x2000, RFLAGS: 2,
		CR0: virt.CR0PG | virt.CR0PE, CR3: 0x3000, CR4: virt.CR4PAE, EFER: virt.EFERLME}
}

func context32() *xenabi.VCPUHVMContext32 {
	return &xenabi.VCPUHVMContext32{Mode: xenabi.VCPUHVMMode32b, EIP: 0x1000, ESP: 0x2000, CR0: virt.CR0PE,
		CSAR: 0xc9b, CSLimit: 0xfffff, SSAR: 0xc93, SSLimit: 0xfffff, DSAR: 0xc93, DSLimit: 0xfffff, TRAR: 0x8b, TRLimit: 0x67}
}

func TestInitialise(t *testing.T) {
	both(t, func(t *testing.T, g *guest) {
		for i, f := range []func(*xenabi.VCPUHVMContext64){
			func(c *xenabi.VCPUHVMContext64) { c.Mode = 2 },
			func(c *xenabi.VCPUHVMContext64) { c.RIP = badCanon },
			func(c *xenabi.VCPUHVMContext64) { c.CR0 &^= virt.CR0PG },
			func(c *xenabi.VCPUHVMContext64) { c.CR0 &^= virt.CR0PE },
			func(c *xenabi.VCPUHVMContext64) { c.CR0 |= 1 << 40 },
			func(c *xenabi.VCPUHVMContext64) { c.CR0 |= cr0NW },
			func(c *xenabi.VCPUHVMContext64) { c.CR4 = 0 },
			func(c *xenabi.VCPUHVMContext64) { c.CR4 |= 1 << 13 }, // VMXE
			func(c *xenabi.VCPUHVMContext64) { c.CR4 |= 1 << 63 },
			func(c *xenabi.VCPUHVMContext64) { c.CR3 = 1 << 40 },
			func(c *xenabi.VCPUHVMContext64) { c.EFER = 0 },
			func(c *xenabi.VCPUHVMContext64) { c.EFER |= virt.EFERSVME },
			func(c *xenabi.VCPUHVMContext64) { c.EFER = ^uint64(0) },
			func(c *xenabi.VCPUHVMContext64) { c.RFLAGS = 1 << 63 },
			func(c *xenabi.VCPUHVMContext64) { c.RFLAGS = virt.FlagVM },
		} {
			c := context64()
			f(c)
			if r := g.call(vcpuNr, xenabi.VCPUOpInitialise, 1, g.arg(c)); r != -int64(xenabi.EINVAL) {
				t.Errorf("bad 64-bit state %d: %d", i, r)
			}
		}
		for i, f := range []func(*xenabi.VCPUHVMContext32){
			func(c *xenabi.VCPUHVMContext32) { c.CSAR = 0 },
			func(c *xenabi.VCPUHVMContext32) { c.SSAR = 0 },
			func(c *xenabi.VCPUHVMContext32) { c.TRAR = 0 },
			func(c *xenabi.VCPUHVMContext32) { c.CSAR = 0xc93 },               // data
			func(c *xenabi.VCPUHVMContext32) { c.CSAR |= 1 << 12 },            // unused
			func(c *xenabi.VCPUHVMContext32) { c.CSAR &^= 0x80 },              // not present
			func(c *xenabi.VCPUHVMContext32) { c.CSAR &^= 0x10 },              // system
			func(c *xenabi.VCPUHVMContext32) { c.CSAR |= virt.AttrLong },      // L and D
			func(c *xenabi.VCPUHVMContext32) { c.SSAR = 0xc91 },               // read-only
			func(c *xenabi.VCPUHVMContext32) { c.SSAR = 0xcf3 },               // DPL 3
			func(c *xenabi.VCPUHVMContext32) { c.DSAR = 0xc99 },               // execute-only
			func(c *xenabi.VCPUHVMContext32) { c.DSAR = 0xcf3 },               // DPL 3
			func(c *xenabi.VCPUHVMContext32) { c.TRAR = 0x89 },                // not busy
			func(c *xenabi.VCPUHVMContext32) { c.TRAR = 0xc93 },               // not a TSS
			func(c *xenabi.VCPUHVMContext32) { c.CSLimit, c.EIP = 0, 0x1000 }, // outside
			func(c *xenabi.VCPUHVMContext32) { c.CSAR, c.CSLimit = 0x49b, 1<<20 },
			func(c *xenabi.VCPUHVMContext32) { c.EFER = virt.EFERLME },
			func(c *xenabi.VCPUHVMContext32) { c.EFER = virt.EFERLMA },
			func(c *xenabi.VCPUHVMContext32) { c.EFER = virt.EFERLMA | virt.EFERLME }, // no paging
			func(c *xenabi.VCPUHVMContext32) { c.CR0 = virt.CR0PG },
		} {
			c := context32()
			f(c)
			if r := g.call(vcpuNr, xenabi.VCPUOpInitialise, 1, g.arg(c)); r != -int64(xenabi.EINVAL) {
				t.Errorf("bad 32-bit state %d: %d", i, r)
			}
		}
		one, two := g.d.VCPUs[1], g.d.VCPUs[2]
		g.want(xenabi.EINVAL, vcpuNr, xenabi.VCPUOpUp, 1, 0)
		g.want(0, vcpuNr, xenabi.VCPUOpInitialise, 1, g.arg(context64()))
		g.want(xenabi.EEXIST, vcpuNr, xenabi.VCPUOpInitialise, 1, g.arg(context64()))
		g.want(0, vcpuNr, xenabi.VCPUOpInitialise, 2, g.arg(context32()))
		g.want(xenabi.EEXIST, vcpuNr, xenabi.VCPUOpInitialise, 0, g.arg(context32())) // it runs
		g.want(xenabi.ENOENT, vcpuNr, xenabi.VCPUOpInitialise, 3, g.arg(context32()))
		s := one.TakeBoot()
		if s == nil || s.Regs.RIP != 0x1000 || s.Sys[virt.EFER] != virt.EFERLME|virt.EFERLMA || virt.Bits(s.Sys[virt.EFER], s.Seg[virt.CS]) != 64 {
			t.Fatalf("state: %v", s)
		}
		if one.TakeBoot() != nil {
			t.Error("the state was there twice")
		}
		s = two.TakeBoot()
		if s == nil || s.Regs.RSP != 0x2000 || s.Seg[virt.CS].Limit != ^uint32(0) || virt.Bits(s.Sys[virt.EFER], s.Seg[virt.CS]) != 32 {
			t.Fatalf("state: %v", s)
		}
	})
}

func TestUpDown(t *testing.T) {
	both(t, func(t *testing.T, g *guest) {
		g.want(1, vcpuNr, xenabi.VCPUOpIsUp, 0, 0)
		g.want(0, vcpuNr, xenabi.VCPUOpIsUp, 1, 0)
		g.want(0, vcpuNr, xenabi.VCPUOpInitialise, 1, g.arg(context32()))
		g.want(0, vcpuNr, xenabi.VCPUOpUp, 1, 0)
		g.want(0, vcpuNr, xenabi.VCPUOpUp, 1, 0)
		g.want(1, vcpuNr, xenabi.VCPUOpIsUp, 1, 0)
		g.want(0, vcpuNr, xenabi.VCPUOpDown, 1, 0)
		g.want(0, vcpuNr, xenabi.VCPUOpIsUp, 1, 0)
		g.want(0, vcpuNr, xenabi.VCPUOpUp, 1, 0)
		g.want(0, vcpuNr, xenabi.VCPUOpDown, 0, 0)
		if g.d.State() >= domain.Ended {
			t.Error("the domain has ended with a vcpu up")
		}
		g.want(0, vcpuNr, xenabi.VCPUOpDown, 1, 0)
		if g.d.State() != domain.Ended || g.d.Reason() != xenabi.ShutdownPoweroff {
			t.Errorf("state %d after the last vcpu", g.d.State())
		}
		for cmd := range uint64(14) {
			g.want(xenabi.ENOENT, vcpuNr, cmd, 3, argAt)
			g.want(xenabi.ENOENT, vcpuNr, cmd, 0xffffffff, argAt)
		}
	})
}

func TestVCPUTimers(t *testing.T) {
	both(t, func(t *testing.T, g *guest) {
		armed := func() int64 { g.v.Timers(); return g.m.Threads.DeadlineOf(g.v.HV.KickWord()) }
		now := g.m.Clock.Now()
		set := func(res any, v uint64, at uint64, flags uint32) {
			t.Helper()
			g.want(res, vcpuNr, xenabi.VCPUOpSetSingleshotTimer, v, g.arg(&xenabi.VCPUSetSingleshotTimer{TimeoutAbsNs: at, Flags: flags}))
		}
		set(0, 0, uint64(now+500), xenabi.VCPUSingleshotTimerFuture)
		if armed() != now+500 {
			t.Errorf("armed %d", armed())
		}
		set(xenabi.ETIME, 0, uint64(now-1), xenabi.VCPUSingleshotTimerFuture)
		set(xenabi.ETIME, 0, 0, xenabi.VCPUSingleshotTimerFuture)
		set(0, 0, ^uint64(0), xenabi.VCPUSingleshotTimerFuture)
		if armed() != now+500 { // as before, until then
			t.Errorf("armed %d", armed())
		}
		pass := func() {
			g.m.Clock.Advance(500)
			now = g.m.Clock.Now()
		}
		if pass(); armed() != 1<<63-1 {
			t.Errorf("armed %d", armed())
		}
		set(0, 0, 0, 0) // fires at once
		set(xenabi.EINVAL, 1, uint64(now+500), 0)
		set(0, 0, uint64(now+500), 0)
		if armed() != now+500 {
			t.Errorf("armed %d", armed())
		}
		g.want(0, vcpuNr, xenabi.VCPUOpStopSingleshotTimer, 0, 0)
		g.want(xenabi.EINVAL, vcpuNr, xenabi.VCPUOpStopSingleshotTimer, 1, 0)
		if pass(); armed() != 0 { // it was, until now
			t.Errorf("armed %d", armed())
		}
		for _, p := range []uint64{0, 1, domain.MinPeriod - 1, 1 << 63, ^uint64(0)} {
			g.want(xenabi.EINVAL, vcpuNr, xenabi.VCPUOpSetPeriodicTimer, 0, g.arg(&xenabi.VCPUSetPeriodicTimer{PeriodNs: p}))
		}
		for v := range uint64(2) {
			g.want(0, vcpuNr, xenabi.VCPUOpSetPeriodicTimer, v, g.arg(&xenabi.VCPUSetPeriodicTimer{PeriodNs: 5_000_000}))
		}
		if armed() != now+5_000_000 {
			t.Errorf("armed %d", armed())
		}
		for v := range uint64(2) {
			g.want(0, vcpuNr, xenabi.VCPUOpStopPeriodicTimer, v, 0)
		}
		if g.m.Clock.Advance(5_000_000); armed() != 0 {
			t.Errorf("armed %d", armed())
		}
		set(0, 0, ^uint64(0), 0)
		if armed() != 1<<63-1 {
			t.Errorf("armed %d: a timer is left", armed())
		}
	})
}

func TestRunstate(t *testing.T) {
	both(t, func(t *testing.T, g *guest) {
		size := xenabi.SharedInfoOf(g.w()).RunstateSize
		for v := range uint64(3) {
			g.m.Clock.Advance(100)
			g.want(0, vcpuNr, xenabi.VCPUOpGetRunstateInfo, v, argAt)
			var r xenabi.VCPURunstateInfo
			if g.result(&r); r.State != xenabi.RunstateOffline || r.StateEntryTime != uint64(g.m.Clock.Now()) {
				t.Errorf("vcpu %d: %+v", v, r)
			}
		}
		for i, at := range []uint64{dataAt, dataAt + 0x100, argAt + 0x1000 - uint64(size)} {
			g.words(argAt, at)
			g.want(0, vcpuNr, xenabi.VCPUOpRegisterRunstateMemoryArea, uint64(i), argAt)
			if g.get32(mm.GuestVirt(at)) != xenabi.RunstateOffline {
				t.Errorf("vcpu %d: nothing was written at %#x", i, at)
			}
		}
		// Linux's area may reach over the end of a page.
		for _, back := range []uint64{1, 4, 7, 8, 15, uint64(size) - 1} {
			at := uint64(dataAt) + 0x1000 - back
			g.words(argAt, at)
			g.want(0, vcpuNr, xenabi.VCPUOpRegisterRunstateMemoryArea, 0, argAt)
			b := g.get(mm.GuestVirt(at), size)
			off := xenabi.SharedInfoOf(g.w()).RunstateStateEntryTime
			if got := binary.LittleEndian.Uint64(b[off:]); got != uint64(g.m.Clock.Now()) {
				t.Errorf("%d bytes before the page's end: entry time %#x", back, got)
			}
		}
		for _, at := range []uint64{0x10000000, 0xfffffff0, 256<<12 - 1} {
			g.words(argAt, at)
			g.want(xenabi.EFAULT, vcpuNr, xenabi.VCPUOpRegisterRunstateMemoryArea, 0, argAt)
		}
	})
}

// A guest that registers an area as a 32-bit one, at the very end of a page, and
// then makes it larger.
func TestRunstateGrows(t *testing.T) {
	g := newGuest(t, 32)
	g.words(argAt, dataAt+0x1000-44)
	g.want(0, vcpuNr, xenabi.VCPUOpRegisterRunstateMemoryArea, 0, argAt)
	if err := g.d.LatchWidth(xenabi.Guest64); err != nil {
		t.Fatal(err)
	}
	g.m.Clock.Advance(5)
	g.v.Clear()
	g.v.Block(g.m.Clock.Now()) // changes the runstate
}

func TestTimeArea(t *testing.T) {
	both(t, func(t *testing.T, g *guest) {
		const cmd = xenabi.VCPUOpRegisterVCPUTimeMemoryArea
		g.words(argAt, dataAt+64)
		g.want(0, vcpuNr, cmd, 0, argAt)
		if g.get32(dataAt+64) == 0 || g.get32(dataAt+64)&1 != 0 {
			t.Error("no time was written")
		}
		g.want(0, vcpuNr, cmd, 1, argAt)
		for at, e := range map[uint64]xenabi.Errno{dataAt + 4: xenabi.EINVAL, dataAt + 0xff0: xenabi.EINVAL, 0x10000000: xenabi.EFAULT} {
			for v := range uint64(2) {
				g.words(argAt, at)
				g.want(e, vcpuNr, cmd, v, argAt)
			}
		}
	})
}

func TestRegisterVCPUInfo(t *testing.T) {
	both(t, func(t *testing.T, g *guest) {
		reg := func(res any, v uint64, mfn uint64, off uint32) {
			t.Helper()
			g.want(res, vcpuNr, xenabi.VCPUOpRegisterVCPUInfo, v, g.arg(&xenabi.VCPURegisterInfo{MFN: mfn, Offset: off}))
		}
		reg(xenabi.ENXIO, 0, dataAt>>12, 4)
		reg(xenabi.ENXIO, 0, dataAt>>12, 4096-56)
		reg(xenabi.ENXIO, 0, dataAt>>12, ^uint32(0))
		reg(xenabi.EINVAL, 0, 0x99999, 0)
		reg(xenabi.EINVAL, 0, ^uint64(0), 0)
		reg(0, 0, dataAt>>12, 4096-64)
		reg(xenabi.EINVAL, 0, dataAt>>12, 0) // only once
		reg(0, 1, dataAt>>12, 128)
		if g.get32(dataAt+4096-64+32)&1 != 0 || g.get32(dataAt+4096-64+32) == 0 {
			t.Error("no time in vcpu_info")
		}
	})
}

func TestNMI(t *testing.T) {
	g := newGuest(t, 64)
	g.want(0, vcpuNr, xenabi.VCPUOpSendNMI, 1, 0)
	g.want(xenabi.EINVAL, vcpuNr, xenabi.VCPUOpSendNMI, 1, argAt)
	if !g.d.VCPUs[1].TakeNMI() || g.v.NMIPending() {
		t.Error("the NMI is not where it belongs")
	}
	g.want(xenabi.EINVAL, vcpuNr, xenabi.VCPUOpGetPhysID, 0, argAt)
}
