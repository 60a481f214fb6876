package virt

// Bits of the control registers that CheckCR0, CheckCR3 and CheckCR4 know (APM vol. 2, 3.1).
const (
	cr0Known = 0xe005003f // PG CD NW AM WP NE ET TS EM MP PE
	cr0ET    = 1 << 4
	cr0NW    = 1 << 29
	cr0CD    = 1 << 30

	// CR4Basic is what every processor with long mode has: VME to OSXMMEXCPT.
	CR4Basic    = 0x7ff
	CR4UMIP     = 1 << 11
	CR4FSGSBASE = 1 << 16
	CR4PCIDE    = 1 << 17
	CR4SMEP     = 1 << 20
	CR4SMAP     = 1 << 21

	cr3PCIDMask = 0xfff
	cr3NoFlush  = 1 << 63
)

// Control is the registers on which a processor's answer to a write of one of
// them depends.
type Control struct {
	CR0, CR3, CR4, EFER uint64
	Long                bool // CS.L: 64-bit code runs
}

// CheckCR0 returns what CR0 and EFER are after a MOV of x to CR0; false: #GP
// (APM vol. 2, 3.1.1, 14.6; reserved bits below 32 are ignored).
func (c *Control) CheckCR0(x uint64) (cr0, efer uint64, ok bool) {
	pg, was := x&CR0PG != 0, c.CR0&CR0PG != 0
	switch {
	case x>>32 != 0, pg && x&CR0PE == 0, x&cr0NW != 0 && x&cr0CD == 0:
		return 0, 0, false
	case pg && !was && c.EFER&EFERLME != 0 && (c.CR4&CR4PAE == 0 || c.Long):
		return 0, 0, false
	case !pg && was && (c.Long && c.EFER&EFERLMA != 0 || c.CR4&CR4PCIDE != 0):
		return 0, 0, false
	}
	efer = c.EFER &^ EFERLMA
	if pg && efer&EFERLME != 0 {
		efer |= EFERLMA
	}
	return x&cr0Known | cr0ET, efer, true
}

// CheckCR3 tells whether CR3 takes x on a processor with so many physical address
// bits; false: #GP (APM vol. 2, 3.1.2 and 5.5.1).
func (c *Control) CheckCR3(x uint64, physBits uint8) bool {
	if c.EFER&EFERLMA == 0 {
		return x>>32 == 0
	}
	if c.CR4&CR4PCIDE != 0 {
		x &^= cr3NoFlush
	}
	return x>>physBits == 0
}

// CheckCR4 tells whether CR4 takes x when the CPUID policy offers the bits
// allowed; false: #GP (APM vol. 2, 3.1.3 and 5.5.1).
func (c *Control) CheckCR4(x, allowed uint64) bool {
	long := c.EFER&EFERLMA != 0
	switch {
	case x&^allowed != 0, long && x&CR4PAE == 0:
		return false
	case x&^c.CR4&CR4PCIDE != 0: // switched on
		return long && c.CR3&cr3PCIDMask == 0
	}
	return true
}
