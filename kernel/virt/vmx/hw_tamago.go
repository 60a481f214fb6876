//go:build tamago

package vmx

import (
	_ "unsafe" // for go:linkname

	"nidus/kernel/cpu"
	"nidus/kernel/virt/spec"
)

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

//go:linkname entersyscall runtime.entersyscall
func entersyscall()

//go:linkname exitsyscall runtime.exitsyscall
func exitsyscall()

// identify reads the capability MSRs (SDM vol. 3, appendix A); the TRUE ones
// where they exist.
func identify() (c capability) {
	_, _, cx, _ := cpu.CPUID(1, 0)
	if cx&(1<<5) == 0 {
		return c
	}
	c.spec = spec.Identify(cpu.CPUID, cpu.ReadMSR)
	basic := cpu.ReadMSR(0x480)
	c.vmx, c.revision = true, uint32(basic)&0x7fffffff
	base := uint32(0x481)
	if basic&(1<<55) != 0 {
		base = 0x48d
	}
	c.pin, c.proc, c.exit, c.entry = control(cpu.ReadMSR(base)), control(cpu.ReadMSR(base+1)), control(cpu.ReadMSR(base+2)), control(cpu.ReadMSR(base+3))
	c.cr0Fixed0, c.cr4Fixed0 = cpu.ReadMSR(0x486), cpu.ReadMSR(0x488)
	if c.proc.allows(procSecondary) {
		c.proc2 = control(cpu.ReadMSR(0x48b))
		if c.proc2.allows(proc2EPT) {
			c.ept = cpu.ReadMSR(0x48c)
		}
	}
	if cpu.CR4()&(1<<18) != 0 {
		c.osxsave, c.xcr0 = true, cpu.XCR0()
		_, c.xsaveSize, _, _ = cpu.CPUID(0xd, 0)
	}
	return c
}
