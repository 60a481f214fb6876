package domain

import (
	"fmt"

	"nidus/mm"
)

// Frames that the hypervisor shares with the guest: shared_info, grant tables.

// allocSpecial makes a zeroed page that the guest may come to see.
func (d *Domain) allocSpecial() (special, error) {
	m, ok := d.Host.Memory.AllocFrames(0, mm.FrameSpecial, mm.DomIDXen, mm.ZoneAny)
	if !ok {
		return special{}, fmt.Errorf("a page to share: %w", mm.ErrNoMemory)
	}
	s := special{m, d.Host.Memory.Page(m)}
	s.page.Clear()
	d.mu.Lock()
	d.specials[m] = s
	d.mu.Unlock()
	return s, nil
}

// AllocShared implements gnttab.FrameAllocator.
func (d *Domain) AllocShared() (mm.Page, mm.MFN, error) {
	s, err := d.allocSpecial()
	return s.page, s.mfn, err
}

// FreeShared implements gnttab.FrameAllocator. A frame that the guest still has
// mapped goes when the domain's memory is released.
func (d *Domain) FreeShared(m mm.MFN) {
	if g := d.Host.Memory.Frames().GFN(m); g != mm.InvalidGFN {
		if e := d.Space.P2M().Lookup(g); e.Type == mm.TypeSpecial && e.MFN == m && d.Space.RemoveFromPhysmap(g) != nil {
			return
		}
	}
	if d.Host.Memory.FreeFrames(m, 0) == mm.FrameOK {
		d.mu.Lock()
		delete(d.specials, m)
		d.mu.Unlock()
	}
}

// grantFrame tells setup_table where a frame is in the guest's memory.
func (d *Domain) grantFrame(m mm.MFN) uint64 { return uint64(d.Host.Memory.Frames().GFN(m)) }

// SharedInfo returns the frame of shared_info, for XENMAPSPACE_shared_info.
func (d *Domain) SharedInfo() mm.MFN { return d.shared.mfn }
