//go:build tamago

package baremetal

// In asm_amd64.s: one instruction each.

func cpuself() uint64
func rdtsc() uint64
func rdcr2() uint64
func rdcr3() uint64
func wrcr3(v uint64)
func wrcr4(v uint64)
func out8(port uint16, v uint8)
func in8(port uint16) uint8
func out16(port uint16, v uint16)
func in16(port uint16) uint16
func out32(port uint16, v uint32)
func in32(port uint16) uint32
func rdrand() (v uint64, ok bool)
func pause()
func halt()
func clear64(va, n uint64)
func flushTLB()

// loadTables loads GDTR, IDTR and TR.
func loadTables(gdtr, idtr uint64)
func loadIDT(idtr uint64)

// lock spins until it has the word at p; interrupts are off in the kernel.
func lock(p *uint32)
func unlock(p *uint32)

// cli turns interrupts off and returns the flags before; restore puts them back.
func cli() uint64
func restore(flags uint64)

// guestSwitched saves what a PV guest has in the CPU of the FPU's state, but for XMM and
// MXCSR, to the XSAVE image that pcpu.virt[guestFPU] is the address of, and clears that word.
// Preconditions: it is not 0; interrupts are off; XCR0 is the host's.
func guestSwitched()

// Addresses of code that is never called from Go.
func trapStubsPC() uint64
func idlePC() uint64
func idlePollPC() uint64
func apEntryPC() uint64
func isolatedPCs() (stubs, fromNMI uint64)

// TakeInterrupt takes an interrupt that came while a PV guest ran: the CPU has
// acknowledged it, and nobody has handled it. Interrupts are off before and on after.
func TakeInterrupt(vector uint64)
