package pvcpu

import (
	"strings"
	"testing"

	"nidus/kernel/virt"
	"nidus/kernel/xenabi"
)

// frame compares what is on the guest's stack.
func (f *fake) frame(t *testing.T, w xenabi.Width, want ...uint64) {
	t.Helper()
	for i, v := range want {
		if got := f.word(f.regs.RSP, i, w); got != v {
			t.Errorf("word %d of the frame: %#x, want %#x", i, got, v)
		}
	}
}

func TestDeliverFrames64(t *testing.T) {
	const w = xenabi.Guest64
	const fl = virt.FlagIF | virt.FlagFixed | 1
	t.Run("fault in the kernel", func(t *testing.T) {
		c, f := guest(w)
		f.regs.RSP -= 8 // the frame is aligned
		f.regs.RFLAGS |= virt.FlagTF | virt.FlagNT | virt.FlagRF
		sp := f.regs.RSP
		if err := c.Deliver(virt.Fault(virt.VectorGP, 0x18)); err != nil {
			t.Fatal(err)
		}
		check(t, "rsp", f.regs.RSP, stackTop-272-64)
		f.frame(t, w, 0xc, 0xb, 0x18, text, xenabi.FlatKernelCS64&^3, fl|virt.FlagTF|virt.FlagNT|virt.FlagRF, sp, xenabi.FlatKernelSS64)
		check(t, "rip", f.regs.RIP, handlerGP)
		check(t, "rflags", f.regs.RFLAGS, fl)
		if f.mask || c.UserMode {
			t.Error("mask or mode changed")
		}
	})
	t.Run("page fault of a process", func(t *testing.T) {
		c, f := guest(w)
		f.user(c)
		f.sys[virt.CR2] = 0xdead000
		if err := c.Deliver(virt.Fault(virt.VectorPF, 2)); err != nil {
			t.Fatal(err)
		}
		check(t, "rsp", f.regs.RSP, stackTop-64)
		f.frame(t, w, 0xc, 0xb, 2|pfUser, text, 0x33, fl, userTop, 0x2b)
		check(t, "cr2", f.cr2, 0xdead000)
		check(t, "root", uint64(f.root), 1)
		check(t, "gs", f.seg[virt.GS].Base, 0x1111)
		check(t, "the other gs", f.sys[virt.KernelGSBase], 0x2222)
		check(t, "cs", uint64(f.seg[virt.CS].Selector), xenabi.FlatKernelCS64)
		check(t, "ss", uint64(f.seg[virt.SS].Selector), xenabi.FlatKernelSS64)
		if !f.mask {
			t.Error("its trap masks events")
		}
	})
	t.Run("page fault of the kernel", func(t *testing.T) {
		c, f := guest(w)
		f.mask = true
		if err := c.Deliver(virt.Fault(virt.VectorPF, 2|pfUser)); err != nil {
			t.Fatal(err)
		}
		f.frame(t, w, 0xc, 0xb, 2, text, 1<<32|xenabi.FlatKernelCS64&^3, fl&^virt.FlagIF)
	})
	t.Run("event", func(t *testing.T) {
		c, f := guest(w)
		if done, err := c.DeliverEvent(); done || err != nil {
			t.Fatal("none is pending", err)
		}
		f.pending, f.mask = true, true
		if done, err := c.DeliverEvent(); done || err != nil {
			t.Fatal("it is masked", err)
		}
		f.mask = false
		if done, err := c.DeliverEvent(); !done || err != nil {
			t.Fatal("no event", err)
		}
		f.frame(t, w, 0xc, 0xb, text, xenabi.FlatKernelCS64&^3, fl, stackTop-256, xenabi.FlatKernelSS64)
		check(t, "rip", f.regs.RIP, handlerEvent)
		if !f.mask {
			t.Error("events are not masked in the callback")
		}
		f.mask, c.Event.Address = false, 0
		if _, err := c.DeliverEvent(); err == nil {
			t.Error("without a callback")
		}
	})
	t.Run("NMI", func(t *testing.T) {
		c, f := guest(w)
		for _, want := range []bool{true, false} { // it masks itself
			if done, err := c.DeliverNMI(); done != want || err != nil {
				t.Fatal(done, err)
			}
		}
		check(t, "rip", f.regs.RIP, handlerNMI)
	})
	t.Run("SYSCALL", func(t *testing.T) {
		c, f := guest(w)
		f.user(c)
		f.regs.RFLAGS |= virt.FlagDF
		if err := c.Syscall(false); err != nil {
			t.Fatal(err)
		}
		f.frame(t, w, 0xc, 0xb, text, xenabi.FlatKernelCS64, fl|virt.FlagDF, userTop, xenabi.FlatKernelSS64)
		check(t, "rip", f.regs.RIP, handlerSys)
		check(t, "rflags", f.regs.RFLAGS, fl)
		if !f.mask || c.UserMode {
			t.Error("mask or mode")
		}
	})
	t.Run("SYSCALL of 32-bit code without a callback", func(t *testing.T) {
		c, f := guest(w)
		f.user(c)
		if err := c.Syscall(true); err != nil {
			t.Fatal(err)
		}
		f.frame(t, w, 0xc, 0xb, text-2, 0x33)
		check(t, "rip", f.regs.RIP, handlerUD)
	})
	t.Run("architectural IOPL", func(t *testing.T) {
		c, f := guest(w)
		c.IOPL = 1
		c.Assist.Store(1 << xenabi.VMAssistTypeArchitecturalIOPL)
		if err := c.Deliver(virt.Fault(virt.VectorUD, 0)); err != nil {
			t.Fatal(err)
		}
		f.frame(t, w, 0xc, 0xb, text, xenabi.FlatKernelCS64&^3, fl|1<<virt.FlagIOPLShift)
	})
}

func TestDeliverBad(t *testing.T) {
	for _, w := range []xenabi.Width{xenabi.Guest64, xenabi.Guest32} {
		for _, x := range []struct {
			name, want string
			set        func(c *CPU, f *fake)
		}{
			{"no handler", "no handler", func(c *CPU, _ *fake) { c.Traps[virt.VectorGP] = Trap{} }},
			{"stack nowhere", "can't be written", func(_ *CPU, f *fake) { f.regs.RSP = 64 }},
			{"stack at 0", "can't be written", func(_ *CPU, f *fake) { f.regs.RSP = 0 }},
			{"kernel's stack nowhere", "can't be written", func(c *CPU, f *fake) { f.user(c); c.KernelSP = 0 }},
			{"stack in the hole", "can't be", func(_ *CPU, f *fake) { f.regs.RSP = xenabi.HypervisorVirtStart64 + 0x2000 }},
			{"stack not canonical", "can't be", func(_ *CPU, f *fake) { f.regs.RSP = 1 << 47 }},
			{"stack across the canonical end", "can't be", func(_ *CPU, f *fake) { f.regs.RSP = 1<<47 + 16 }},
		} {
			c, f := guest(w)
			x.set(c, f)
			if err := c.Deliver(virt.Fault(virt.VectorGP, 0)); err == nil || !strings.Contains(err.Error(), x.want) {
				t.Errorf("%d bits, %s: %v", w.Bits(), x.name, err)
			}
		}
	}
	c, f := guest(xenabi.Guest64)
	c.Traps[virt.VectorGP].Address = 1 << 47
	if err := c.Deliver(virt.Fault(virt.VectorGP, 0)); err == nil || !strings.Contains(err.Error(), "no address") {
		t.Error(err)
	}
	c, f = guest(xenabi.Guest32)
	c.Traps[virt.VectorGP].CS = xenabi.FlatUserCS32
	if err := c.Deliver(virt.Fault(virt.VectorGP, 0)); err == nil || !strings.Contains(err.Error(), "ring 1") {
		t.Error(err)
	}
	c, f = guest(xenabi.Guest32)
	f.user(c)
	c.KernelSS = xenabi.FlatUserSS32
	if err := c.Deliver(virt.Fault(virt.VectorGP, 0)); err == nil || !strings.Contains(err.Error(), "stack segment") {
		t.Error(err)
	}
}

func TestDeliverFrames32(t *testing.T) {
	const w = xenabi.Guest32
	const fl = virt.FlagIF | virt.FlagFixed | 1
	c, f := guest(w)
	if err := c.Deliver(virt.Fault(virt.VectorGP, 0x18)); err != nil {
		t.Fatal(err)
	}
	check(t, "esp", f.regs.RSP, stackTop-256-16)
	f.frame(t, w, 0x18, text, xenabi.FlatKernelCS32, fl)
	check(t, "eip", f.regs.RIP, handlerGP)

	c, f = guest(w)
	f.user(c)
	f.mask = true
	f.sys[virt.CR2] = 0x1234
	if err := c.Deliver(virt.Fault(virt.VectorPF, 0)); err != nil {
		t.Fatal(err)
	}
	check(t, "esp", f.regs.RSP, stackTop-24)
	f.frame(t, w, pfUser, text, 0x73|1<<16, fl&^virt.FlagIF, userTop, 0x7b)
	check(t, "cs", uint64(f.seg[virt.CS].Selector), xenabi.FlatKernelCS32)
	check(t, "ss", uint64(f.seg[virt.SS].Selector), xenabi.FlatKernelSS32)

	c, f = guest(w)
	for i, s := range dataSegments {
		f.seg[s].Selector = uint16(0x100 + 8*i) // none of them is there
	}
	f.user(c)
	if err := c.BadEntry(); err != nil {
		t.Fatal(err)
	}
	f.frame(t, w, 0x100, 0x108, 0x110, 0x118, text, 0x73, fl, userTop, 0x7b)
	for _, s := range dataSegments {
		check(t, "a bad selector", uint64(f.seg[s].Selector), 0)
	}
}
