package emulate

import "nidus/kernel/virt"

// The PIT's counters.
const (
	portPIT0 = 0x40
	portPIT2 = 0x42
)

// ReadAbsent is what a guest without devices at ports reads from one, size bytes: all
// ones. But the PIT's counters stand at 0: Linux then gives up calibrating against them at
// once, instead of after 100,000 reads.
func ReadAbsent(port uint16, size int) uint32 {
	if port >= portPIT0 && port <= portPIT2 {
		return 0
	}
	return uint32(sizeMask(size))
}

// SetIn puts what IN read into the accumulator: 4 bytes clear the upper half, fewer leave
// the rest.
func SetIn(r *virt.Regs, size int, val uint32) {
	keep := ^sizeMask(size)
	if size == 4 {
		keep = 0
	}
	r.RAX = r.RAX&keep | uint64(val)
}
