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
	return f.change(func(g fs.Grower) error { return g.Extend(&f.found, least, max(least, piece), f.v.used) })
}

// fill gives the file room where it has a hole: extent.Config's Fill.
func (f *file) fill(first, sectors uint64) error {
	f.v.mu.Lock()
	defer f.v.mu.Unlock()
	return f.change(func(g fs.Grower) error {
		return g.(fs.Filler).Fill(&f.found, int64(first<<block.SectorShift), int64(min(sectors, 1<<20)<<block.SectorShift), f.v.used)
	})
}

// change has the file system do something, and the disk use what comes of it. v.mu is held.
func (f *file) change(do func(fs.Grower) error) error {
	err := do(f.v.sys.(fs.Grower))
	switch name := f.pieced.Info().Name; {
	case errors.Is(err, fs.ErrFull) || errors.Is(err, fs.ErrFixed):
		err = fmt.Errorf("%s: %w: %w", name, err, block.ErrNoSpace)
	case err != nil:
		err = fmt.Errorf("%s: %w", name, err)
	}
	return errors.Join(err, f.moved()) // after an error, too: the medium may have done it
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
