package qcow2

import (
	"encoding/binary"
	"errors"
	"fmt"

	"nidus/drivers/block"
)

// refPlace finds a cluster's reference count: the table's entry, the block that it points
// to (0: none, all its counts are 0), and the number of the count in the block.
func (d *Image) refPlace(cluster uint64) (entry, refs, index uint64, err error) {
	perBlock := d.h.cluster() * 8 / d.h.refBits
	entry = d.h.refTable + cluster/perBlock*entryBytes
	if entry >= d.h.refTable+d.h.refTableBytes {
		return 0, 0, 0, fmt.Errorf("its table of reference counts is full: %w", block.ErrNoSpace)
	}
	refs, err = d.meta.entry(entry)
	if err == nil && refs != 0 {
		err = d.checkPlace(refs, "a block of reference counts")
	}
	return entry, refs, cluster % perBlock, err
}

// refs returns a cluster's reference count.
func (d *Image) refs(cluster uint64) (uint64, error) {
	_, at, i, err := d.refPlace(cluster)
	if err != nil || at == 0 {
		return 0, err
	}
	return d.refIn(at, i)
}

func (d *Image) refIn(at, i uint64) (uint64, error) {
	bits := d.h.refBits
	var b [8]byte
	if bits < 8 {
		err := d.meta.load(at+i*bits/8, b[:1])
		return uint64(b[0]) >> (i * bits % 8) & (1<<bits - 1), err
	}
	err := d.meta.load(at+i*bits/8, b[8-bits/8:])
	return binary.BigEndian.Uint64(b[:]), err
}

func (d *Image) setRefIn(at, i, v uint64) error {
	bits := d.h.refBits
	var b [8]byte
	if bits < 8 {
		if err := d.meta.load(at+i*bits/8, b[:1]); err != nil {
			return err
		}
		shift := i * bits % 8
		b[0] = b[0]&^byte((1<<bits-1)<<shift) | byte(v<<shift)
		return d.meta.store(refBlock, at+i*bits/8, b[:1])
	}
	binary.BigEndian.PutUint64(b[:], v)
	return d.meta.store(refBlock, at+i*bits/8, b[8-bits/8:])
}

// alloc counts a free cluster and returns its place. What it holds is anything.
func (d *Image) alloc() (uint64, error) {
	for !d.full {
		if d.next >= d.clusters {
			if err := d.longer(); err != nil {
				return 0, err
			}
		}
		at, err := d.allocAt(d.next)
		if err != nil {
			return 0, err // and it is looked at again
		}
		d.next++
		if at != 0 {
			return at, nil
		}
	}
	return 0, fmt.Errorf("no cluster of the image's %d is free: %w", d.clusters, block.ErrNoSpace)
}

// allocAt is alloc of a cluster; 0 if it is not free, or has become the block that counts it.
func (d *Image) allocAt(c uint64) (uint64, error) {
	entry, at, i, err := d.refPlace(c)
	if err != nil {
		return 0, err
	}
	refs := uint64(0)
	if at != 0 {
		if refs, err = d.refIn(at, i); err != nil {
			return 0, err
		}
	}
	switch {
	case refs != 0:
		return 0, nil
	case d.ownTable(c, at):
		return 0, damaged("cluster %d has the image's own tables and is not counted", c)
	case at == 0: // the first free cluster becomes the block that counts it
		at = c << d.h.bits
		if err := d.zero(at); err != nil {
			return 0, err
		}
		if err := d.setRefIn(at, i, 1); err != nil {
			return 0, err
		}
		return 0, d.meta.setEntry(refTable, entry, at)
	}
	return c << d.h.bits, d.setRefIn(at, i, 1)
}

// longer has the file grow by a cluster or more.
func (d *Image) longer() error {
	why := fmt.Errorf("its file can't grow here; \"truncate -s SIZE\" on a copy of it makes room: %w", block.ErrNoSpace)
	if g, ok := d.dev.(block.Grower); ok {
		end := d.dev.Info().Sectors
		if why = g.Grow((d.clusters+1)<<(d.h.bits-block.SectorShift) - end); why == nil {
			d.clusters = d.dev.Info().Sectors << block.SectorShift >> d.h.bits
			if d.next < d.clusters {
				return nil
			}
			why = fmt.Errorf("its file has %d sectors after it grew: %w", d.dev.Info().Sectors, block.ErrNoSpace)
		}
	}
	d.full = errors.Is(why, block.ErrNoSpace) // otherwise the medium may do better next time
	return fmt.Errorf("no cluster of the image's %d (of %d KiB) is free: %w", d.clusters, d.h.cluster()>>10, why)
}

// ownTable tells whether a cluster has the header, a part of the L1 table or of the table of
// reference counts, or is the block of these, at counts, that it is counted in. A guest that
// were given such a cluster could write whose backing file the image has.
func (d *Image) ownTable(cluster, counts uint64) bool {
	at := cluster << d.h.bits
	in := func(table, bytes uint64) bool { return at >= table && at < table+bytes }
	return at == 0 || at == counts || in(d.h.l1, d.h.l1Entries*entryBytes) || in(d.h.refTable, d.h.refTableBytes)
}

// unref lets go of what was at a place once the tables that don't point there any more
// are on the medium.
func (d *Image) unref(at, bytes uint64) {
	for c := at >> d.h.bits; c <= (at+bytes-1)>>d.h.bits; c++ {
		d.freed = append(d.freed, c)
	}
}

// reclaim counts down what was let go of, each cluster once: what an error of the medium
// leaves is for the next time. Of a cluster that the image's tables say nonsense of nothing
// is given back; what is flushed is on the medium all the same.
func (d *Image) reclaim() error {
	for len(d.freed) > 0 {
		last := len(d.freed) - 1
		err := d.countDown(d.freed[last])
		if err != nil && !errors.Is(err, ErrDamaged) {
			return err
		}
		if err != nil && !d.warned {
			d.warned = true
			d.log("%s: %v; \"qemu-img check\" shows what else", d.info.Name, err)
		}
		d.freed = d.freed[:last]
	}
	return nil
}

func (d *Image) countDown(cluster uint64) error {
	_, at, i, err := d.refPlace(cluster)
	if err != nil {
		return err
	}
	n := uint64(0)
	if at != 0 {
		if n, err = d.refIn(at, i); err != nil {
			return err
		}
	}
	if n == 0 {
		return damaged("cluster %d was used and not counted", cluster)
	}
	if err := d.setRefIn(at, i, n-1); err != nil {
		return err
	}
	if n == 1 {
		d.next = min(d.next, cluster)
	}
	return nil
}
