package pvcpu

import (
	"errors"
	"fmt"

	"nidus/kernel/virt"
	"nidus/kernel/virt/pv"
	"nidus/mm"
)

// enter32 is enter for a guest whose kernel is in ring 1: the processor's 32-bit
// frame, with the upcall mask above CS (arch-x86/xen-x86_32.h), SS and ESP only if
// the stack changes.
func (c *CPU) enter32(n entry) error {
	if n.at.CS&3 != 1 {
		return fmt.Errorf("the guest's kernel is to be entered at %#x:%#x, which is not in ring 1", n.at.CS, n.at.Address)
	}
	r := c.M.Regs()
	cs, ss := c.M.Segment(virt.CS).Selector, c.M.Segment(virt.SS).Selector
	inner := cs&3 == 1
	sp, newSS := uint32(r.RSP), ss
	if !inner {
		sp, newSS = uint32(c.KernelSP), c.KernelSS
	}
	masked := c.M.UpcallMask()
	b := c.frame[:0]
	if n.failsafe {
		for _, s := range dataSegments {
			b = put32(b, uint32(c.M.Segment(s).Selector))
		}
	}
	if n.hasCode {
		b = put32(b, n.code)
	}
	b = put32(b, uint32(r.RIP))
	word := uint32(cs)
	if masked {
		word |= 1 << 16
	}
	b = put32(b, word)
	b = put32(b, uint32(c.flags(masked)))
	if !inner {
		b = put32(b, uint32(r.RSP))
		b = put32(b, uint32(ss))
	}
	sp -= uint32(len(b))
	at, ok := c.stack32(newSS, sp)
	if !ok {
		return fmt.Errorf("the stack segment %#x of the guest's kernel can't be used (eip %#x)", newSS, uint32(r.RIP))
	}
	// Ring 1 may write to its own stack only once it runs on it: the rights are
	// those of the page tables, which are the same for both.
	if at > 1<<32-uint64(len(b)) || c.M.CopyOut(mm.GuestVirt(at), b) != nil {
		return fmt.Errorf("the stack of the guest's kernel can't be written at %#x, where %d bytes are to go (eip %#x)",
			at, len(b), uint32(r.RIP))
	}
	r.RSP, r.RIP = uint64(sp), n.at.Address&0xffffffff
	c.setSelector(virt.SS, newSS)
	c.setSelector(virt.CS, n.at.CS)
	c.entered(n.at.MaskEvents)
	return nil
}

// stack32 is where the kernel's stack is in linear addresses: ring 1's writable
// data.
func (c *CPU) stack32(ss uint16, sp uint32) (at uint64, ok bool) {
	d, ok := c.descriptor(ss)
	hi := uint32(d >> 32)
	const want = descPresent | descSegment | descWritable | 1<<descDPLShift
	if !ok || ss&3 != 1 || hi&(descPresent|descSegment|descWritable|descCode|3<<descDPLShift) != want {
		return 0, false
	}
	return uint64(uint32(descriptorBase(d)) + sp), true
}

// iret32 is the hypercall iret of a 32-bit guest: on its stack are EAX, then what
// IRET takes. From ring 1 to ring 1 it is without ESP and SS.
func (c *CPU) iret32() error {
	r := c.M.Regs()
	sp := uint32(r.RSP)
	at, ok := c.stack32(c.M.Segment(virt.SS).Selector, sp)
	if !ok {
		return errors.New("iret with a stack segment that can't be used")
	}
	b := c.frame[:4*4]
	if at > 1<<32-6*4 || c.M.CopyIn(mm.GuestVirt(at), b) != nil {
		return fmt.Errorf("iret with a stack at %#x that can't be read", at)
	}
	cs, flags := uint16(get32(b, 2)), uint64(get32(b, 3))
	switch {
	case flags&virt.FlagVM != 0:
		return errors.New("iret to virtual 8086 mode, which a 64-bit host doesn't have")
	case cs&3 == 0 || cs&3 == 2:
		return fmt.Errorf("iret to ring %d: there are 1 and 3", cs&3)
	}
	eax, eip := get32(b, 0), get32(b, 1)
	sp += 4 * 4
	ss := c.M.Segment(virt.SS).Selector
	if cs&3 == 3 {
		b = c.frame[:2*4]
		if c.M.CopyIn(mm.GuestVirt(at)+4*4, b) != nil {
			return fmt.Errorf("iret with a stack at %#x that can't be read", at)
		}
		sp, ss = get32(b, 0), uint16(get32(b, 1))|3
	}
	r.RAX, r.RIP, r.RSP = uint64(eax), uint64(eip), uint64(sp)
	r.RFLAGS = flags&pv.FlagsIret | virt.FlagIF | virt.FlagFixed
	c.setSelector(virt.CS, cs)
	c.setSelector(virt.SS, ss)
	c.returned(flags)
	return nil
}
