package pvcpu

import (
	"errors"

	"nidus/kernel/virt"
	"nidus/kernel/xenabi"
)

// DeliverFailsafe is called when the guest can't be entered as its registers say: a
// selector names no segment that may be loaded, or RIP is no address. They are
// still what was asked for. The failsafe callback learns which selectors those were
// and finds the bad ones null: if all are still the same it was CS, SS or RIP.
func (c *CPU) DeliverFailsafe() error {
	if c.Failsafe.Address == 0 {
		return errors.New("a selector or the address to go on at is bad, and the guest's kernel has no failsafe callback")
	}
	cpl := uint64(3)
	if c.Width == xenabi.Guest32 {
		cpl = uint64(c.M.Segment(virt.CS).Selector & 3)
	}
	var bad [4]bool
	for i, r := range dataSegments {
		bad[i] = !c.loadable(c.M.Segment(r).Selector, cpl)
	}
	if err := c.enter(entry{at: c.Failsafe, failsafe: true}); err != nil {
		return err
	}
	for i, r := range dataSegments {
		if bad[i] {
			c.setSelector(r, 0)
		}
	}
	return nil
}

// dataSegments in the order of the failsafe callback's frame.
var dataSegments = [4]virt.SegReg{virt.DS, virt.ES, virt.FS, virt.GS}
