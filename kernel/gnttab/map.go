package gnttab

import (
	"runtime"

	"nidus/kernel/xenabi"
	"nidus/mm"
)

// mapRef is GNTTABOP_map_grant_ref. Device mappings, and those into page tables, are
// for guests that know machine addresses.
func (c *Caller) mapRef(a *xenabi.GnttabMapGrantRef) xenabi.GnttabStatus {
	switch {
	case a.Flags&(xenabi.GntMapDeviceMap|xenabi.GntMapHostMap) == 0:
		return xenabi.GNTSTBadGntref
	case a.Flags&(xenabi.GntMapDeviceMap|xenabi.GntMapApplicationMap|xenabi.GntMapContainsPTE) != 0:
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
	if st := c.t.enter(handle, m); st != xenabi.GNTSTOkay {
		c.t.tracks.giveBack(handle)
		return st
	}
	a.Handle, a.DevBusAddr = handle, 0
	return xenabi.GNTSTOkay
}

// enter makes mapping m with a handle that is reserved.
func (t *Table) enter(handle uint32, m mapping) xenabi.GnttabStatus {
	acc, st := m.granter.Acquire(m.ref, t.cfg.ID, m.use)
	if st != xenabi.GNTSTOkay {
		return st
	}
	from := &m.granter.cfg
	if from.Space.Direct() && m.use&Write != 0 {
		m.granter.Release(m.ref, m.use)
		return xenabi.GNTSTGeneralError
	}
	mfn, err := from.Space.Hold(acc.GFN, m.use&Write != 0)
	if err != nil {
		m.granter.Release(m.ref, m.use)
		return xenabi.GNTSTBadPage
	}
	err = t.cfg.Space.AddGrant(m.at, mfn, from.ID, m.use&Write == 0)
	from.Space.Drop(mfn, m.use&Write != 0)
	if err != nil {
		m.granter.Release(m.ref, m.use)
		return xenabi.GNTSTGeneralError
	}
	if !t.tracks.set(handle, m) {
		// Nobody can have removed it: there is no handle.
		_ = t.cfg.Space.RemoveGrant(m.at)
		t.cfg.Space.Settle()
		m.granter.Release(m.ref, m.use)
		return xenabi.GNTSTNoSpace
	}
	return xenabi.GNTSTOkay
}

// unmapRef is GNTTABOP_unmap_grant_ref, and with newAddr GNTTABOP_unmap_and_replace,
// which has page-table entries to move and so is not for translated guests. The end
// comes with finish.
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
	case newAddr != 0:
		return xenabi.GNTSTGeneralError
	case hostAddr == 0: // "that field is ignored": there is nothing else
		return xenabi.GNTSTOkay
	case mm.GuestPhys(hostAddr).Frame() != m.at:
		return xenabi.GNTSTGeneralError
	}
	return c.end(handle, m)
}

// end takes mapping m away, but for what finish does. The maptrack's lock is held, and
// fewer than MaxBatch have ended since finish.
func (c *Caller) end(handle uint32, m mapping) xenabi.GnttabStatus {
	if c.t.cfg.Space.RemoveGrant(m.at) != nil {
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
	c.t.cfg.Space.Settle()
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
			c.end(handle, m)
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
