package pv

// A guest is isolated where ring 3 can read what is mapped for ring 0 (Meltdown): it runs on a
// root of the CPU's own, which has the guest's slots of its real root, and of the hypervisor's
// only what the entry code needs before it has loaded another (baremetal.Isolated). The exit
// loads the real root, so all that runs then needs to know nothing of this.

// Slots of an L4.
const (
	slotHole    = 256 // the first of the hypervisor's
	slotM2P     = 256
	slotArea    = 260
	slotHoleEnd = 272
)

// isolate makes this CPU's isolated root the vcpu's, for its next entry. Interrupts are off.
// It copies all of the guest's slots each time: others may have changed them, and who takes away
// what an entry leads to makes the vcpu exit.
//
//go:nosplit
func (v *vcpu) isolate() {
	c := v.ctx
	open := c.cr3
	if v.pcids.on {
		open |= keepTLB // what it is asked to forget, it forgets before it is entered again
	}
	if c.hostView != 0 {
		open = 0 // the host's
	}
	own, cr3 := isolatedRoot(open)
	show(own, root(c.cr3))
	c.isolated = cr3 | v.pcids.isolated(c.cr3)
}

// show copies to an isolated root what a guest's root has for the guest to see.
//
//go:nosplit
func show(to, from *[512]uint64) {
	copy(to[:slotHole], from[:slotHole])
	to[slotM2P], to[slotArea] = from[slotM2P], from[slotArea]
	copy(to[slotHoleEnd:], from[slotHoleEnd:])
}

// outdated tells whether a page fault may come of an entry that has been changed in the guest's
// root since the copy was made: a processor doesn't keep an entry that isn't present, so a guest
// that has made one on another vcpu expects no fault.
//
//go:nosplit
func (v *vcpu) outdated() bool {
	c := v.ctx
	slot := c.cr2 >> 39 & 511
	return (slot < slotHole || slot >= slotHoleEnd) && (root(c.isolated)[slot]^root(c.cr3)[slot])&^pteAccessed != 0
}
