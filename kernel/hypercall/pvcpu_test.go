package hypercall

import (
	"strings"
	"testing"

	"nidus/kernel/domain"
	"nidus/kernel/virt"
	"nidus/kernel/xenabi"
	"nidus/mm"
	"nidus/personalities/pv/pvcpu"
)

// nowhere is an address that no guest of these tests has memory at.
const nowhere = 0x50000000

func TestPVTrapTable(t *testing.T) {
	bothPV(t, func(t *testing.T, g *guest) {
		const nr = xenabi.HypercallSetTrapTable
		size := mm.GuestVirt(xenabi.Size(g.w(), &xenabi.TrapInfo{}))
		put := func(i int, e xenabi.TrapInfo) {
			b := make([]byte, size)
			xenabi.Encode(g.w(), b, &e)
			g.put(argAt+mm.GuestVirt(i)*size, b)
		}
		for i := range 200 { // more than one go
			put(i, xenabi.TrapInfo{Vector: uint8(i), Flags: 0xff, CS: 0x10, Address: 0x1000 + uint64(i)})
		}
		put(200, xenabi.TrapInfo{})
		g.want(0, nr, argAt)
		cs := uint16(xenabi.FlatKernelCS64)
		if g.bits == 32 {
			cs = 0x11 // not ring 0
		}
		if e := g.v.PV.Traps[199]; e != (pvcpu.Trap{Address: 0x10c7, CS: cs, Flags: 7}) {
			t.Errorf("entry 199 is %+v", e)
		}
		if e := g.v.PV.Traps[200]; e != (pvcpu.Trap{}) {
			t.Errorf("entry 200 is %+v", e)
		}
		g.want(xenabi.EFAULT, nr, nowhere)
		if g.bits == 64 {
			put(0, xenabi.TrapInfo{Address: badCanon})
			g.want(xenabi.EINVAL, nr, argAt)
		}
		g.want(0, nr, 0)
		if e := g.v.PV.Traps[199]; e.Address != 0 {
			t.Error("the table is not empty")
		}
	})
}

func TestPVCallbacks(t *testing.T) {
	bothPV(t, func(t *testing.T, g *guest) {
		const nr = xenabi.HypercallCallbackOp
		reg := func(want any, typ uint16, flags uint16, at uint64) {
			t.Helper()
			g.want(want, nr, xenabi.CallbackOpRegister, g.arg(&xenabi.CallbackRegister{Type: typ, Flags: flags, CS: xenabi.FlatKernelCS32, Address: at}))
		}
		p := g.v.PV
		cs := uint16(xenabi.FlatKernelCS64)
		if g.bits == 32 {
			cs = xenabi.FlatKernelCS32
		}
		for typ, at := range map[uint16]*pvcpu.Callback{
			xenabi.CallbackTypeEvent: &p.Event, xenabi.CallbackTypeFailsafe: &p.Failsafe, xenabi.CallbackTypeSyscall: &p.Syscall64,
			xenabi.CallbackTypeSyscall32: &p.Syscall32, xenabi.CallbackTypeSysenter: &p.Sysenter,
		} {
			if g.bits == 32 && typ == xenabi.CallbackTypeSyscall {
				reg(xenabi.ENOSYS, typ, 0, 0x1000)
				continue
			}
			reg(0, typ, 1, 0x1000+uint64(typ))
			if *at != (pvcpu.Callback{Address: 0x1000 + uint64(typ), CS: cs, MaskEvents: true}) {
				t.Errorf("callback %d is %+v", typ, *at)
			}
			if g.bits == 64 {
				reg(xenabi.EINVAL, typ, 0, badCanon)
			}
			g.want(xenabi.EINVAL, nr, xenabi.CallbackOpUnregister, g.arg(&xenabi.CallbackRegister{Type: typ}))
		}
		reg(0, xenabi.CallbackTypeNMI, 0, 0x2000)
		if p.Traps[2].Address != 0x2000 {
			t.Error("no NMI handler")
		}
		g.want(0, nr, xenabi.CallbackOpUnregister, g.arg(&xenabi.CallbackRegister{Type: xenabi.CallbackTypeNMI}))
		if p.Traps[2].Address != 0 {
			t.Error("still an NMI handler")
		}
		g.words(argAt, 0x3000, 0)
		g.want(0, xenabi.HypercallNMIOp, nmiRegisterCallback, argAt)
		if p.Traps[2].Address != 0x3000 {
			t.Error("no NMI handler")
		}
		g.want(xenabi.EFAULT, xenabi.HypercallNMIOp, nmiRegisterCallback, nowhere)
		g.want(0, xenabi.HypercallNMIOp, nmiUnregisterCallback, 0)
		g.want(xenabi.ENOSYS, xenabi.HypercallNMIOp, 9, 0)
		for _, typ := range []uint16{3, 6, 8, 0xffff} {
			reg(xenabi.ENOSYS, typ, 0, 0x1000)
			g.want(xenabi.ENOSYS, nr, xenabi.CallbackOpUnregister, g.arg(&xenabi.CallbackRegister{Type: typ}))
		}
		g.want(xenabi.EFAULT, nr, xenabi.CallbackOpRegister, nowhere)
		g.want(xenabi.EFAULT, nr, xenabi.CallbackOpUnregister, nowhere)
		g.want(xenabi.ENOSYS, nr, 2, argAt)

		if g.bits == 64 {
			g.want(0, xenabi.HypercallSetCallbacks, 0x7000, 0x7100, 0x7200)
			if p.Event.Address != 0x7000 || p.Failsafe.Address != 0x7100 || p.Syscall64.Address != 0x7200 {
				t.Error(p.Event, p.Failsafe, p.Syscall64)
			}
			g.want(xenabi.EINVAL, xenabi.HypercallSetCallbacks, 0x7000, badCanon, 0x7200)
			return
		}
		g.want(0, xenabi.HypercallSetCallbacks, 0x19, 0x7000, 0x20, 0x7100)
		if p.Event != (pvcpu.Callback{Address: 0x7000, CS: 0x19}) || p.Failsafe != (pvcpu.Callback{Address: 0x7100, CS: 0x21}) {
			t.Error(p.Event, p.Failsafe)
		}
	})
}

func TestPVGDT(t *testing.T) {
	bothPV(t, func(t *testing.T, g *guest) {
		const nr = xenabi.HypercallSetGDT
		g.words(argAt, 5, 6, 0xbad)
		for _, x := range []struct {
			want          any
			list, entries uint64
			frames        int
		}{
			{0, argAt, 512, 1}, {0, argAt, 513, 2}, {0, argAt, 1024, 2}, {0, nowhere, 0, 0},
			{xenabi.EINVAL, argAt, 1025, -1}, {xenabi.EINVAL, argAt, pvcpu.MaxGDTEntries + 1, -1},
			{xenabi.EINVAL, argAt, 0xffffffff, -1}, {xenabi.EFAULT, nowhere, 1, -1},
		} {
			g.want(x.want, nr, x.list, x.entries)
			if got := g.machine(0).gdt; x.frames >= 0 && len(got) != x.frames {
				t.Errorf("%d entries have %d frames", x.entries, len(got))
			}
		}
	})
}

func TestPVRegisters(t *testing.T) {
	bothPV(t, func(t *testing.T, g *guest) {
		p := g.v.PV
		g.want(0, xenabi.HypercallStackSwitch, 0x18, 0x9000)
		if want := map[int]uint16{64: 0x1b, 32: 0x19}[g.bits]; p.KernelSS != want || p.KernelSP != 0x9000 {
			t.Errorf("stack %#x:%#x", p.KernelSS, p.KernelSP)
		}
		g.want(0, xenabi.HypercallFPUTaskswitch, 1)
		if !p.TS || g.v.HV.Get(virt.CR0)&8 == 0 {
			t.Error("TS is not set")
		}
		g.want(0, xenabi.HypercallFPUTaskswitch, 0)
		if p.TS || g.v.HV.Get(virt.CR0)&8 != 0 {
			t.Error("TS is set")
		}
		const set, get = xenabi.HypercallSetDebugreg, xenabi.HypercallGetDebugreg
		for _, x := range []struct {
			reg, v uint64
			want   any
			read   int
		}{
			{0, 0x1234, 0, 0x1234}, {3, 0x4321, 0, 0x4321}, {6, 0, 0, 0xffff0ff0}, {7, 0, 0, 0x400}, {7, 2, 0, 0x402}, {5, 0, 0, 0x400}, {4, 1, 0, 0xffff0ff1},
			{7, 1 << 13, xenabi.EPERM, 0x400},      // GD
			{7, 1 | 2<<16, xenabi.EPERM, 0x400},    // a port
			{7, 0x80 | 2<<28, xenabi.EPERM, 0x400}, // a port, the last one
			{7, 0xff | 1<<16, 0, 0x104ff},          // writes
			{8, 0, xenabi.ENODEV, -int(xenabi.ENODEV)}, {0xffffffff, 0, xenabi.ENODEV, -int(xenabi.ENODEV)},
		} {
			g.want(x.want, set, x.reg, x.v)
			got := g.call(get, x.reg)
			if g.bits == 32 && x.read >= 0 {
				got &= 0xffffffff
			}
			if got != int64(x.read) {
				t.Errorf("debug register %d after %#x reads %#x, want %#x", x.reg, x.v, got, x.read)
			}
		}
		if g.bits == 32 {
			g.want(xenabi.ENOSYS, xenabi.HypercallSetSegmentBase, 0, 0x1000)
			return
		}
		for _, a := range []uint64{badCanon, 0xffff800000000000, 0xffff87fffffffff9, 0xffff7ffffffffffc, 1 << 63, 0x00007ffffffffff9} {
			g.want(xenabi.EPERM, set, 1, a)
		}
		g.want(0, set, 1, 0xffff880000000000)
		g.want(xenabi.EINVAL, set, 7, 1<<32)
		const nr = xenabi.HypercallSetSegmentBase
		g.want(0, nr, 0, 0x1000)
		g.want(0, nr, 1, 0x2000)
		g.want(0, nr, 2, 0xffff880000003000)
		if g.v.HV.Segment(virt.FS).Base != 0x1000 || g.v.HV.Get(virt.KernelGSBase) != 0x2000 || g.v.HV.Segment(virt.GS).Base != 0xffff880000003000 {
			t.Error("bases are wrong")
		}
		for which := range uint64(3) {
			g.want(xenabi.EINVAL, nr, which, badCanon)
		}
		g.want(0, nr, 3, 0x1234) // no such segment
		if g.v.HV.Segment(virt.GS).Selector != 0 || g.v.HV.Get(virt.KernelGSBase) != 0 {
			t.Error("a bad selector is not null")
		}
		g.want(0, nr, 3, xenabi.FlatKernelSS64)
		if g.v.HV.Segment(virt.GS).Selector != xenabi.FlatKernelSS64 || g.v.HV.Segment(virt.GS).Base != 0xffff880000003000 {
			t.Error("the process's selector is not loaded, or the kernel's base changed")
		}
		g.want(xenabi.EINVAL, nr, 4, 0)
	})
}

func TestPVAssist(t *testing.T) {
	bothPV(t, func(t *testing.T, g *guest) {
		const nr = xenabi.HypercallVMAssist
		for typ := range uint64(70) {
			want := any(xenabi.EINVAL)
			if typ < 6 || typ == 32 && g.bits == 64 {
				want = 0
			}
			g.want(want, nr, xenabi.VMAssistCmdEnable, typ)
			if on := g.v.PV.Assist.Load()>>typ&1 != 0; typ < 64 && on != (want == 0) {
				t.Errorf("type %d is %v", typ, on)
			}
		}
		f := xenabi.FeatureInfo{}
		g.want(0, xenabi.HypercallXenVersion, xenabi.XenVerGetFeatures, g.arg(&f))
		if g.result(&f); f.Submap>>xenabi.XenFeatAutoTranslatedPhysmap&1 != 0 || f.Submap>>xenabi.XenFeatMMUPTUpdatePreserveAD&1 == 0 ||
			f.Submap>>xenabi.XenFeatPAEPgDirAbove4GB&1 == 0 {
			t.Errorf("features %#x", f.Submap)
		}
		for typ := range uint64(6) {
			g.want(0, nr, xenabi.VMAssistCmdDisable, typ)
		}
		g.want(xenabi.ENOSYS, nr, 2, 0)
		if x := g.v.PV.Assist.Load() &^ (1 << 32); x != 0 {
			t.Errorf("still on: %#x", x)
		}
	})
}

func TestPVPhysdev(t *testing.T) {
	bothPV(t, func(t *testing.T, g *guest) {
		const nr = xenabi.HypercallPhysdevOp
		for _, x := range []struct {
			iopl uint32
			want any
		}{{1, 0}, {3, 0}, {4, xenabi.EINVAL}, {0xffffffff, xenabi.EINVAL}} {
			g.put32(argAt, x.iopl)
			g.want(x.want, nr, xenabi.PhysdevOpSetIOPL, argAt)
		}
		if g.v.PV.IOPL != 3 {
			t.Error("IOPL", g.v.PV.IOPL)
		}
		bitmap := func(want any, at uint64, n uint32) {
			t.Helper()
			g.want(want, nr, xenabi.PhysdevOpSetIobitmap, g.arg(&xenabi.PhysdevSetIOBitmap{Bitmap: at, NrPorts: n}))
		}
		bitmap(0, 0x4000, 1<<16)
		bitmap(xenabi.EINVAL, 0x4000, 1<<16+1)
		if g.bits == 64 {
			bitmap(xenabi.EINVAL, badCanon, 1)
			bitmap(xenabi.EINVAL, 0xffff800000000000-100, 1)
			bitmap(xenabi.EINVAL, 0xffff87ffffffffff, 1)
		}
		g.want(xenabi.EFAULT, nr, xenabi.PhysdevOpSetIOPL, nowhere)
		g.want(xenabi.EFAULT, nr, xenabi.PhysdevOpSetIobitmap, nowhere)
		for cmd, want := range map[uint64]any{
			xenabi.PhysdevOpPIRQEOIGMFNV2: xenabi.ENOSYS, xenabi.PhysdevOpEOI: xenabi.EINVAL, xenabi.PhysdevOpIRQStatusQuery: xenabi.EINVAL,
			xenabi.PhysdevOpMapPIRQ: xenabi.EPERM, xenabi.PhysdevOpApicWrite: xenabi.EPERM, 77: xenabi.ENOSYS, 0: xenabi.ENOSYS,
		} {
			g.want(want, nr, cmd, argAt)
		}
	})
}

func TestPVIret(t *testing.T) {
	g := newPV(t, 64)
	r := g.v.HV.Regs()
	p, m := g.v.PV, g.machine(0)
	p.Root, p.UserRoot = 1, 2
	frame := func(flags, cs uint64) {
		r.RSP = argAt
		g.words(argAt, 0xa, 0xb, 0xc, flags, 0x1000, cs, 0x202, 0x2000, 0x2b)
	}
	frame(0, 0x33)
	g.once(xenabi.HypercallIret)
	if r.RAX != 0xa || r.R11 != 0xb || r.RCX != 0xc || r.RIP != 0x1000 || r.RSP != 0x2000 || !p.UserMode || m.root != 2 || m.mask {
		t.Errorf("%+v, %+v", r, m)
	}
	p.ToggleMode()
	// In a multicall it ends the list, whose registers are gone.
	frame(0, 0x30)
	g.words(dataAt, xenabi.HypercallIret, 77, 0, 0, 0, 0, 0, 0, xenabi.HypercallXenVersion, 77)
	g.once(xenabi.HypercallMulticall, dataAt, 2)
	if r.RAX != 0xa || r.RIP != 0x1000 || p.UserMode {
		t.Errorf("%+v", r)
	}
	if b := g.get(dataAt+72, 1); b[0] != 77 {
		t.Error("the list went on")
	}
	r.RSP = nowhere
	g.once(xenabi.HypercallIret)
	if g.d.State() < domain.Ended || !strings.Contains(g.d.Failure(), "iret") {
		t.Error("a stack that can't be read:", g.d.Failure())
	}
}

func TestPVInitialise(t *testing.T) {
	bothPV(t, func(t *testing.T, g *guest) {
		good := func() *xenabi.VCPUGuestContext {
			c := &xenabi.VCPUGuestContext{Flags: xenabi.VGCFInKernel}
			c.Regs.RIP, c.Regs.RSP, c.Regs.RDI = 0x1000, 0x2000, 0x77
			c.Regs.CS, c.Regs.SS = xenabi.FlatKernelCS32, xenabi.FlatKernelSS32
			c.CR[3] = 5 << 12
			c.GDTFrames[0], c.GDTEntries = 6, 512
			c.Traps[13] = xenabi.TrapInfo{Vector: 13, CS: xenabi.FlatKernelCS32, Address: 0x3000}
			c.EventEIP, c.EventCS = 0x4000, xenabi.FlatKernelCS32
			c.KernelSP = 0x5000
			return c
		}
		init := func(want any, f func(*xenabi.VCPUGuestContext)) {
			t.Helper()
			c := good()
			f(c)
			b := make([]byte, xenabi.Size(g.w(), c))
			xenabi.Encode(g.w(), b, c)
			g.put(dataAt, b)
			g.want(want, vcpuNr, xenabi.VCPUOpInitialise, 1, dataAt)
		}
		type context = xenabi.VCPUGuestContext
		bad := []func(*context){
			func(c *context) { c.CR[3] = 0 },
			func(c *context) { c.GDTEntries = pvcpu.MaxGDTEntries + 1 },
			func(c *context) { c.GDTEntries = 0xffffffff },
			func(c *context) { c.GDTFrames[0] = 0xbad },
			func(c *context) { c.CR[3] = g.v.PV.CR3(0xbad) },
			func(c *context) { c.LDTEntries = 8193 },
			func(c *context) { c.LDTEntries, c.LDTBase = 1, 0x1001 },
			func(c *context) { c.LDTEntries, c.LDTBase = 8192, 0xfffffffffffff000 },
		}
		if g.bits == 64 {
			bad = append(bad,
				func(c *context) { c.Regs.RIP = badCanon },
				func(c *context) { c.EventEIP = badCanon },
				func(c *context) { c.FailsafeEIP = badCanon },
				func(c *context) { c.SyscallEIP = badCanon },
				func(c *context) { c.FSBase = badCanon },
				func(c *context) { c.GSKernel = badCanon },
				func(c *context) { c.GSUser = badCanon },
				func(c *context) { c.Traps[255].Address = badCanon },
				func(c *context) { c.Flags = 0 }, // a process without page tables
				func(c *context) { c.CR[1] = 0xbad << 12 },
				func(c *context) { c.LDTEntries, c.LDTBase = 1, 0xffff800000000000 },
			)
		} else {
			bad = append(bad, func(c *context) { c.Regs.CS = 0x63 }, func(c *context) { c.Regs.CS = 0x62 })
		}
		for _, f := range bad {
			init(xenabi.EINVAL, f)
		}
		init(xenabi.EPERM, func(c *context) { c.DR[7] = 1 << 13 })
		g.want(xenabi.EINVAL, vcpuNr, xenabi.VCPUOpUp, 1, 0)
		g.want(xenabi.EFAULT, vcpuNr, xenabi.VCPUOpInitialise, 1, nowhere)
		one := g.d.VCPUs[1]
		if one.TakePVBoot() != nil {
			t.Fatal("a bad state is kept")
		}
		init(0, func(*context) {})
		init(xenabi.EEXIST, func(*context) {})
		c := one.TakePVBoot()
		if c == nil || one.TakePVBoot() != nil {
			t.Fatal("no state to start in, or two")
		}
		if err := one.PV.Start(c); err != nil {
			t.Fatal(err)
		}
		r, m := one.HV.Regs(), g.machine(1)
		if r.RIP != 0x1000 || r.RDI != 0x77 || one.PV.Root != 5 || m.root != 5 || !m.mask || one.PV.Traps[13].Address != 0x3000 ||
			one.PV.Event.Address != 0x4000 || one.PV.KernelSP != 0x5000 || !one.PV.Kernel() || len(m.gdt) != 1 {
			t.Errorf("%+v %+v %+v", r, m, one.PV.State)
		}
		g.want(0, vcpuNr, xenabi.VCPUOpUp, 1, 0)
		g.want(1, vcpuNr, xenabi.VCPUOpIsUp, 1, 0)
		init(xenabi.EEXIST, func(*context) {})
	})
}

func TestPVUnknown(t *testing.T) {
	bothPV(t, func(t *testing.T, g *guest) {
		for _, nr := range []uint64{11, 19, 31, 34, 37, 38, 39, 41, 42, 43, 48, 49, 50, 56, 1 << 31} {
			g.want(xenabi.ENOSYS, nr, 0)
		}
		for _, nr := range []uint64{xenabi.HypercallPlatformOp, xenabi.HypercallDomctl, xenabi.HypercallSysctl} {
			g.want(xenabi.EPERM, nr, 0)
		}
		g.want(xenabi.EOPNOTSUPP, xenabi.HypercallXenPMUOp, 4)
	})
}

// TestPVNoAllocations: what a kernel calls at each switch of tasks, and at each return.
func TestPVNoAllocations(t *testing.T) {
	g := newPV(t, 64)
	r := g.v.HV.Regs()
	g.words(dataAt, xenabi.HypercallStackSwitch, 0, 0x2b, 0x9000, 0, 0, 0, 0, xenabi.HypercallFPUTaskswitch, 0, 1)
	g.words(argAt, 1, 2, 3, 0, 0x1000, 0x30, 0x202, 0x2000, 0x28)
	for _, x := range [][4]uint64{
		{xenabi.HypercallStackSwitch, 0x2b, 0x9000}, {xenabi.HypercallFPUTaskswitch, 1}, {xenabi.HypercallSetSegmentBase, 0, 0x1000},
		{xenabi.HypercallSetSegmentBase, 3, xenabi.FlatKernelSS64}, {xenabi.HypercallSetDebugreg, 7, 0x400}, {xenabi.HypercallIret},
		{xenabi.HypercallMulticall, dataAt, 2}, {xenabi.HypercallVMAssist, 0, 2},
	} {
		g.once(x[0], x[1], x[2], x[3])
		if n := testing.AllocsPerRun(50, func() {
			r.RAX, r.RDI, r.RSI, r.RDX, r.RSP = x[0], x[1], x[2], x[3], argAt
			HandlePV(g.v)
		}); n != 0 {
			t.Errorf("hypercall %d allocates %v times", x[0], n)
		}
	}
}
