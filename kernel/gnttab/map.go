package gnttab

import (
	"runtime"

	"nidus/kernel/xenabi"
	"nidus/mm"
)

// mapRef is GNTTABOP_map_grant_ref. Device mappings are for guests with devices, and those
// into page tables for PV guests.
func (c *Caller) mapRef(a *xenabi.GnttabMapGrantRef) xenabi.GnttabStatus {
	direct := c.t.direct()
	switch {
	case a.Flags&(xenabi.GntMapDeviceMap|xenabi.GntMapHostMap) == 0:
		return xenabi.GNTSTBadGntref
	case a.Flags&xenabi.GntMapDeviceMap != 0, !direct && a.Flags&(xenabi.GntMapApplicationMap|xenabi.GntMapContainsPTE) != 0:
		return xenabi.GNTSTGeneralError
	}
	granter := c.peer(a.DomID)
	if granter == nil {
		return xenabi.GNTSTBadDomain
	}
	handle, ok := c.t.tracks.take()
	if !ok {
		return xenabi.GNTSTNoSpace
	}
	m := mapping{granter: granter, ref: a.Ref, at: mm.GuestPhys(a.HostAddr).Frame()}
	if a.Flags&xenabi.GntMapReadonly == 0 {
		m.use = Write
	}
	if st := c.enter(handle, m, a); st != xenabi.GNTSTOkay {
		c.t.tracks.giveBack(handle)
		return st
	}
	a.Handle = handle
	return xenabi.GNTSTOkay
}

// enter makes mapping m with a handle that is reserved.
func (c *Caller) enter(handle uint32, m mapping, a *xenabi.GnttabMapGrantRef) xenabi.GnttabStatus {
	t := c.t
	acc, st := m.granter.Acquire(m.ref, t.cfg.ID, m.use)
	if st != xenabi.GNTSTOkay {
		return st
	}
	from := &m.granter.cfg
	if from.Space.Direct() && !t.direct() && m.use&Write != 0 {
		// Nested page tables don't keep a PV guest's frame from becoming a page table.
		m.granter.Release(m.ref, m.use)
		return xenabi.GNTSTGeneralError
	}
	mfn, err := from.Space.Hold(acc.GFN, m.use&Write != 0)
	if err != nil {
		m.granter.Release(m.ref, m.use)
		return unheld(from.Space, acc.GFN)
	}
	err = c.place(&m, mfn, a)
	from.Space.Drop(mfn, m.use&Write != 0)
	if err != nil {
		m.granter.Release(m.ref, m.use)
		return xenabi.GNTSTGeneralError
	}
	if !t.tracks.set(handle, m) {
		// Nobody can have removed it: there is no handle.
		_ = c.displace(m, 0)
		c.settle()
		m.granter.Release(m.ref, m.use)
		return xenabi.GNTSTNoSpace
	}
	// A PV guest makes the page's entry in its own list of frames from it (Linux does, where
	// the mapping is by address); a translated one has no machine addresses.
	if a.DevBusAddr = 0; t.direct() {
		a.DevBusAddr = uint64(mfn) << mm.PageShift
	}
	return xenabi.GNTSTOkay
}

// granted is the frame of an entry that is in use.
func (t *Table) granted(ref uint32) mm.GFN {
	t.mu.RLock()
	defer t.mu.RUnlock()
	a := t.entry(ref)
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.access.GFN
}

// unheld is why a frame can't be had: it is none, or it is a PV guest's page table or page of
// descriptors, which nobody writes to.
func unheld(s *mm.Space, g mm.GFN) xenabi.GnttabStatus {
	if s.Direct() {
		if m, err := s.Hold(g, false); err == nil {
			s.Drop(m, false)
			return xenabi.GNTSTGeneralError
		}
	}
	return xenabi.GNTSTBadPage
}

// direct tells whether the domain is a PV one.
func (t *Table) direct() bool { return t.cfg.Space != nil && t.cfg.Space.Direct() }

// place puts frame mfn where the guest wants mapping m.
func (c *Caller) place(m *mapping, mfn mm.MFN, a *xenabi.GnttabMapGrantRef) error {
	from := &m.granter.cfg
	if !c.t.direct() {
		return c.t.cfg.Space.AddGrant(m.at, mfn, from.ID, m.use&Write == 0)
	}
	p, ok := c.mem.(Entries)
	if !ok {
		return xenabi.EINVAL
	}
	at, err := p.MapGrant(a.HostAddr, a.Flags&xenabi.GntMapContainsPTE != 0, mfn, from.ID, m.use&Write != 0, a.Flags>>16)
	m.at = mm.GFN(at >> 3)
	return err
}

// displace takes mapping m away. Until settle a guest with nested paging may still reach it.
// In its place comes the entry for a PV guest's address newAddr, unless that is 0.
func (c *Caller) displace(m mapping, newAddr mm.GuestVirt) error {
	if !c.t.direct() {
		return c.t.cfg.Space.RemoveGrant(m.at)
	}
	if p, ok := c.mem.(Entries); ok {
		frame := mm.InvalidMFN
		if m.granter == c.t {
			frame = mm.MFN(c.t.granted(m.ref))
		}
		if newAddr != 0 {
			return p.ReplaceGrant(uint64(m.at)<<3, frame, newAddr)
		}
		return p.UnmapGrant(uint64(m.at)<<3, frame)
	}
	return nil // at the domain's end: no vcpu runs, and its tables are going
}

// settle flushes what displace left.
func (c *Caller) settle() {
	if !c.t.direct() {
		c.t.cfg.Space.Settle()
	}
}

// isAt tells whether a guest means mapping m by an address.
func (c *Caller) isAt(m mapping, hostAddr uint64) bool {
	if !c.t.direct() {
		return mm.GuestPhys(hostAddr).Frame() == m.at
	}
	if hostAddr>>3 == uint64(m.at) {
		return true
	}
	p, ok := c.mem.(Entries)
	if !ok {
		return false
	}
	entry, ok := p.GrantEntry(mm.GuestVirt(hostAddr))
	return ok && entry>>3 == uint64(m.at)
}

// unmapRef is GNTTABOP_unmap_grant_ref, and with newAddr GNTTABOP_unmap_and_replace, which
// moves a page-table entry and so is for PV guests. The end comes with finish.
func (c *Caller) unmapRef(hostAddr, devAddr, newAddr uint64, handle uint32) xenabi.GnttabStatus {
	k := &c.t.tracks
	k.mu.Lock()
	defer k.mu.Unlock()
	m, ok := k.get(handle)
	switch {
	case !ok:
		return xenabi.GNTSTBadHandle
	case devAddr != 0:
		return xenabi.GNTSTBadDevAddr
	case newAddr != 0 && !c.t.direct():
		return xenabi.GNTSTGeneralError
	case hostAddr == 0: // "that field is ignored": there is nothing else
		return xenabi.GNTSTOkay
	case !c.isAt(m, hostAddr):
		return xenabi.GNTSTGeneralError
	}
	return c.end(handle, m, mm.GuestVirt(newAddr))
}

// end takes mapping m away as displace does, but for what finish does. The maptrack's lock is held, and
// fewer than MaxBatch have ended since finish.
func (c *Caller) end(handle uint32, m mapping, newAddr mm.GuestVirt) xenabi.GnttabStatus {
	if c.displace(m, newAddr) != nil {
		return xenabi.GNTSTGeneralError
	}
	c.t.tracks.drop(handle)
	c.ended[c.nended] = m
	c.nended++
	return xenabi.GNTSTOkay
}

// finish flushes what the call has unmapped, and only then tells the granting guests.
func (c *Caller) finish() {
	if c.nended == 0 {
		return
	}
	c.settle()
	for i := range c.ended[:c.nended] {
		m := &c.ended[i]
		m.granter.Release(m.ref, m.use)
		*m = mapping{} // the table may be the last thing that is left of a domain
	}
	c.nended = 0
}

// unmapAll ends all mappings. The vcpus don't run any more.
func (t *Table) unmapAll() {
	k := &t.tracks
	c := Caller{t: t}
	for handle := range uint32(len(k.pages) * mapsPerFrame) {
		k.mu.Lock()
		if m, ok := k.get(handle); ok {
			c.end(handle, m, 0)
		}
		k.mu.Unlock()
		if c.nended == len(c.ended) {
			c.finish()
			runtime.Gosched()
		}
	}
	c.finish()
	for _, f := range k.pages {
		k.frames.FreePrivate(f.mfn)
	}
	k.pages, k.free = nil, 0
}
