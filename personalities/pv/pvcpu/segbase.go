package pvcpu

import (
	"nidus/kernel/virt"
	"nidus/kernel/virt/pv"
	"nidus/kernel/xenabi"
)

// SetSegmentBase is the hypercall set_segment_base of a 64-bit guest's kernel.
func (c *CPU) SetSegmentBase(which uint32, base uint64) xenabi.Errno {
	if c.Width != xenabi.Guest64 {
		return xenabi.ENOSYS
	}
	if which != pv.SegbaseGSUserSel && !virt.Canonical(base) {
		return xenabi.EINVAL
	}
	switch which {
	case pv.SegbaseFS:
		c.setBase(virt.FS, base)
	case pv.SegbaseGSUser: // not active: a kernel calls
		c.M.Set(virt.KernelGSBase, base)
	case pv.SegbaseGSKernel:
		c.setBase(virt.GS, base)
	case pv.SegbaseGSUserSel:
		c.loadUserGS(uint16(base))
	default:
		return xenabi.EINVAL
	}
	return 0
}

// loadUserGS loads the process's GS: the selector, which kernel and process have
// in common, and the base, which is not active. A selector that can't be loaded
// becomes null.
func (c *CPU) loadUserGS(sel uint16) {
	base := uint64(0)
	if !c.loadable(sel, 3) {
		sel = 0
	} else if sel&^3 != 0 {
		if d, ok := c.descriptor(sel); ok {
			base = descriptorBase(d)
		}
	}
	c.setSelector(virt.GS, sel)
	c.M.Set(virt.KernelGSBase, base)
}

func (c *CPU) setBase(r virt.SegReg, base uint64) {
	s := c.M.Segment(r)
	s.Base = base
	c.M.SetSegment(r, s)
}
