package qcow2

import (
	"runtime"

	"nidus/drivers/block"
)

// discard gives back whole clusters, which read as zeros then; the rest of the range is
// left as it is, and so is all of it where version 2 can't hide the file below. It goes
// from one table of the second level to the next, of which an image may say that it has
// more than there is time for: others may use the image, and close it, meanwhile.
func (d *Image) discard(sector, sectors uint64) error {
	if d.below != nil && d.h.version < 3 {
		return nil
	}
	per := d.h.l2Entries() << (d.h.bits - block.SectorShift)
	for sectors > 0 {
		n := min(sectors, per-sector&(per-1))
		if err := d.discardIn(sector, n); err != nil {
			return err
		}
		if d.gate.Shutting() {
			return block.ErrGone
		}
		runtime.Gosched()
		sector, sectors = sector+n, sectors-n
	}
	return nil
}

// discardIn is discard of what one table maps.
func (d *Image) discardIn(sector, sectors uint64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	per := d.h.cluster() >> block.SectorShift
	if l1, err := d.meta.entry(d.l1Place(sector / per)); err != nil || l1&placeMask == 0 {
		return err
	}
	return d.pieces(sector, sectors, func(cluster, skip, n uint64) error {
		if n < per {
			return nil
		}
		m, err := d.lookup(cluster)
		if err != nil || m.state == below || m.state == zeros && m.at == 0 {
			return err
		}
		if d.meta.changed > maxPages/4 || len(d.freed) > maxFreed {
			if err := d.syncLocked(); err != nil {
				return err
			}
		}
		where, err := d.writable(cluster)
		if err != nil {
			return err
		}
		entry := uint64(0)
		if d.below != nil {
			entry = reads0
		}
		if err := d.meta.setEntry(level2, where, entry); err != nil {
			return err
		}
		d.release(m)
		return nil
	})
}
