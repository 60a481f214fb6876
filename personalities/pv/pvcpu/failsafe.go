package pvcpu

import (
	"errors"

	"nidus/kernel/virt"
	"nidus/kernel/xenabi"
)

// BadEntry is called when the guest can't be entered as its registers say; they are
// still what was asked for. If a data segment can't be loaded, the failsafe callback
// learns which selectors those were, and finds the bad ones null. If it is CS, SS or RIP,
// the guest gets the exception that IRET raises, at where it was to go on.
func (c *CPU) BadEntry() error {
	cpl := uint64(3)
	if c.Width == xenabi.Guest32 {
		cpl = uint64(c.M.Segment(virt.CS).Selector & 3)
	}
	var bad [4]bool
	any := false
	for i, r := range dataSegments {
		// They are loaded in ring 0; IRET makes null what ring 3 may not have.
		bad[i] = !c.loadable(c.M.Segment(r).Selector, 0)
		any = any || bad[i]
	}
	if !any {
		return c.Deliver(c.entryFault(cpl))
	}
	if c.Failsafe.Address == 0 {
		return errors.New("a selector can't be loaded, and the guest's kernel has no failsafe callback")
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

// entryFault is the exception of an IRET with the guest's CS, SS and RIP (APM vol. 3,
// IRET).
func (c *CPU) entryFault(cpl uint64) virt.Event {
	cs, ss := c.M.Segment(virt.CS).Selector, c.M.Segment(virt.SS).Selector
	hi, ok := c.segmentDescriptor(cs)
	switch {
	case !ok, hi&descCode == 0, hi&descConforming == 0 && uint64(hi>>descDPLShift&3) != cpl:
		return virt.Fault(virt.VectorGP, uint32(cs&^3))
	case hi&descPresent == 0:
		return virt.Fault(virt.VectorNP, uint32(cs&^3))
	}
	hi, ok = c.segmentDescriptor(ss)
	switch {
	case !ok, hi&(descCode|descWritable) != descWritable, uint64(hi>>descDPLShift&3) != cpl, uint64(ss&3) != cpl:
		return virt.Fault(virt.VectorGP, uint32(ss&^3))
	case hi&descPresent == 0:
		return virt.Fault(virt.VectorSS, uint32(ss&^3))
	}
	return virt.Fault(virt.VectorGP, 0)
}

// segmentDescriptor is the high half of the descriptor that sel names, if that is one of
// a segment.
func (c *CPU) segmentDescriptor(sel uint16) (hi uint32, ok bool) {
	if sel&^3 == 0 {
		return 0, false
	}
	d, ok := c.descriptor(sel)
	hi = uint32(d >> 32)
	return hi, ok && hi&descSegment != 0
}
