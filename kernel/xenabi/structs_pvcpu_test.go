package xenabi

import (
	"encoding/binary"
	"testing"
)

// pvPlace is where a field of a structure of PV guests lies in both widths; -1: not
// there. TestAgainstHeaders has the compiler check the same numbers.
type pvPlace struct {
	name, field    string
	off64, off32   int
	value          func() uint64 // nil: not compared
	size64, size32 int           // sizeof(name) instead, without a field
}

const vgc = "struct vcpu_guest_context"

func pvPlaces(c *VCPUGuestContext) []pvPlace {
	return []pvPlace{
		{name: vgc, size64: 5168, size32: 2800},
		{name: "struct trap_info", size64: 16, size32: 8},
		{name: "struct callback_register", size64: 16, size32: 12},
		{name: "struct physdev_set_iobitmap", size64: 16, size32: 8},
		{name: "struct xen_machphys_mapping", size64: 24, size32: 12},
		{name: "struct xen_machphys_mfn_list", size64: 24, size32: 12},
		{name: "struct xen_memory_exchange", size64: 72, size32: 44},
		{name: vgc, field: "flags", off64: 512, off32: 512, value: func() uint64 { return c.Flags }},
		{name: vgc, field: "user_regs.eip", off64: 648, off32: 548, value: func() uint64 { return c.Regs.RIP }},
		{name: vgc, field: "user_regs.eax", off64: 600, off32: 540, value: func() uint64 { return c.Regs.RAX }},
		{name: vgc, field: "user_regs.ebx", off64: 560, off32: 516, value: func() uint64 { return c.Regs.RBX }},
		{name: vgc, field: "user_regs.edi", off64: 632, off32: 532, value: func() uint64 { return c.Regs.RDI }},
		{name: vgc, field: "user_regs.cs", off64: 656, off32: 552, value: func() uint64 { return uint64(c.Regs.CS) }},
		{name: vgc, field: "user_regs.saved_upcall_mask", off64: 660, off32: 554, value: func() uint64 { return uint64(c.Regs.UpcallMask) }},
		{name: vgc, field: "user_regs.eflags", off64: 664, off32: 556, value: func() uint64 { return c.Regs.RFLAGS }},
		{name: vgc, field: "user_regs.esp", off64: 672, off32: 560, value: func() uint64 { return c.Regs.RSP }},
		{name: vgc, field: "user_regs.ss", off64: 680, off32: 564, value: func() uint64 { return uint64(c.Regs.SS) }},
		{name: vgc, field: "user_regs.es", off64: 688, off32: 568, value: func() uint64 { return uint64(c.Regs.ES) }},
		{name: vgc, field: "user_regs.gs", off64: 712, off32: 580, value: func() uint64 { return uint64(c.Regs.GS) }},
		{name: vgc, field: "trap_ctxt[1].cs", off64: 738, off32: 594, value: func() uint64 { return uint64(c.Traps[1].CS) }},
		{name: vgc, field: "trap_ctxt[1].address", off64: 744, off32: 596, value: func() uint64 { return c.Traps[1].Address }},
		{name: vgc, field: "ldt_base", off64: 4816, off32: 2632, value: func() uint64 { return c.LDTBase }},
		{name: vgc, field: "ldt_ents", off64: 4824, off32: 2636, value: func() uint64 { return c.LDTEntries }},
		{name: vgc, field: "gdt_frames[15]", off64: 4952, off32: 2700, value: func() uint64 { return c.GDTFrames[15] }},
		{name: vgc, field: "gdt_ents", off64: 4960, off32: 2704, value: func() uint64 { return c.GDTEntries }},
		{name: vgc, field: "kernel_ss", off64: 4968, off32: 2708, value: func() uint64 { return c.KernelSS }},
		{name: vgc, field: "kernel_sp", off64: 4976, off32: 2712, value: func() uint64 { return c.KernelSP }},
		{name: vgc, field: "ctrlreg[3]", off64: 5008, off32: 2728, value: func() uint64 { return c.CR[3] }},
		{name: vgc, field: "debugreg[7]", off64: 5104, off32: 2776, value: func() uint64 { return c.DR[7] }},
		{name: vgc, field: "event_callback_eip", off64: 5112, off32: 2784, value: func() uint64 { return c.EventEIP }},
		{name: vgc, field: "failsafe_callback_eip", off64: 5120, off32: 2792, value: func() uint64 { return c.FailsafeEIP }},
		{name: vgc, field: "vm_assist", off64: 5136, off32: 2796, value: func() uint64 { return c.VMAssist }},
		{name: vgc, field: "event_callback_cs", off64: -1, off32: 2780, value: func() uint64 { return c.EventCS }},
		{name: vgc, field: "failsafe_callback_cs", off64: -1, off32: 2788, value: func() uint64 { return c.FailsafeCS }},
		{name: vgc, field: "syscall_callback_eip", off64: 5128, off32: -1, value: func() uint64 { return c.SyscallEIP }},
		{name: vgc, field: "fs_base", off64: 5144, off32: -1, value: func() uint64 { return c.FSBase }},
		{name: vgc, field: "gs_base_kernel", off64: 5152, off32: -1, value: func() uint64 { return c.GSKernel }},
		{name: vgc, field: "gs_base_user", off64: 5160, off32: -1, value: func() uint64 { return c.GSUser }},
	}
}

// at is the place in a width.
func (p pvPlace) at(w Width) int {
	if w == Guest32 {
		return p.off32
	}
	return p.off64
}

func TestGuestContext(t *testing.T) {
	for _, w := range []Width{Guest64, Guest32} {
		var c VCPUGuestContext
		b := make([]byte, Size(w, &c))
		places := pvPlaces(&c)
		for i, p := range places {
			if p.field != "" && p.at(w) >= 0 {
				b[p.at(w)] = byte(i + 1)
			}
		}
		if !Decode(w, b, &c) {
			t.Fatal("not decoded")
		}
		for i, p := range places {
			if p.field == "" || p.at(w) < 0 {
				continue
			}
			if got := p.value(); got != uint64(i+1) {
				t.Errorf("%d bits, %s is %#x, want %#x", w.Bits(), p.field, got, i+1)
			}
		}
		out := make([]byte, len(b))
		Encode(w, out, &c)
		if string(out) != string(b) {
			t.Errorf("%d bits: not the same encoded again", w.Bits())
		}
	}
	for s, sizes := range map[Struct][2]int{
		&VCPUGuestContext{}: {5168, 2800}, &TrapInfo{}: {16, 8}, &CallbackRegister{}: {16, 12},
		&PhysdevSetIOBitmap{}: {16, 8}, &MachphysMapping{}: {24, 12}, &MachphysMFNList{}: {24, 12}, &MemoryExchange{}: {72, 44},
	} {
		if n, m := Size(Guest64, s), Size(Guest32, s); n != sizes[0] || m != sizes[1] {
			t.Errorf("%T has %d and %d bytes", s, n, m)
		}
	}
	var e MemoryExchange
	b := make([]byte, 44)
	binary.LittleEndian.PutUint32(b[20:], 5)
	binary.LittleEndian.PutUint32(b[40:], 7)
	if !Decode(Guest32, b, &e) || e.Out.ExtentStart != 5 || e.NrExchanged != 7 {
		t.Errorf("%+v", e)
	}
}
