package pvcpu

import (
	"encoding/binary"
	"testing"

	"nidus/kernel/virt"
	"nidus/kernel/virt/pv"
	"nidus/kernel/xenabi"
)

// run puts code at RIP and lets #GP(0) happen there.
func (f *fake) run(t *testing.T, c *CPU, code ...byte) {
	t.Helper()
	copy(f.ram[text-ramStart:], code)
	f.regs.RIP = text
	if err := c.Exception(virt.Fault(virt.VectorGP, 0)); err != nil {
		t.Fatal(err)
	}
}

// denied is where the guest is after its #GP.
const denied = handlerGP

func TestEmulate(t *testing.T) {
	for _, w := range []xenabi.Width{xenabi.Guest64, xenabi.Guest32} {
		for _, x := range []struct {
			name string
			code []byte
			only xenabi.Width // 0: both
			set  func(c *CPU, f *fake)
			skip uint64 // 0: #GP
			ok   func(c *CPU, f *fake) bool
		}{
			{"CLTS", []byte{0x0f, 0x06}, 0, func(c *CPU, _ *fake) { c.setTS(true) }, 2,
				func(c *CPU, f *fake) bool { return !c.TS && f.sys[virt.CR0]&cr0TS == 0 }},
			{"MOV from CR0", []byte{0x0f, 0x20, 0xc2}, 0, func(c *CPU, _ *fake) { c.setTS(true) }, 3,
				func(_ *CPU, f *fake) bool { return f.regs.RDX == 0x8005003b }},
			{"MOV to CR0, TS", []byte{0x0f, 0x22, 0xc2}, 0, func(_ *CPU, f *fake) { f.regs.RDX = 0x8005003b }, 3,
				func(c *CPU, _ *fake) bool { return c.TS }},
			{"MOV to CR0, WP", []byte{0x0f, 0x22, 0xc2}, 0, func(_ *CPU, f *fake) { f.regs.RDX = 0x8004003b }, 0, nil},
			{"MOV from CR2", []byte{0x0f, 0x20, 0xd0}, 0, func(_ *CPU, f *fake) { f.cr2 = 77 }, 3,
				func(_ *CPU, f *fake) bool { return f.regs.RAX == 77 }},
			{"MOV to CR2", []byte{0x0f, 0x22, 0xd0}, 0, func(_ *CPU, f *fake) { f.regs.RAX = 78 }, 3,
				func(_ *CPU, f *fake) bool { return f.cr2 == 78 }},
			{"MOV from CR3", []byte{0x0f, 0x20, 0xd8}, 0, func(_ *CPU, f *fake) { f.base = 0x123 }, 3,
				func(_ *CPU, f *fake) bool { return f.regs.RAX == 0x123000 }},
			{"MOV from CR3 of 32 bits", []byte{0x0f, 0x20, 0xd8}, xenabi.Guest32, func(_ *CPU, f *fake) { f.base = 0x123456 }, 3,
				func(_ *CPU, f *fake) bool { return f.regs.RAX == 0x23456001 }},
			{"MOV to CR3", []byte{0x0f, 0x22, 0xd8}, 0, func(_ *CPU, f *fake) { f.regs.RAX = 9 << 12 }, 3,
				func(_ *CPU, f *fake) bool { return f.root == 9 }},
			{"MOV to CR3, not a table", []byte{0x0f, 0x22, 0xd8}, 0, func(_ *CPU, f *fake) { f.regs.RAX = 900 << 12 }, 0, nil},
			{"MOV to CR4", []byte{0x0f, 0x22, 0xe0}, 0, func(_ *CPU, f *fake) { f.regs.RAX = ^uint64(0) }, 3,
				func(c *CPU, f *fake) bool { return c.CR4 == cr4Fixed|cr4TSD|cr4DE && f.sys[virt.CR4] == c.CR4 }},
			{"MOV from CR4", []byte{0x0f, 0x20, 0xe0}, 0, nil, 3, func(_ *CPU, f *fake) bool { return f.regs.RAX == 0x660 }},
			{"MOV from CR8", []byte{0x44, 0x0f, 0x20, 0xc0}, xenabi.Guest64, nil, 0, nil},
			{"MOV to CR8", []byte{0x44, 0x0f, 0x22, 0xc0}, xenabi.Guest64, nil, 0, nil},
			{"MOV from CR1", []byte{0x0f, 0x20, 0xc8}, 0, nil, 0, nil},
			{"LMSW", []byte{0x0f, 0x01, 0xf0}, 0, func(_ *CPU, f *fake) { f.regs.RAX = 0x3b }, 3,
				func(c *CPU, _ *fake) bool { return c.TS }},
			{"LMSW, EM", []byte{0x0f, 0x01, 0xf0}, 0, func(_ *CPU, f *fake) { f.regs.RAX = 0x37 }, 0, nil},
			{"LMSW of memory", []byte{0x0f, 0x01, 0x33}, 0, func(_ *CPU, f *fake) { f.operand(0x3b); f.regs.RAX = 0x555 }, 3,
				func(c *CPU, f *fake) bool { return c.TS && f.regs.RAX == 0x555 }},
			{"LMSW of memory clears TS", []byte{0x0f, 0x01, 0x33}, 0, func(c *CPU, f *fake) { c.setTS(true); f.operand(0xfff3) }, 3,
				func(c *CPU, _ *fake) bool { return !c.TS }},
			{"LMSW of memory, EM", []byte{0x0f, 0x01, 0x33}, 0, func(_ *CPU, f *fake) { f.operand(0x37) }, 0,
				func(c *CPU, _ *fake) bool { return !c.TS }},
			{"LMSW of 16 bits, SIB, displacement", []byte{0x66, 0x0f, 0x01, 0x74, 0x13, 0x10}, 0,
				func(_ *CPU, f *fake) { f.operand(0x3b); f.regs.RBX -= 0x20; f.regs.RDX = 0x10 }, 6, func(c *CPU, _ *fake) bool { return c.TS }},
			{"LMSW, REX.WRB", []byte{0x4d, 0x0f, 0x01, 0x32}, xenabi.Guest64, func(_ *CPU, f *fake) { f.operand(0x3b); f.regs.R10, f.regs.RAX, f.regs.R8 = f.regs.RBX, 0x33, 0x33 }, 4,
				func(c *CPU, f *fake) bool { return c.TS && f.regs.R8 == 0x33 }},
			{"LMSW behind RIP", []byte{0x0f, 0x01, 0x35, 0, 0x10, 0, 0}, xenabi.Guest64, func(_ *CPU, f *fake) { f.ram[text-ramStart+0x1007] = 0x3b }, 7,
				func(c *CPU, _ *fake) bool { return c.TS }},
			{"LMSW of a process", []byte{0x0f, 0x01, 0x33}, 0, func(c *CPU, f *fake) { f.operand(0x3b); f.user(c) }, 0,
				func(c *CPU, _ *fake) bool { return !c.TS }},
			{"LMSW, not canonical", []byte{0x0f, 0x01, 0x33}, xenabi.Guest64, func(_ *CPU, f *fake) { f.regs.RBX = 1 << 47 }, 0, nil},
			{"MOV to DR0", []byte{0x0f, 0x23, 0xc0}, 0, func(_ *CPU, f *fake) { f.regs.RAX = 0x777 }, 3,
				func(_ *CPU, f *fake) bool { return f.sys[virt.DR0] == 0x777 }},
			{"MOV to DR0 in the hole", []byte{0x0f, 0x23, 0xc0}, xenabi.Guest64, func(_ *CPU, f *fake) { f.regs.RAX = xenabi.HypervisorVirtStart64 }, 0, nil},
			{"MOV to DR7, GD", []byte{0x0f, 0x23, 0xf8}, 0, func(_ *CPU, f *fake) { f.regs.RAX = dr7GD }, 0, nil},
			{"MOV from DR7", []byte{0x0f, 0x21, 0xf8}, 0, func(_ *CPU, f *fake) { f.sys[virt.DR7] = 0x455 }, 3,
				func(_ *CPU, f *fake) bool { return f.regs.RAX == 0x455 }},
			{"WBINVD", []byte{0x0f, 0x09}, 0, nil, 2, nil},
			{"INVD", []byte{0x0f, 0x08}, 0, nil, 0, nil},
			{"HLT", []byte{0xf4}, 0, nil, 0, nil},
			{"RDTSC", []byte{0x0f, 0x31}, 0, nil, 2,
				func(_ *CPU, f *fake) bool { return f.regs.RAX == 0x3456789a && f.regs.RDX == 0x12 }},
			{"RDTSCP", []byte{0x0f, 0x01, 0xf9}, 0, func(_ *CPU, f *fake) { f.sys[virt.TSCAux] = 5 }, 3,
				func(_ *CPU, f *fake) bool { return f.regs.RAX == 0x3456789a && f.regs.RCX == 5 }},
			{"RDTSC of a process", []byte{0x0f, 0x31}, 0, func(c *CPU, f *fake) { f.code32(c) }, 2, nil},
			{"RDTSC of a process, denied", []byte{0x0f, 0x31}, 0, func(c *CPU, f *fake) { f.code32(c); c.CR4 |= cr4TSD }, 0, nil},
			{"CLTS of a process", []byte{0x0f, 0x06}, 0, func(c *CPU, f *fake) { f.code32(c) }, 0, nil},
			{"RDMSR of a process", []byte{0x0f, 0x32}, 0, func(c *CPU, f *fake) { f.code32(c); f.regs.RCX = msrEFER }, 0, nil},
			{"CPUID", []byte{0x0f, 0xa2}, 0, func(_ *CPU, f *fake) { f.regs.RAX = 1 }, 2,
				func(_ *CPU, f *fake) bool {
					return f.regs.RAX == 1 && f.regs.RBX == 2 && f.regs.RCX == 3 && f.regs.RDX == 4
				}},
			{"CLI, IOPL 0", []byte{0xfa}, 0, nil, 0, nil},
			{"CLI, IOPL 1", []byte{0xfa}, 0, func(c *CPU, _ *fake) { c.IOPL = 1 }, 1, func(_ *CPU, f *fake) bool { return !f.mask }},
			{"STI, IOPL 1", []byte{0xfb}, 0, func(c *CPU, f *fake) { c.IOPL = 1; f.mask = true }, 1, func(_ *CPU, f *fake) bool { return f.mask }},
			{"STI of a process", []byte{0xfb}, 0, func(c *CPU, f *fake) { f.code32(c); c.IOPL = 2 }, 0, nil},
			{"CLI with architectural IOPL", []byte{0xfa}, 0, func(c *CPU, _ *fake) { c.Assist.Store(1 << xenabi.VMAssistTypeArchitecturalIOPL) }, 1, nil},
			{"IN AL, DX", []byte{0xec}, 0, func(c *CPU, f *fake) { c.IOPL = 1; f.regs.RAX, f.regs.RDX = 0x1200, 0x60 }, 1,
				func(_ *CPU, f *fake) bool { return f.regs.RAX == 0x12ff }},
			{"IN AX, 0x70", []byte{0x66, 0xe5, 0x70}, 0, func(c *CPU, f *fake) { c.IOPL = 3; f.regs.RAX = 0x120000 }, 3,
				func(_ *CPU, f *fake) bool { return f.regs.RAX == 0x12ffff }},
			{"IN EAX, DX", []byte{0xed}, 0, func(c *CPU, f *fake) { c.IOPL = 1; f.regs.RAX = ^uint64(0) }, 1,
				func(_ *CPU, f *fake) bool { return f.regs.RAX == 0xffffffff }},
			{"IN from the PIT", []byte{0xe4, 0x42}, 0, func(c *CPU, f *fake) { c.IOPL = 1; f.regs.RAX = 0x12ff }, 2,
				func(_ *CPU, f *fake) bool { return f.regs.RAX == 0x1200 }},
			{"IN, denied", []byte{0xec}, 0, nil, 0, nil},
			{"OUT", []byte{0xe6, 0x80}, 0, func(c *CPU, _ *fake) { c.IOPL = 1 }, 2, nil},
			{"OUT of a process", []byte{0xe6, 0x80}, 0, func(c *CPU, f *fake) { f.code32(c); c.IOPL = 2 }, 0, nil},
			{"OUT by the bitmap", []byte{0xe6, 0x80}, 0, func(c *CPU, f *fake) { f.bitmap(c, 0x100); f.code32(c) }, 2, nil},
			{"OUT beyond the bitmap", []byte{0xe6, 0x80}, 0, func(c *CPU, f *fake) { f.bitmap(c, 0x80) }, 0, nil},
			{"OUT of four ports, the last denied", []byte{0xe7, 0x7d}, 0, func(c *CPU, f *fake) { f.bitmap(c, 0x80) }, 0, nil},
			{"OUT of four ports across bytes", []byte{0xe7, 0x7e}, 0, func(c *CPU, f *fake) { f.bitmap(c, 0x100); f.ram[0x7010] = 1 }, 0, nil},
			{"OUT with LOCK", []byte{0xf0, 0xe6, 0x80}, 0, func(c *CPU, _ *fake) { c.IOPL = 3 }, 0, nil},
			{"INSB", []byte{0x6c}, 0, func(c *CPU, f *fake) { c.IOPL = 1; f.regs.RDI = ramStart + 0x6000 }, 1,
				func(_ *CPU, f *fake) bool { return f.ram[0x6000] == 0xff && f.regs.RDI == ramStart+0x6001 }},
			{"OUTSB", []byte{0x6e}, 0, func(c *CPU, f *fake) { c.IOPL = 1; f.regs.RSI = ramStart + 0x6000 }, 1, nil},
			{"REP OUTSB of nothing", []byte{0xf3, 0x6e}, 0, func(c *CPU, f *fake) { c.IOPL = 1; f.regs.RCX = 0 }, 2, nil},
			{"INSB, denied", []byte{0x6c}, 0, func(_ *CPU, f *fake) { f.regs.RDI = ramStart + 0x6000 }, 0, nil},
			{"XSETBV, not offered", []byte{0x0f, 0x01, 0xd1}, 0, func(_ *CPU, f *fake) { f.regs.RAX, f.regs.RCX = 3, 0 }, 0, nil},
			{"XSETBV", []byte{0x0f, 0x01, 0xd1}, 0, func(c *CPU, f *fake) { f.xsave(c, 7); f.regs.RAX, f.regs.RCX, f.regs.RDX = 7, 0, 0 }, 3,
				func(_ *CPU, f *fake) bool { return f.sys[virt.XCR0] == 7 }},
			{"XSETBV, no x87", []byte{0x0f, 0x01, 0xd1}, 0, func(c *CPU, f *fake) { f.xsave(c, 7); f.regs.RAX, f.regs.RCX, f.regs.RDX = 6, 0, 0 }, 0, nil},
			{"XSETBV, AVX without SSE", []byte{0x0f, 0x01, 0xd1}, 0, func(c *CPU, f *fake) { f.xsave(c, 7); f.regs.RAX, f.regs.RCX, f.regs.RDX = 5, 0, 0 }, 0, nil},
			{"XSETBV, too much", []byte{0x0f, 0x01, 0xd1}, 0, func(c *CPU, f *fake) { f.xsave(c, 3); f.regs.RAX, f.regs.RCX, f.regs.RDX = 7, 0, 0 }, 0, nil},
			{"XSETBV 1", []byte{0x0f, 0x01, 0xd1}, 0, func(c *CPU, f *fake) { f.xsave(c, 7); f.regs.RAX, f.regs.RCX, f.regs.RDX = 7, 1, 0 }, 0, nil},
			{"SWAPGS", []byte{0x0f, 0x01, 0xf8}, xenabi.Guest64, nil, 0, nil},
			{"LGDT", []byte{0x0f, 0x01, 0x10}, 0, nil, 0, nil},
			{"nothing", []byte{0x0f, 0xff, 0xff}, 0, nil, 0, nil},
			{"MOV", []byte{0x89, 0xc0}, 0, nil, 0, nil},
		} {
			if x.only != 0 && x.only != w {
				continue
			}
			c, f := guest(w)
			if x.set != nil {
				x.set(c, f)
			}
			f.run(t, c, x.code...)
			want := uint64(text) + x.skip
			if x.skip == 0 {
				want = denied
			}
			if f.regs.RIP != want {
				t.Errorf("%d bits, %s: RIP %#x, want %#x", w.Bits(), x.name, f.regs.RIP, want)
			} else if x.ok != nil && !x.ok(c, f) {
				t.Errorf("%d bits, %s: not done: %+v", w.Bits(), x.name, f.regs)
			}
		}
	}
}

// TestLMSWFault: where no memory is, it is a page fault.
func TestLMSWFault(t *testing.T) {
	for _, w := range []xenabi.Width{xenabi.Guest64, xenabi.Guest32} {
		c, f := guest(w)
		f.pageFaults, f.regs.RBX = true, 0x70000000
		f.run(t, c, 0x0f, 0x01, 0x33)
		if f.regs.RIP != handlerPF || f.cr2 != f.regs.RBX || c.TS {
			t.Errorf("%d bits: RIP %#x, CR2 %#x", w.Bits(), f.regs.RIP, f.cr2)
		}
	}
}

// operand makes v the 16 bits at RBX.
func (f *fake) operand(v uint16) {
	f.regs.RBX = ramStart + 0x6000
	binary.LittleEndian.PutUint16(f.ram[0x6000:], v)
}

// code32 puts the guest into a process, whose code is the flat segment's.
func (f *fake) code32(c *CPU) {
	f.user(c)
	f.seg[virt.CS].Selector, f.seg[virt.SS].Selector = xenabi.FlatKernelCS64, xenabi.FlatKernelSS64
	if c.Width == xenabi.Guest32 {
		f.seg[virt.CS].Selector, f.seg[virt.SS].Selector = xenabi.FlatUserCS32, xenabi.FlatUserSS32
	}
}

// bitmap gives the guest an I/O bitmap of n ports, all allowed.
func (f *fake) bitmap(c *CPU, n uint32) {
	c.IOBitmap, c.IOPorts = ramStart+0x7000, n
}

// xsave offers XSAVE, and turns it on.
func (f *fake) xsave(c *CPU, xcr0 uint32) {
	f.leaves[1] = [4]uint32{2: 1 << 26}
	f.leaves[0xd] = [4]uint32{xcr0}
	c.SetCR4(virt.CR4OSXSAVE)
}

func TestMSRs(t *testing.T) {
	const gp = ^uint64(0)
	for _, w := range []xenabi.Width{xenabi.Guest64, xenabi.Guest32} {
		only64 := func(v uint64) uint64 {
			if w == xenabi.Guest32 {
				return gp
			}
			return v
		}
		for _, x := range []struct {
			name  string
			index uint32
			read  uint64
			write uint64
			after uint64 // what is read then; gp: the write is #GP
		}{
			{"TSC", 0x10, 0x123456789a, 5, 0x123456789a},
			{"APIC_BASE", 0x1b, 0xfee00900, 0xfee00900, 0xfee00900},
			{"APIC_BASE moved", 0x1b, 0xfee00900, 0xfee01900, gp},
			{"PAT", 0x277, 0x0007040600070406, 0x0007040600070406, 0x0007040600070406},
			{"PAT changed", 0x277, 0x0007040600070406, 0, gp},
			{"EFER", msrEFER, map[xenabi.Width]uint64{8: 0xd01, 4: 0x800}[w], map[xenabi.Width]uint64{8: 0xd01, 4: 0x800}[w], map[xenabi.Width]uint64{8: 0xd01, 4: 0x800}[w]},
			{"EFER changed", msrEFER, map[xenabi.Width]uint64{8: 0xd01, 4: 0x800}[w], 0x1d01, gp},
			{"FS base", msrFSBase, only64(0), 0x7000, only64(0x7000)},
			{"FS base, bad", msrFSBase, only64(0), 1 << 47, gp},
			{"GS base", msrGSBase, only64(0x1111), 0xffff880000000000, only64(0xffff880000000000)},
			{"kernel GS base", msrKernelGSBase, only64(0x2222), 0x7000, only64(0x7000)},
			{"kernel GS base, bad", msrKernelGSBase, only64(0x2222), 1 << 63, gp},
			{"TSC_AUX", msrTSCAux, 0, 0x1234567, 0x1234567}, {"TSC_AUX, AMD drops the high half", msrTSCAux, 0, 1<<32 | 7, 7},
			{"LSTAR", 0xc0000082, gp, 0x1000, gp},
			{"STAR", 0xc0000081, gp, 0x1000, gp},
			{"SYSENTER_EIP", 0x176, gp, 0x1000, gp},
			{"MTRR", 0x2ff, gp, 0, gp},
			{"DEBUGCTL", 0x1d9, gp, 1, gp},
			{"hypercall page", 0x40000000, gp, 0x1000, gp},
			{"x2APIC", 0x802, gp, 0, gp},
			{"VM_HSAVE_PA", 0xc0010117, gp, 0x1000, gp},
			{"PERF_CTL0", 0xc0010000, 0, 0x1234, 0},
			{"PERF_CTR3", 0xc0010007, 0, 1, 0},
			{"NB_CFG", 0xc001001f, 1 << 46, 1 << 46, 1 << 46},
			{"LS_CFG", 0xc0011020, 0, 1, 0},
			{"FP_CFG", 0xc0011028, 0, 0, 0},
			{"nothing", 0x12345, gp, 1, gp},
		} {
			c, f := guest(w)
			c.Root = 1
			read := func() uint64 {
				f.regs.RSP, f.regs.RCX = stackTop-256, uint64(x.index)|0xabc<<32
				f.run(t, c, 0x0f, 0x32)
				if f.regs.RIP == denied {
					f.seg[virt.CS].Selector = map[xenabi.Width]uint16{8: xenabi.FlatKernelCS64, 4: xenabi.FlatKernelCS32}[w]
					return gp
				}
				return f.regs.RDX<<32 | f.regs.RAX
			}
			if got := read(); got != x.read {
				t.Errorf("%d bits, %s reads %#x, want %#x", w.Bits(), x.name, got, x.read)
			}
			f.regs.RSP, f.regs.RCX, f.regs.RAX, f.regs.RDX = stackTop-256, uint64(x.index), x.write&0xffffffff, x.write>>32
			f.run(t, c, 0x0f, 0x30)
			switch got := f.regs.RIP == denied; {
			case got != (x.after == gp):
				t.Errorf("%d bits, %s: the write is denied: %v", w.Bits(), x.name, got)
			case !got:
				if v := read(); v != x.after {
					t.Errorf("%d bits, %s reads %#x after %#x", w.Bits(), x.name, v, x.write)
				}
			}
		}
	}
	// Before it has a handler, a guest reads what isn't there as 0.
	c, f := guest(xenabi.Guest64)
	c.Traps[virt.VectorGP] = Trap{}
	f.regs.RCX, f.regs.RAX = 0x12345, 7
	f.run(t, c, 0x0f, 0x32)
	if f.regs.RAX != 0 || f.regs.RIP != text+2 || len(f.unknown) != 1 {
		t.Errorf("%+v", f.regs)
	}
}

func TestExceptions(t *testing.T) {
	for _, w := range []xenabi.Width{xenabi.Guest64, xenabi.Guest32} {
		for _, x := range []struct {
			name string
			code []byte
			set  func(c *CPU, f *fake)
			e    virt.Event
			rip  uint64
			ok   func(c *CPU, f *fake) bool
		}{
			{"INT 0x80", []byte{0xcd, 0x80}, nil, virt.Fault(virt.VectorGP, 0x80<<3|2), handler80, func(_ *CPU, f *fake) bool { return f.saved(w) == text+2 }},
			{"INT 0x80 as TCG has it", []byte{0xcd, 0x80}, nil, virt.Fault(virt.VectorGP, 0x80<<4|2), handler80, nil},
			{"INT 0x80 of a process", []byte{0xcd, 0x80}, func(c *CPU, f *fake) { f.code32(c) }, virt.Fault(virt.VectorGP, 0x80<<3|2), handler80,
				func(c *CPU, _ *fake) bool { return c.Kernel() }},
			{"INT 14", []byte{0xcd, 0x0e}, nil, virt.Fault(virt.VectorGP, 14<<3|2), denied, func(_ *CPU, f *fake) bool { return f.word(f.regs.RSP, codeAt(w), w) == 14<<3|2 }},
			{"INT 14 by TCG", []byte{0xcd, 0x0e}, nil, virt.Fault(virt.VectorGP, 14<<4|2), denied, func(_ *CPU, f *fake) bool { return f.word(f.regs.RSP, codeAt(w), w) == 14<<3|2 }},
			{"INT 0x81, no handler", []byte{0xcd, 0x81}, nil, virt.Fault(virt.VectorGP, 0x81<<3|2), denied, nil},
			{"INT 5 for the kernel", []byte{0xcd, 5}, func(c *CPU, f *fake) { c.Traps[5] = c.Traps[0x80]; c.Traps[5].Flags = 1 }, virt.Fault(virt.VectorGP, 5<<3|2), handler80, nil},
			{"INT 5 for the kernel, of a process", []byte{0xcd, 5}, func(c *CPU, f *fake) { c.Traps[5] = c.Traps[0x80]; c.Traps[5].Flags = 1; f.code32(c) },
				virt.Fault(virt.VectorGP, 5<<3|2), denied, nil},
			{"INT 0x80, gone", []byte{0x90, 0x90}, nil, virt.Fault(virt.VectorGP, 0x80<<3|2), denied, nil},
			{"a selector", []byte{0x0f, 0x06}, nil, virt.Fault(virt.VectorGP, 0x18), denied, nil},
			{"#NM", nil, func(c *CPU, _ *fake) { c.setTS(true) }, virt.Fault(vectorNM, 0), handlerNM, func(c *CPU, f *fake) bool { return !c.TS && f.sys[virt.CR0]&cr0TS == 0 }},
			{"#NM that is not the guest's", nil, nil, virt.Fault(vectorNM, 0), text, nil},
			{"#UD", []byte{0x0f, 0x0b}, nil, virt.Fault(virt.VectorUD, 0), handlerUD, nil},
			{"forced CPUID", []byte("\x0f\x0bxen\x0f\xa2"), func(_ *CPU, f *fake) { f.regs.RAX = 1 }, virt.Fault(virt.VectorUD, 0), text + 7,
				func(_ *CPU, f *fake) bool { return f.regs.RDX == 4 }},
			{"forced something else", []byte("\x0f\x0bxen\x0f\x31"), nil, virt.Fault(virt.VectorUD, 0), handlerUD, nil},
			{"forced CPUID, single step", []byte("\x0f\x0bxen\x0f\xa2"), func(_ *CPU, f *fake) { f.regs.RFLAGS |= virt.FlagTF }, virt.Fault(virt.VectorUD, 0), handlerDB,
				func(_ *CPU, f *fake) bool {
					return f.saved(w) == text+7 && f.sys[virt.DR6]&dr6Step != 0 && f.regs.RFLAGS&virt.FlagTF == 0
				}},
			{"OUTSB, single step", []byte{0x6e}, func(c *CPU, f *fake) { c.IOPL = 1; f.regs.RSI = ramStart + 0x6000; f.regs.RFLAGS |= virt.FlagTF },
				virt.Fault(virt.VectorGP, 0), handlerDB, func(_ *CPU, f *fake) bool { return f.saved(w) == text+1 && f.regs.RSI == ramStart+0x6001 }},
			{"SYSENTER", []byte{0x0f, 0x34}, func(c *CPU, f *fake) { f.code32(c); c.Sysenter = c.Event; c.Sysenter.Address = 0x6666 }, virt.Fault(virt.VectorGP, 0), 0x6666, nil},
			{"SYSENTER on AMD", []byte{0x0f, 0x34}, func(c *CPU, f *fake) { f.code32(c); c.Sysenter = c.Event; c.Sysenter.Address = 0x6666 }, virt.Fault(virt.VectorUD, 0), 0x6666, nil},
			{"SYSENTER, not asked for", []byte{0x0f, 0x34}, func(c *CPU, f *fake) { f.code32(c) }, virt.Fault(virt.VectorGP, 0), denied, nil},
			{"SYSENTER of the kernel", []byte{0x0f, 0x34}, func(c *CPU, _ *fake) { c.Sysenter = c.Event }, virt.Fault(virt.VectorGP, 0), denied, nil},
			{"code that can't be read", nil, func(_ *CPU, f *fake) { f.regs.RIP = 5 }, virt.Fault(virt.VectorGP, 0), denied, nil},
		} {
			c, f := guest(w)
			copy(f.ram[text-ramStart:], x.code)
			if x.set != nil {
				x.set(c, f)
			}
			if err := c.Exception(x.e); err != nil {
				t.Errorf("%d bits, %s: %v", w.Bits(), x.name, err)
			} else if f.regs.RIP != x.rip {
				t.Errorf("%d bits, %s: RIP %#x, want %#x", w.Bits(), x.name, f.regs.RIP, x.rip)
			} else if x.ok != nil && !x.ok(c, f) {
				t.Errorf("%d bits, %s: wrong: %+v", w.Bits(), x.name, f.regs)
			}
		}
	}
}

// codeAt is where a frame has the error code.
func codeAt(w xenabi.Width) int {
	if w == xenabi.Guest64 {
		return 2
	}
	return 0
}

// saved is the RIP in a frame without an error code.
func (f *fake) saved(w xenabi.Width) uint64 { return f.word(f.regs.RSP, codeAt(w), w) }

func TestFaultOfStringIO(t *testing.T) {
	c, f := guest(xenabi.Guest64)
	c.IOPL = 1
	f.regs.RDI = 1 << 47 // not canonical
	f.run(t, c, 0x6c)
	check(t, "rip", f.regs.RIP, denied)
	c, f = guest(xenabi.Guest64)
	c.IOPL = 1
	f.regs.RDI = 5 // nowhere, for a reason that is no page fault
	f.run(t, c, 0x6c)
	check(t, "rip", f.regs.RIP, denied)
}

func TestDescriptors(t *testing.T) {
	for _, x := range []struct {
		name   string
		lo, hi uint32
		wide   bool
		fixed  uint32
		ok     bool
	}{
		{"not present", 0xffffffff, 0xffff7fff, true, 0xffff7fff, true},
		{"code of ring 0", 0xffff, 0x00af9a00, true, 0x00affb00, true},
		{"code of ring 0, 32-bit", 0xffff, 0x00cf9a00, false, 0x00cfbb00, true},
		{"data of ring 3", 0xffff, 0x00cff200, false, 0x00cff300, true},
		{"data of ring 2", 0xffff, 0x00cfd200, true, 0x00cff300, true},
		{"long code of a 32-bit guest", 0xffff, 0x00affa00, false, 0, false},
		{"long and big code", 0xffff, 0x00effa00, true, 0, false},
		{"LDT", 0, 0x00008200, true, 0, false}, {"TSS", 0, 0x00008900, true, 0, false}, {"busy TSS", 0, 0x00008b00, false, 0, false},
		{"call gate", 0x000e1000, 0x0000ec00, false, 0, false}, {"16-bit call gate", 0, 0xe400, false, 0, false},
		{"interrupt gate", 0, 0xee00, true, 0, false}, {"trap gate", 0, 0xef00, true, 0, false}, {"task gate", 0, 0xe500, false, 0, false},
	} {
		lo, hi, ok := CheckDescriptor(x.lo, x.hi, x.wide)
		if ok != x.ok || ok && (lo != x.lo || hi != x.fixed) {
			t.Errorf("%s: %#x %#x %v", x.name, lo, hi, ok)
		}
	}
}

// TestTables: where descriptors are looked for.
func TestTables(t *testing.T) {
	c, f := guest(xenabi.Guest64)
	c.GDT[0], c.GDTEntries = 7, 3
	const data = 0x12cff3345678ffff
	f.gdt[16+7], f.gdt[16+6], f.gdt[16+5], f.gdt[16+4], f.gdt[16+3], f.gdt[16+2] = 0x12, 0xcf, 0xf3, 0x34, 0x56, 0x78
	f.gdt[16+1], f.gdt[16] = 0xff, 0xff
	copy(f.ram[0x3000:], f.gdt[16:24])
	c.LDT, c.LDTEntries = ramStart+0x3000, 1
	for _, x := range []struct {
		sel uint16
		ok  bool
	}{{0x13, true}, {0x10, true}, {0x1b, false}, {7, true}, {0xf, false}, {0xdfff, false}, {xenabi.FlatKernelSS64, true}, {xenabi.FlatKernelCS64, true}, {0xffff, false}, {0xe019, false}} {
		d, ok := c.descriptor(x.sel)
		if ok != x.ok || x.sel < 0x20 && ok && d != data {
			t.Errorf("selector %#x: %#x %v", x.sel, d, ok)
		}
	}
	if descriptorBase(data) != 0x12345678 {
		t.Errorf("base %#x", descriptorBase(data))
	}
	if e := c.SetSegmentBase(pv.SegbaseGSUserSel, 0x13); e != 0 || f.sys[virt.KernelGSBase] != 0x12345678 || f.seg[virt.GS].Selector != 0x13 {
		t.Errorf("%v %+v", e, f.seg[virt.GS])
	}
	for _, x := range []struct {
		d    uint64
		sel  uint16
		want bool
	}{
		{data, 0x13, true}, {data &^ (1 << 47), 0x13, false}, {data &^ (3 << 45), 0x10, false}, {data &^ (1 << 44), 0x13, false},
		{0x00cffb000000ffff, 0x13, true}, {0x00cff9000000ffff, 0x13, false}, {0x00cf9f000000ffff, 0x13, true}, {0, 3, true}, {0, 0x13, false},
	} {
		for i := range 8 {
			f.gdt[16+i] = byte(x.d >> (8 * i))
		}
		if got := c.loadable(x.sel, 3); got != x.want {
			t.Errorf("selector %#x of %#x: loadable %v", x.sel, x.d, got)
		}
	}
}
