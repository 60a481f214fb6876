package pvcpu

import (
	"testing"

	"nidus/kernel/virt"
	"nidus/kernel/xenabi"
)

// sane is what must hold of a guest's registers before each entry, whatever it did.
func sane(t *testing.T, c *CPU, f *fake) {
	t.Helper()
	if fl := f.regs.RFLAGS; fl&virt.FlagIF == 0 || fl&(virt.FlagIOPL|virt.FlagVM) != 0 || fl&virt.FlagFixed == 0 {
		t.Fatalf("rflags %#x", fl)
	}
	cs, ss := f.seg[virt.CS].Selector, f.seg[virt.SS].Selector
	if c.Width == xenabi.Guest64 && (cs&3 != 3 || ss&3 != 3) || cs&3 == 0 || ss&3 == 0 {
		t.Fatalf("cs %#x, ss %#x", cs, ss)
	}
	if c.Width == xenabi.Guest64 && (!virt.Canonical(f.seg[virt.GS].Base) || !virt.Canonical(f.seg[virt.FS].Base) || !virt.Canonical(f.sys[virt.KernelGSBase])) {
		t.Fatal("a base is not canonical")
	}
	for r := virt.DR0; r <= virt.DR3; r++ {
		if a := f.sys[r]; !virt.Canonical(a) || !outside(a, 8) {
			t.Fatalf("a breakpoint at %#x", a)
		}
	}
	if dr7 := f.sys[virt.DR7]; dr7&dr7GD != 0 || dr7>>32 != 0 {
		t.Fatalf("dr7 %#x", dr7)
	}
	if c.Width == xenabi.Guest64 && !c.UserMode != (f.root == c.Root) && c.Root != c.UserRoot {
		t.Fatalf("root %d in user mode %v", f.root, c.UserMode)
	}
	if c.IOPL > 3 {
		t.Fatal("iopl", c.IOPL)
	}
}

func widthOf(wide bool) xenabi.Width {
	if wide {
		return xenabi.Guest64
	}
	return xenabi.Guest32
}

func FuzzEmulate(f *testing.F) {
	for _, s := range []string{"\x0f\x06", "\x0f\x22\xc0", "\x0f\x23\xc7", "\x0f\x30", "\x0f\x32", "\xf3\x6c", "\xf3\x66\x6f", "\xe5\x70", "\xcd\x80",
		"\x0f\x0bxen\x0f\xa2", "\x0f\x34", "\x0f\x01\xd1", "\x66\x67\xf2\xf0\x48\xef"} {
		f.Add([]byte(s), true, false, uint64(0x101234), uint64(1)<<47, uint32(0))
		f.Add([]byte(s), false, true, uint64(0xc0000101), uint64(3), uint32(0x402))
	}
	f.Fuzz(func(t *testing.T, code []byte, wide, user bool, a, b uint64, errorCode uint32) {
		c, m := guest(widthOf(wide))
		copy(m.ram[text-ramStart:], code)
		c.IOPL, c.IOBitmap, c.IOPorts = uint8(b)&3, ramStart+0x7000, uint32(a)&0x1ffff
		if user {
			m.code32(c)
		}
		for i := range uint8(16) {
			if i == 4 { // RSP
				continue
			}
			*m.regs.GPR(i) = a
			if i&1 != 0 {
				*m.regs.GPR(i) = b
			}
		}
		if !wide {
			for i := range uint8(8) {
				*m.regs.GPR(i) &= 0xffffffff
			}
		}
		for range 4 {
			if c.Exception(virt.Fault(virt.VectorGP, errorCode)) != nil || c.Exception(virt.Fault(virt.VectorUD, 0)) != nil {
				return // the domain ends
			}
			sane(t, c, m)
			m.regs.RIP = text
		}
	})
}

func FuzzIret(f *testing.F) {
	f.Add(true, false, uint64(0), uint64(0x1000), uint64(0x33), uint64(0x202), uint64(stackTop), uint64(0x2b))
	f.Add(true, false, uint64(0x100), uint64(1)<<47, uint64(0x30), uint64(0x202), uint64(stackTop), uint64(0x2b))
	f.Add(false, true, uint64(0), uint64(0x1000), uint64(0x73), ^uint64(0), uint64(5), uint64(0))
	f.Fuzz(func(t *testing.T, wide, iopl bool, flags, rip, cs, rflags, rsp, ss uint64) {
		w := widthOf(wide)
		c, m := guest(w)
		if iopl {
			c.Assist.Store(1 << xenabi.VMAssistTypeArchitecturalIOPL)
		}
		if wide {
			m.put(m.regs.RSP, w, 1, 2, 3, flags, rip, cs, rflags, rsp, ss)
		} else {
			m.put(m.regs.RSP, w, 1, rip, cs, rflags, rsp, ss)
		}
		if c.Iret() != nil {
			return
		}
		sane(t, c, m)
		if c.Syscall(!wide) != nil || c.BadEntry() != nil {
			return
		}
		sane(t, c, m)
	})
}

func FuzzContext(f *testing.F) {
	f.Add(true, []byte{})
	f.Add(false, make([]byte, 2800))
	seed := make([]byte, 5168)
	good := &xenabi.VCPUGuestContext{Flags: xenabi.VGCFInKernel}
	good.CR[3] = 3 << 12
	xenabi.Encode(xenabi.Guest64, seed, good)
	f.Add(true, seed)
	f.Fuzz(func(t *testing.T, wide bool, b []byte) {
		w := widthOf(wide)
		g := new(xenabi.VCPUGuestContext)
		b = append(b, make([]byte, xenabi.Size(w, g))...)
		xenabi.Decode(w, b, g)
		c, m := guest(w)
		if c.CheckContext(g) != 0 || c.Prepare(g) != nil || c.Start(g) != nil {
			return
		}
		m.root = c.Root // the fake's NewRoot doesn't set it
		if c.UserMode {
			m.root = c.UserRoot
		}
		sane(t, c, m)
		for v := range uint8(32) {
			if c.Deliver(virt.Fault(v, 0)) != nil {
				return
			}
			sane(t, c, m)
		}
	})
}
