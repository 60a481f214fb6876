package pvcpu

import (
	"strings"
	"testing"

	"nidus/kernel/virt"
	"nidus/kernel/virt/pv"
	"nidus/kernel/xenabi"
)

func TestIret64(t *testing.T) {
	const w = xenabi.Guest64
	for _, x := range []struct {
		name                   string
		flags, rip, cs, rfl    uint64
		ss                     uint64
		user                   bool
		wantCS, wantSS         uint64
		wantRCX, wantR11, rip2 uint64
	}{
		{"to a process", 0, 0x7777, 0x33, 0x246, 0x2b, true, 0x33, 0x2b, 0xcc, 0xbb, 0x7777},
		{"to a process, as SYSRET", pv.InSyscall, 0x7777, 0x33, 0x246, 0x2b, true, xenabi.FlatKernelCS64, xenabi.FlatKernelSS64, 0x7777, 0x246, 0x7777},
		{"to the kernel", 0, 0x7777, 0x30, 0x246, 0x28, false, 0x33, 0x2b, 0xcc, 0xbb, 0x7777},
		{"to the kernel of ring 1", 0, 0x7777, 0x31, 0x46, 0x29, false, 0x33, 0x2b, 0xcc, 0xbb, 0x7777},
		{"bad flags", 0, 0x7777, 0x33, ^uint64(0), 0x2b, true, 0x33, 0x2b, 0xcc, 0xbb, 0x7777},
		{"to no address", 0, 1 << 47, xenabi.FlatKernelCS64 &^ 3, 0x246, xenabi.FlatKernelSS64, false, xenabi.FlatKernelCS64, xenabi.FlatKernelSS64, 0xcc, 0xbb, handlerGP},
	} {
		c, f := guest(w)
		c.NMIMasked, f.mask = true, true
		f.put(f.regs.RSP, w, 0xaa, 0xbb, 0xcc, x.flags, x.rip, x.cs, x.rfl, 0x104000, x.ss)
		if err := c.Iret(); err != nil {
			t.Errorf("%s: %v", x.name, err)
			continue
		}
		r := &f.regs
		check(t, x.name+": rip", r.RIP, x.rip2)
		check(t, x.name+": cs", uint64(f.seg[virt.CS].Selector), x.wantCS)
		check(t, x.name+": ss", uint64(f.seg[virt.SS].Selector), x.wantSS)
		check(t, x.name+": rax", r.RAX, 0xaa)
		check(t, x.name+": rcx", r.RCX, x.wantRCX)
		check(t, x.name+": r11", r.R11, x.wantR11)
		if c.UserMode != x.user || c.NMIMasked {
			t.Errorf("%s: user %v, NMI masked %v", x.name, c.UserMode, c.NMIMasked)
		}
		if x.user {
			check(t, x.name+": root", uint64(f.root), 2)
			check(t, x.name+": gs", f.seg[virt.GS].Base, 0x2222)
			check(t, x.name+": rsp", r.RSP, 0x104000)
		}
		if r.RIP == 0x7777 && f.mask != (x.rfl&virt.FlagIF == 0) {
			t.Errorf("%s: masked %v", x.name, f.mask)
		}
		if r.RFLAGS&virt.FlagIF == 0 || r.RFLAGS&(virt.FlagVM|virt.FlagIOPL) != 0 || r.RFLAGS>>22 != 0 || r.RFLAGS&(3<<19) != 0 {
			t.Errorf("%s: rflags %#x", x.name, r.RFLAGS)
		}
	}
	c, f := guest(w)
	c.UserRoot = 0
	f.put(f.regs.RSP, w, 0, 0, 0, 0, 0x7777, 0x33, 0x246, 0x104000, 0x2b)
	if err := c.Iret(); err == nil || !strings.Contains(err.Error(), "no page tables") {
		t.Error(err)
	}
	f.regs.RSP = ramStart + ramSize - 64
	if err := c.Iret(); err == nil || !strings.Contains(err.Error(), "can't be read") {
		t.Error(err)
	}
	c, f = guest(w)
	c.Assist.Store(1 << xenabi.VMAssistTypeArchitecturalIOPL)
	f.put(f.regs.RSP, w, 0, 0, 0, 0, 0x7777, 0x33, 0x246|2<<virt.FlagIOPLShift, 0x104000, 0x2b)
	if err := c.Iret(); err != nil || c.IOPL != 2 {
		t.Error(err, c.IOPL)
	}
}

// TestEntryFault: what IRET says of CS, SS and RIP.
func TestEntryFault(t *testing.T) {
	for _, w := range []xenabi.Width{xenabi.Guest64, xenabi.Guest32} {
		for _, x := range []struct {
			name   string
			cs, ss uint16
			code   uint64
		}{
			{"CS of the hypervisor", 0xe00b, 0, 0xe008},
			{"CS null", 3, 0, 0},
			{"CS of data", 0, 0, 0},
			{"SS null", 0, 3, 0},
			{"SS of the hypervisor", 0, 0xe043, 0xe040},
			{"CS that isn't", 0x103, 0, 0x100},
			{"SS of the LDT that isn't", 0, 0x107, 0x104},
		} {
			c, f := guest(w)
			f.code32(c)
			code, stack := f.seg[virt.CS].Selector, f.seg[virt.SS].Selector
			if x.cs == 0 {
				x.cs = code
			}
			if x.ss == 0 {
				x.ss = stack
			}
			if x.name == "CS of data" {
				x.cs, x.code = stack, uint64(stack&^3)
			}
			f.seg[virt.CS].Selector, f.seg[virt.SS].Selector = x.cs, x.ss
			if err := c.BadEntry(); err != nil {
				t.Errorf("%d bits, %s: %v", w.Bits(), x.name, err)
				continue
			}
			check(t, x.name+": rip", f.regs.RIP, handlerGP)
			check(t, x.name+": error code", f.word(f.regs.RSP, codeAt(w), w), x.code)
			if got := f.word(f.regs.RSP, codeAt(w)+2, w) & 0xffff; got != uint64(x.cs) {
				t.Errorf("%s: CS %#x in the frame", x.name, got)
			}
		}
		c, _ := guest(w)
		c.Failsafe = Callback{}
		c.M.SetSegment(virt.ES, virt.Segment{Selector: 0x103})
		if err := c.BadEntry(); err == nil || !strings.Contains(err.Error(), "failsafe") {
			t.Error(err)
		}
	}
}

func TestFailsafe64(t *testing.T) {
	c, f := guest(xenabi.Guest64)
	f.seg[virt.DS].Selector, f.seg[virt.ES].Selector = 0x2b, xenabi.FlatKernelSS64 // the first is not there
	f.user(c)
	if err := c.BadEntry(); err != nil {
		t.Fatal(err)
	}
	f.frame(t, c.Width, 0xc, 0xb, 0x2b, xenabi.FlatKernelSS64, 0, 0, text, 0x33, f.word(f.regs.RSP, 8, c.Width), userTop, 0x2b)
	check(t, "ds", uint64(f.seg[virt.DS].Selector), 0)
	check(t, "es", uint64(f.seg[virt.ES].Selector), xenabi.FlatKernelSS64)
	check(t, "rip", f.regs.RIP, handlerSafe)
	if !f.mask {
		t.Error("events are not masked")
	}
}

func TestIret32(t *testing.T) {
	const w = xenabi.Guest32
	c, f := guest(w)
	f.mask, c.NMIMasked = true, true
	f.put(f.regs.RSP, w, 0xaa, 0x7777, 0x73, 0x246, 0x104000, 0x78)
	if err := c.Iret(); err != nil {
		t.Fatal(err)
	}
	r := &f.regs
	if r.RAX != 0xaa || r.RIP != 0x7777 || r.RSP != 0x104000 || f.seg[virt.CS].Selector != 0x73 || f.seg[virt.SS].Selector != 0x7b || f.mask || c.NMIMasked || c.Kernel() {
		t.Errorf("%+v", r)
	}
	c, f = guest(w)
	sp := f.regs.RSP
	f.put(sp, w, 0xaa, 0x7777, 0x19, 0x46, 0x104000, 0x78)
	if err := c.Iret(); err != nil {
		t.Fatal(err)
	}
	if f.regs.RSP != sp+16 || f.regs.RIP != 0x7777 || f.seg[virt.SS].Selector != xenabi.FlatKernelSS32 || !f.mask || !c.Kernel() {
		t.Errorf("%+v", f.regs)
	}
	for _, x := range []struct {
		want string
		set  func(f *fake)
	}{
		{"ring 0", func(f *fake) { f.put(f.regs.RSP, w, 0, 0, 0x70, 0) }},
		{"ring 2", func(f *fake) { f.put(f.regs.RSP, w, 0, 0, 0x72, 0) }},
		{"8086", func(f *fake) { f.put(f.regs.RSP, w, 0, 0, 0x73, virt.FlagVM) }},
		{"can't be read", func(f *fake) { f.regs.RSP = 5 }},
		{"can't be read", func(f *fake) { f.regs.RSP = 0xfffffff8 }},
		{"can't be read", func(f *fake) { f.regs.RSP = ramStart + ramSize - 16; f.put(f.regs.RSP, w, 0, 0, 0x73, 0) }},
		{"stack segment", func(f *fake) { f.seg[virt.SS].Selector = 0x61 }},
		{"stack segment", func(f *fake) { f.seg[virt.SS].Selector = xenabi.FlatKernelCS32 }},
	} {
		c, f := guest(w)
		x.set(f)
		if err := c.Iret(); err == nil || !strings.Contains(err.Error(), x.want) {
			t.Errorf("%s: %v", x.want, err)
		}
	}
}

// TestRoundTrip: what an exception or a callback pushes, iret takes back.
func TestRoundTrip(t *testing.T) {
	for _, w := range []xenabi.Width{xenabi.Guest64, xenabi.Guest32} {
		for _, user := range []bool{false, true} {
			c, f := guest(w)
			f.pending = true
			if user {
				f.code32(c)
			}
			regs, seg, sys, root := f.regs, f.seg, f.sys, f.root
			if done, err := c.DeliverEvent(); !done || err != nil {
				t.Fatal(done, err)
			}
			// What a kernel's stub does before it calls iret.
			r := &f.regs
			if w == xenabi.Guest64 {
				rcx, r11 := f.word(r.RSP, 0, w), f.word(r.RSP, 1, w)
				r.RSP -= 2 * 8
				f.put(r.RSP, w, r.RAX, r11, rcx, 0)
			} else {
				r.RSP -= 4
				f.put(r.RSP, w, r.RAX)
			}
			// The frame's CS has the old mask above it, which iret ignores.
			if err := c.Iret(); err != nil {
				t.Fatal(err)
			}
			if f.regs != regs || f.seg != seg || f.sys != sys || f.root != root || f.mask {
				t.Errorf("%d bits, user %v:\n%+v\n%+v", w.Bits(), user, f.regs, regs)
			}
		}
	}
}

func TestNoAllocations(t *testing.T) {
	for _, w := range []xenabi.Width{xenabi.Guest64, xenabi.Guest32} {
		c, f := guest(w)
		f.pending = true
		f.code32(c)
		saved := *f
		state := c.State
		for name, op := range map[string]func() error{
			"page fault": func() error { return c.Deliver(virt.Fault(virt.VectorPF, 4)) },
			"event":      func() error { _, err := c.DeliverEvent(); return err },
			"SYSCALL":    func() error { return c.Syscall(w == xenabi.Guest32) },
			"iret":       func() error { return c.Iret() },
			"RDTSC":      func() error { return c.Exception(virt.Fault(virt.VectorGP, 0)) },
			"INT 0x80":   func() error { return c.Exception(virt.Fault(virt.VectorGP, 0x80<<3|2)) },
			"forced":     func() error { return c.Exception(virt.Fault(virt.VectorUD, 0)) },
			"base":       func() error { c.SetSegmentBase(0, 1); return nil },
			"TS":         func() error { c.FPUTaskswitch(!c.TS); return nil },
		} {
			n := testing.AllocsPerRun(100, func() {
				*f, c.State = saved, state
				c.Syscall32 = c.Event
				switch name {
				case "RDTSC":
					copy(f.ram[text-ramStart:], "\x0f\x31")
				case "INT 0x80":
					copy(f.ram[text-ramStart:], "\xcd\x80")
				case "forced":
					copy(f.ram[text-ramStart:], "\x0f\x0bxen\x0f\xa2")
				case "iret":
					f.seg[virt.SS].Selector = c.KernelSS
					f.put(f.regs.RSP, w, 1, 2, 0x73, 0, 5, 0x73, 7, 8, 9)
				}
				if err := op(); err != nil {
					t.Fatal(name, err)
				}
			})
			if n != 0 {
				t.Errorf("%d bits: %s allocates %v times", w.Bits(), name, n)
			}
		}
	}
}
