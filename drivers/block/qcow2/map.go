package qcow2

import (
	"errors"
	"fmt"

	"nidus/drivers/block"
)

// Entries of L1 and L2 tables.
const (
	placeMask  = 1<<56 - 1<<9
	copied     = 1 << 63 // nobody else has the cluster
	compressed = 1 << 62
	reads0     = 1 << 0 // version 3
)

// ErrDamaged says that the image's tables contradict themselves.
var ErrDamaged = errors.New("the image is damaged")

func damaged(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrDamaged}, args...)...)
}

// checkPlace tells whether a cluster can be where a table says.
func (d *Image) checkPlace(at uint64, what string) error {
	if at&(d.h.cluster()-1) != 0 || at == 0 || at >= d.dev.Info().Sectors<<block.SectorShift {
		return damaged("%s at byte %d of %d", what, at, d.dev.Info().Sectors<<block.SectorShift)
	}
	return nil
}

// state is where the bytes of a cluster of the disk are.
type state uint8

const (
	below state = iota // in the file below, or zeros
	zeros
	plain
	packed
)

// mapped is an entry of an L2 table.
type mapped struct {
	state
	at    uint64 // of a plain one
	own   bool   // may be written in its place
	entry uint64
	where uint64 // the entry's place; 0: there is no table
}

// l1Place is where the L1 table's entry of a cluster of the disk is.
func (d *Image) l1Place(cluster uint64) uint64 { return d.h.l1 + cluster/d.h.l2Entries()*entryBytes }

// lookup finds a cluster of the disk.
func (d *Image) lookup(cluster uint64) (m mapped, err error) {
	l1, err := d.meta.entry(d.l1Place(cluster))
	if err != nil || l1&placeMask == 0 {
		return m, err
	}
	table := l1 & placeMask
	if err := d.checkPlace(table, "an L2 table"); err != nil {
		return m, err
	}
	m.where = table + cluster%d.h.l2Entries()*entryBytes
	if m.entry, err = d.meta.entry(m.where); err != nil {
		return m, err
	}
	m.at = m.entry & placeMask
	switch e := m.entry; {
	case e&compressed != 0:
		m.state, m.at = packed, 0
	case e&reads0 != 0 && d.h.version >= 3:
		m.state = zeros
	case m.at != 0:
		m.state, m.own = plain, e&copied != 0 && l1&copied != 0
		err = d.checkPlace(m.at, "a cluster")
	}
	if m.state == zeros && m.at != 0 {
		err = d.checkPlace(m.at, "a cluster")
	}
	return m, err
}

// writable returns the place of a cluster's entry in an L2 table that is this disk's
// alone: it makes the table, or copies one that a snapshot has too.
func (d *Image) writable(cluster uint64) (uint64, error) {
	at := d.l1Place(cluster)
	l1, err := d.meta.entry(at)
	if err != nil {
		return 0, err
	}
	table := l1 & placeMask
	if table == 0 || l1&copied == 0 {
		fresh, err := d.alloc()
		if err != nil {
			return 0, err
		}
		if table == 0 {
			err = d.zero(fresh)
		} else if err = d.checkPlace(table, "an L2 table"); err == nil {
			// Its changes, if any, are in the file: it was another one's all along.
			err = d.copyCluster(fresh, d.dev, table, d.h.cluster())
		}
		if err == nil {
			err = d.meta.setEntry(level1, at, fresh|copied)
		}
		if err != nil {
			d.unref(fresh, d.h.cluster())
			return 0, err
		}
		if table != 0 {
			d.unref(table, d.h.cluster())
		}
		table = fresh
	}
	return table + cluster%d.h.l2Entries()*entryBytes, nil
}

// release lets go of what an entry had.
func (d *Image) release(m mapped) {
	switch {
	case m.state == packed:
		at, n := d.packedPlace(m.entry)
		d.unref(at, n)
	case m.at != 0:
		d.unref(m.at, d.h.cluster())
	}
}

// zero writes zeros to a whole cluster of the file.
func (d *Image) zero(at uint64) error {
	d.meta.drop(at, d.h.cluster())
	for _, f := range d.buf {
		d.mem.Page(f).Clear()
	}
	for done := uint64(0); done < d.h.cluster(); {
		n := min(d.h.cluster()-done, bufBytes)
		if err := transfer(d.dev, block.Write, at+done, d.segments(n)...); err != nil {
			return err
		}
		done += n
	}
	return nil
}

// copyCluster copies n bytes from a device to a cluster of the file.
func (d *Image) copyCluster(to uint64, dev block.Device, from, bytes uint64) error {
	d.meta.drop(to, bytes)
	for done := uint64(0); done < bytes; {
		n := min(bytes-done, bufBytes)
		if err := transfer(dev, block.Read, from+done, d.segments(n)...); err != nil {
			return err
		}
		if err := transfer(d.dev, block.Write, to+done, d.segments(n)...); err != nil {
			return err
		}
		done += n
	}
	return nil
}
