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
	s := special{mfn: m, page: d.Host.Memory.Page(m)}
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

// AllocPrivate implements gnttab.FrameAllocator. It is none of the pages that a PV guest may
// map by their numbers (shares).
func (d *Domain) AllocPrivate() (mm.Page, mm.MFN, error) {
	m, ok := d.Host.Memory.AllocFrames(0, mm.FrameKernel, mm.DomIDXen, mm.ZoneAny)
	if !ok {
		return mm.Page{}, 0, fmt.Errorf("a page for records: %w", mm.ErrNoMemory)
	}
	p := d.Host.Memory.Page(m)
	p.Clear()
	return p, m, nil
}

// FreePrivate implements gnttab.FrameAllocator.
func (d *Domain) FreePrivate(m mm.MFN) {
	if s := d.Host.Memory.FreeFrames(m, 0); s != mm.FrameOK {
		panic("domain: a page of records can't be freed: " + s.String())
	}
}

// grantFrame tells setup_table where a frame is in the guest's memory; a PV guest maps it by
// its machine address.
func (d *Domain) grantFrame(m mm.MFN) uint64 {
	if d.PV != nil {
		d.mu.Lock()
		defer d.mu.Unlock()
		if s, ok := d.specials[m]; ok {
			s.told = true
			d.specials[m] = s
		}
		return uint64(m)
	}
	return uint64(d.Host.Memory.Frames().GFN(m))
}

// SharedInfo returns the frame of shared_info, for XENMAPSPACE_shared_info.
func (d *Domain) SharedInfo() mm.MFN { return d.shared.mfn }
