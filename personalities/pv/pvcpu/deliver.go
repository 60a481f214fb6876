package pvcpu

import (
	"encoding/binary"
	"fmt"

	"nidus/kernel/virt"
	"nidus/kernel/virt/pv"
	"nidus/kernel/xenabi"
	"nidus/mm"
)

const (
	pfUser     = 1 << 2
	stackAlign = 16
)

// entry is where the guest's kernel is entered, and how.
type entry struct {
	at       Callback
	code     uint32
	hasCode  bool
	failsafe bool // push the data segments' selectors too
	what     string
}

// Deliver makes an exception the guest's: through its trap table, on its kernel's
// stack. Of a page fault, virt.CR2 has the address.
func (c *CPU) Deliver(e virt.Event) error {
	t := &c.Traps[e.Vector]
	n := entry{at: Callback{Address: t.Address, CS: t.CS, MaskEvents: t.Flags&TrapMaskEvents != 0}, code: e.Code, hasCode: e.HasCode}
	if e.Kind == virt.Exception && e.Vector == virt.VectorPF {
		// A kernel in ring 3 learns what it would in ring 0.
		if n.code &^= pfUser; !c.Kernel() {
			n.code |= pfUser
		}
		c.M.SetCR2(c.M.Get(virt.CR2))
	}
	if t.Address == 0 {
		return fmt.Errorf("%s at rip %#x, and the guest's kernel has no handler for it", e, c.M.Regs().RIP)
	}
	return c.enter(n)
}

// EventDue tells whether DeliverEvent would do something.
func (c *CPU) EventDue() bool { return c.M.UpcallPending() && !c.M.UpcallMask() }

// DeliverEvent calls the guest's event callback if an event is pending and not
// masked, and tells whether it did.
func (c *CPU) DeliverEvent() (bool, error) {
	if !c.EventDue() {
		return false, nil
	}
	if c.Event.Address == 0 {
		return false, fmt.Errorf("an event is pending and not masked, and the guest's kernel has no callback for it")
	}
	n := entry{at: c.Event}
	n.at.MaskEvents = true
	return true, c.enter(n)
}

// DeliverNMI delivers an NMI if none is being handled and the guest has a handler,
// and tells whether it did; NMIDue tells whether it would.
func (c *CPU) DeliverNMI() (bool, error) {
	if !c.NMIDue() {
		return false, nil
	}
	c.NMIMasked = true
	return true, c.Deliver(virt.Event{Kind: virt.NMI, Vector: nmiVector})
}

// NMIDue tells whether the guest would take an NMI.
func (c *CPU) NMIDue() bool { return !c.NMIMasked && c.Traps[nmiVector].Address != 0 }

const nmiVector = 2

// enter goes to the guest's kernel: it pushes what a processor would push at an
// interrupt gate, and what the ABI adds.
func (c *CPU) enter(n entry) error {
	if c.Width == xenabi.Guest32 {
		return c.enter32(n)
	}
	return c.enter64(n)
}

// enter64 pushes SS, RSP, RFLAGS, CS with the upcall mask above it, RIP, the error
// code, then R11 and RCX, which the guest's kernel takes back first: its entry code
// is the one for SYSCALL, too (arch-x86/xen-x86_64.h).
func (c *CPU) enter64(n entry) error {
	if !virt.Canonical(n.at.Address) {
		return fmt.Errorf("the guest's kernel is to be entered at %#x, which is no address", n.at.Address)
	}
	r := c.M.Regs()
	user := c.UserMode
	sp := r.RSP
	if user {
		c.ToggleMode()
		sp = c.KernelSP
	}
	sp &^= stackAlign - 1
	masked := c.M.UpcallMask()
	cs := uint64(c.M.Segment(virt.CS).Selector)
	if !user {
		cs &^= 3 // a kernel sees itself in ring 0
	}
	if masked {
		cs |= 1 << 32
	}
	b := c.frame[:0]
	b = put(b, r.RCX)
	b = put(b, r.R11)
	if n.failsafe {
		for _, s := range dataSegments {
			b = put(b, uint64(c.M.Segment(s).Selector))
		}
	}
	if n.hasCode {
		b = put(b, uint64(n.code))
	}
	b = put(b, r.RIP)
	b = put(b, cs)
	b = put(b, c.flags(masked))
	b = put(b, r.RSP)
	b = put(b, uint64(c.M.Segment(virt.SS).Selector))
	sp -= uint64(len(b))
	if err := c.push(sp, b); err != nil {
		return err
	}
	r.RSP, r.RIP = sp, n.at.Address
	c.setSelector(virt.CS, xenabi.FlatKernelCS64)
	c.setSelector(virt.SS, xenabi.FlatKernelSS64)
	c.entered(n.at.MaskEvents)
	return nil
}

// entered puts the flags as an interrupt gate does.
func (c *CPU) entered(mask bool) {
	r := c.M.Regs()
	r.RFLAGS = r.RFLAGS&^pv.FlagsEntry | virt.FlagIF | virt.FlagFixed
	if mask {
		c.M.SetUpcallMask(true)
	}
}

// flags is RFLAGS as the guest's kernel sees them.
func (c *CPU) flags(masked bool) uint64 {
	f := c.M.Regs().RFLAGS &^ (virt.FlagIF | virt.FlagIOPL)
	if !masked {
		f |= virt.FlagIF
	}
	if c.assists(xenabi.VMAssistTypeArchitecturalIOPL) {
		f |= uint64(c.IOPL) << virt.FlagIOPLShift
	}
	return f
}

// push writes a frame. A stack that can't take it has no way to tell the guest.
func (c *CPU) push(sp uint64, b []byte) error {
	end := sp + uint64(len(b)) - 1
	if !virt.Canonical(sp) || !virt.Canonical(end) || sp < xenabi.HypervisorVirtEnd64 && end >= xenabi.HypervisorVirtStart64 || c.M.CopyOut(mm.GuestVirt(sp), b) != nil {
		return fmt.Errorf("the stack of the guest's kernel can't be written at %#x, where %d bytes are to go (rip %#x)",
			sp, len(b), c.M.Regs().RIP)
	}
	return nil
}

func (c *CPU) setSelector(r virt.SegReg, sel uint16) {
	s := c.M.Segment(r)
	s.Selector = sel
	c.M.SetSegment(r, s)
}

func put(b []byte, v uint64) []byte   { return binary.LittleEndian.AppendUint64(b, v) }
func put32(b []byte, v uint32) []byte { return binary.LittleEndian.AppendUint32(b, v) }
func get(b []byte, i int) uint64      { return binary.LittleEndian.Uint64(b[8*i:]) }
func get32(b []byte, i int) uint32    { return binary.LittleEndian.Uint32(b[4*i:]) }
