//go:build tamago

package baremetal

// What the self-test image looks at.

// Threads counts the threads that exist, without the CPUs' idle ones.
func Threads() int {
	n := 0
	for i := range threads {
		if threads[i].state != threadFree && threads[i].idle == 0 {
			n++
		}
	}
	return n
}

// MonitorTurns is how often Go's monitor has run.
func MonitorTurns() uint64 { return threads[monitorThread-1].switches }

// Mapped tells whether a kernel address is mapped.
func Mapped(va uint64) bool { return lookup(va)&ptePresent != 0 }

// HoldInterrupts makes this CPU's APIC keep its interrupts back, or no longer.
// Preconditions: the caller stays on the CPU.
func HoldInterrupts(on bool) {
	const all = 0xf0
	tpr := uint32(0)
	if on {
		tpr = all
	}
	apicWrite(apicTPR, tpr)
}

// Stacks returns the lowest addresses of a CPU's guarded stacks: for entries from
// threads, and for NMI, double fault and machine check.
func Stacks(cpu int) []uint64 {
	c := pcpuOf(cpu)
	bottoms := []uint64{c.kstack + 64 - kstackSize}
	for _, top := range c.ist {
		bottoms = append(bottoms, top+64-istSize)
	}
	return bottoms
}
