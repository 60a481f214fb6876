package image

import (
	"fmt"

	"nidus/mm"
)

// LoadOptions say where a kernel may be put.
type LoadOptions struct {
	// Bottom and Top bound the guest's ordinary memory for the kernel.
	Bottom, Top mm.GuestPhys
	// Zeroed says that the memory is known to be zero, so that what lies
	// beyond a segment's data need not be written.
	Zeroed bool
}

var zeroPage [mm.PageSize]byte

// Load writes the segments into guest memory at their physical addresses.
//
// Nothing is written if a segment lies outside Bottom and Top: the error then
// wraps ErrPlacement. An error of the memory itself can leave part of it
// written.
func (k *Kernel) Load(mem mm.GuestMemory, o LoadOptions) error {
	lo, hi := k.Span()
	if lo < o.Bottom || hi > o.Top {
		return fmt.Errorf("kernel %s: %w: it occupies %#x to %#x, and the domain's memory for it is %#x to %#x; give the domain more memory",
			k.Name, ErrPlacement, lo, hi, o.Bottom, o.Top)
	}
	for i := range k.Segments {
		s := &k.Segments[i]
		if err := mem.WritePhys(s.PhysAddr, s.Data); err != nil {
			return fmt.Errorf("kernel %s: write segment %d at %#x: %w", k.Name, i, s.PhysAddr, err)
		}
		if o.Zeroed {
			continue
		}
		for at, end := s.PhysAddr+mm.GuestPhys(len(s.Data)), s.PhysAddr+mm.GuestPhys(s.MemSize); at < end; {
			n := min(uint64(end-at), mm.PageSize-at.Offset())
			if err := mem.WritePhys(at, zeroPage[:n]); err != nil {
				return fmt.Errorf("kernel %s: clear segment %d at %#x: %w", k.Name, i, at, err)
			}
			at += mm.GuestPhys(n)
		}
	}
	return nil
}
