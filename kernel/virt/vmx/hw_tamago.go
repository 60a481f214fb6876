//go:build tamago

package vmx

import _ "unsafe" // for go:linkname

const msrFeatureControl = 0x3a

// In enter_amd64.s.

func interruptsOff() uint64
func interruptsOn()
func takeNMI()
func enter(c *context) bool
func exitPC() uint64
func vmxon(pa, cr0 uint64) bool
func vmxoff()
func vmclear(pa uint64) bool
func vmptrld(pa uint64) bool
func vmwrite(field uint32, v uint64)
func vmread(field uint32) uint64
func invept()
func hostTables() (gdt, idt, trBase, cs, tr uint64)
func controlRegs() (cr0, cr3, cr4 uint64)
func writeMSR(msr uint32, v uint64)
func readMSR(msr uint32) uint64
func cpuid(leaf, sub uint32) (a, b, c, d uint32)
func xgetbv() uint64

//go:linkname entersyscall runtime.entersyscall
func entersyscall()

//go:linkname exitsyscall runtime.exitsyscall
func exitsyscall()

// identify reads the capability MSRs (SDM vol. 3, appendix A); the TRUE ones
// where they exist.
func identify() (c capability) {
	_, _, cx, _ := cpuid(1, 0)
	if cx&(1<<5) == 0 {
		return c
	}
	basic := readMSR(0x480)
	c.vmx, c.revision = true, uint32(basic)&0x7fffffff
	base := uint32(0x481)
	if basic&(1<<55) != 0 {
		base = 0x48d
	}
	c.pin, c.proc, c.exit, c.entry = control(readMSR(base)), control(readMSR(base+1)), control(readMSR(base+2)), control(readMSR(base+3))
	c.cr0Fixed0, c.cr4Fixed0 = readMSR(0x486), readMSR(0x488)
	if c.proc.allows(procSecondary) {
		c.proc2 = control(readMSR(0x48b))
		if c.proc2.allows(proc2EPT) {
			c.ept = readMSR(0x48c)
		}
	}
	if _, _, cr4 := controlRegs(); cr4&(1<<18) != 0 {
		c.osxsave, c.xcr0 = true, xgetbv()
		_, c.xsaveSize, _, _ = cpuid(0xd, 0)
	}
	return c
}
