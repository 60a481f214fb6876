package pvcpu

import (
	"nidus/kernel/virt"
	"nidus/kernel/virt/insn"
	"nidus/mm"
)

// Exception does what follows from an exception that the guest's code raised and
// that the memory's owner did not resolve: it carries out a privileged instruction,
// brings INT n to its handler, or delivers the exception. It comes back with the
// registers for the next entry.
func (c *CPU) Exception(e virt.Event) error {
	switch e.Vector {
	case virt.VectorGP:
		return c.generalProtection(e)
	case virt.VectorUD:
		if done, err := c.forced(); done || err != nil {
			return err
		}
		if done, err := c.userSysenter(); done || err != nil {
			return err
		}
	case vectorNM:
		if !c.TS {
			// Nothing of the guest's forbids the FPU: the host's owner has it.
			return nil
		}
		if err := c.Deliver(e); err != nil {
			return err
		}
		c.setTS(false) // the handler may use it
		return nil
	}
	return c.Deliver(e)
}

const vectorNM = 7

// errorIDT is the bit of an error code that says that the IDT's entry was the
// cause (APM vol. 2, 8.4.1): INT n through a gate that is the hypervisor's.
const errorIDT = 1 << 1

func (c *CPU) generalProtection(e virt.Event) error {
	if e.Code&errorIDT != 0 {
		// The vector is the instruction's: QEMU's TCG 7.2 puts it into the
		// wrong bits of the error code.
		vector, length, ok := c.softInterrupt()
		if ok {
			r := c.M.Regs()
			r.RIP += uint64(length)
			done, err := c.Interrupt(vector)
			if done || err != nil {
				return err
			}
			r.RIP -= uint64(length)
			e.Code = uint32(vector)<<3 | errorIDT
		}
		return c.Deliver(e)
	}
	if e.Code == 0 {
		if done, err := c.Emulate(); done || err != nil {
			return err
		}
		if done, err := c.userSysenter(); done || err != nil {
			return err
		}
	}
	return c.Deliver(e)
}

// softInterrupt decodes INT n at RIP.
func (c *CPU) softInterrupt() (vector uint8, length int, ok bool) {
	bits, _ := c.codeBits()
	code := c.fetch()
	i := prefixes(code, bits).len
	if i+2 > len(code) || code[i] != 0xcd {
		return 0, 0, false
	}
	return code[i+1], i + 2, true
}

// userSysenter brings SYSENTER of a process to its kernel, which has asked for it.
func (c *CPU) userSysenter() (done bool, err error) {
	if c.Sysenter.Address == 0 || c.Kernel() {
		return false, nil
	}
	code := c.fetch()
	if len(code) < 2 || code[0] != 0x0f || code[1] != 0x34 {
		return false, nil
	}
	return true, c.sysenter()
}

// fetch reads the instruction at RIP, as far as it can: once, so that what is
// decided is what is done.
func (c *CPU) fetch() []byte {
	bits, base := c.codeBits()
	at := c.M.Regs().RIP
	if bits != 64 {
		at = uint64(uint32(at + base))
	}
	b := c.code[:insn.MaxLen]
	if c.M.CopyIn(mm.GuestVirt(at), b) == nil {
		return b
	}
	if left := int(mm.PageSize - at&mm.PageMask); left < len(b) {
		b = b[:left]
		if c.M.CopyIn(mm.GuestVirt(at), b) == nil {
			return b
		}
	}
	return nil
}
