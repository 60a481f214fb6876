package volume

import (
	"errors"
	"fmt"
	"sort"

	"nidus/drivers/block"
	"nidus/drivers/fs"
)

// A file gets an eighth of what it has at once, from 1 to 8 MiB.
const (
	leastPiece = 1 << 20
	mostPiece  = 8 << 20
)

var _ block.Grower = (*file)(nil)

// prepare looks whether the file can grow, before anybody writes it. v.mu is held.
func (f *file) prepare() error {
	g, ok := f.v.sys.(fs.Grower)
	if !ok {
		f.fixed = fs.ErrFixed
		return nil
	}
	if f.fixed = g.Prepare(&f.found); !errors.Is(f.fixed, fs.ErrFixed) {
		return f.fixed
	}
	return nil
}

// Grow implements block.Grower.
func (f *file) Grow(sectors uint64) error {
	f.v.mu.Lock()
	defer f.v.mu.Unlock()
	name := f.pieced.Info().Name
	switch {
	case !f.v.opened[f]:
		return fmt.Errorf("%s: %w", name, block.ErrGone)
	case f.readOnly:
		return fmt.Errorf("%s: %w", name, block.ErrReadOnly)
	}
	if f.fixed != nil {
		return fmt.Errorf("%s: %w: %w", name, f.fixed, block.ErrNoSpace)
	}
	if sectors > 1<<40 {
		return fmt.Errorf("%s: %d sectors at once: %w", name, sectors, block.ErrNoSpace)
	}
	least := int64(sectors << block.SectorShift)
	piece := max(min(f.found.Size/8, mostPiece), leastPiece)
	switch err := f.v.sys.(fs.Grower).Extend(&f.found, least, max(least, piece), f.v.used); {
	case errors.Is(err, fs.ErrFull) || errors.Is(err, fs.ErrFixed):
		return fmt.Errorf("%s: %w: %w", name, err, block.ErrNoSpace)
	case err != nil:
		return fmt.Errorf("%s: %w", name, err)
	}
	return f.moved()
}

// moved has the disk use what the file system has given the file.
func (f *file) moved() error {
	f.setPieces()
	all, sectors, err := f.extents()
	if err == nil {
		err = f.pieced.Set(all, sectors)
	}
	if err == nil && f.sectors != nil {
		f.sectors.Resize(f.length())
	}
	return err
}

// used tells whether a piece of the disk is in a file that is open: a damaged file system may
// say that it is free.
func (v *Volume) used(e fs.Extent) bool {
	for f := range v.opened {
		i := sort.Search(len(f.pieces), func(i int) bool { return f.pieces[i].Disk+f.pieces[i].Len > e.Disk })
		if i < len(f.pieces) && f.pieces[i].Disk < e.Disk+e.Len {
			return true
		}
	}
	return false
}
