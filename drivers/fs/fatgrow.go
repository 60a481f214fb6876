package fs

import (
	"encoding/binary"
	"fmt"
	"slices"
)

// How a file of FAT gets longer. First its new clusters are zeros and a chain of their own, in
// all tables; then the file's chain goes on with them; then its entry in the folder has its new
// length; each on the medium before the next. Where that ends early the clusters are
// lost, or behind the file's end, where the next time finds them.

const (
	fatMost   = 1<<32 - 1 // bytes of a file
	fatWindow = 32 << 10  // bytes of a table that are written at once
	fatPage   = 64 << 10  // that are read at once, in looking for what is free
	fatPiece  = 64 << 20  // bytes that a file gets longer by at once, at most
	// The signatures of FSInfo.
	infoLead, infoStruct, infoTrail = 0x41615252, 0x61417272, 0xaa550000
)

// growable finds out from the first sector, of unit bytes, whether files can grow.
func (f *fat) growable(b []byte, unit, reserved int64) {
	le := binary.LittleEndian
	dirty, version := b[0x25], uint16(0)
	f.rover = 2
	if f.bits == 32 {
		dirty, version = b[0x41], le.Uint16(b[0x2a:])
		if n := int64(le.Uint16(b[0x30:])); n > 0 && n < reserved {
			f.info = n * unit
		}
	}
	switch {
	case f.medium() == nil:
		f.fixed = fixed("the disk is only read")
	case f.bits == 12:
		f.fixed = fixed("it is FAT12")
	case f.bits == 32 && le.Uint16(b[0x28:])&0x80 != 0:
		f.fixed = fixed("its tables are not copies of each other")
	case version != 0:
		f.fixed = fixed("its FAT32 is of version %#x", version)
	case dirty&3 != 0:
		f.fixed = fixed("it was not unmounted, or has errors: \"fsck.vfat -a\" repairs it")
	}
	if f.fixed != nil {
		return
	}
	if b := f.fsInfo(); b != nil {
		if n := le.Uint32(b[492:]); n >= 2 && n < f.clusters+2 {
			f.rover = n
		}
	}
	// Windows says there that it was unmounted, and that there were no errors.
	ok := uint32(3 << 26)
	if f.bits == 16 {
		ok = 3 << 14
	}
	if e, err := f.page(512).entry(1); err != nil || e&ok != ok {
		f.fixed = fixed("it was not unmounted, or has errors: \"fsck.vfat -a\" repairs it")
	}
}

// fsInfo reads FAT32's FSInfo; nil if there is none.
func (f *fat) fsInfo() []byte {
	le, b := binary.LittleEndian, make([]byte, 512)
	if f.info == 0 || f.read(b, f.info) != nil || le.Uint32(b) != infoLead || le.Uint32(b[484:]) != infoStruct || le.Uint32(b[508:]) != infoTrail {
		return nil
	}
	return b
}

// end is what a file's extents have.
func (f *File) end() int64 {
	if len(f.Extents) == 0 {
		return 0
	}
	l := f.Extents[len(f.Extents)-1]
	return l.File + l.Len
}

// Prepare implements Grower.
func (f *fat) Prepare(file *File) error {
	switch {
	case f.fixed != nil:
		return f.fixed
	case file.at == 0 || file.Size == 0:
		return fixed("the file is empty")
	}
	if n := file.end() - file.Size; n > 0 {
		if err := f.medium().Zero(file.place(file.Size), n); err != nil {
			return err
		}
	}
	if size := (file.Size + 511) &^ 511; size != file.Size {
		if size > fatMost {
			return fixed("the file has %d bytes", file.Size)
		}
		if err := f.medium().Flush(); err != nil {
			return err
		}
		return f.resize(file, size)
	}
	return nil
}

// Extend implements Grower.
func (f *fat) Extend(file *File, least, most int64, used func(Extent) bool) error {
	if f.fixed != nil {
		return f.fixed
	}
	up := func(n int64) int64 { return (n + f.cluster - 1) / f.cluster }
	limit := fatMost / f.cluster * f.cluster
	most = min(max(least, most), fatPiece)
	if least <= 0 || least > most || file.Size > limit-least {
		return fmt.Errorf("a file of FAT has %d bytes at most, and this one %d: %w", limit, file.Size, ErrFull)
	}
	have := file.end()
	need := int(up(file.Size + least - have))
	c := chain{f: f, p: f.page(fatPage), used: used, taken: map[uint32]bool{}}
	c.last = uint32((file.Extents[len(file.Extents)-1].Disk+file.Extents[len(file.Extents)-1].Len-f.data)/f.cluster) + 1
	if err := c.find(need, int(up(min(file.Size+most, limit)-have))); err != nil {
		return err
	}
	next := File{Size: file.Size, Extents: slices.Clone(file.Extents), at: file.at}
	for i, n := range c.clusters {
		if err := next.add(f.extent(n, have+int64(i)*f.cluster)); err != nil {
			return err
		}
	}
	if err := c.write(); err != nil {
		return err
	}
	if err := f.resize(&next, next.end()); err != nil {
		return err
	}
	*file = next
	return nil
}

// Finish implements Grower.
func (f *fat) Finish() error { return nil }

// extent is a cluster's.
func (f *fat) extent(cluster uint32, at int64) Extent {
	return Extent{at, f.data + int64(cluster-2)*f.cluster, f.cluster}
}

// resize writes a file's length to its entry.
func (f *fat) resize(file *File, size int64) error {
	le, b := binary.LittleEndian, make([]byte, 4)
	if err := f.read(b, file.at+28); err != nil {
		return err
	}
	if n := le.Uint32(b); int64(n) != file.Size {
		return damaged("the entry of a file of %d bytes says %d", file.Size, n)
	}
	le.PutUint32(b, uint32(size))
	if err := f.write(b, file.at+28); err != nil {
		return err
	}
	file.Size = size
	return f.medium().Flush()
}

// chain is what a file gets.
type chain struct {
	f        *fat
	p        *page
	used     func(Extent) bool
	last     uint32 // of the file
	clusters []uint32
	taken    map[uint32]bool
	linked   int // so many clusters are the file's already, behind its end
}

// take takes a cluster, unless somebody has it.
func (c *chain) take(n uint32) bool {
	if c.taken[n] || c.used(c.f.extent(n, 0)) {
		return false
	}
	c.taken[n] = true
	c.clusters = append(c.clusters, n)
	return true
}

// find looks for clusters: those that the chain has behind the file's end, those that lie
// behind its last one, and then others.
func (c *chain) find(need, most int) error {
	f, at := c.f, c.last
	for {
		next, err := c.p.entry(at)
		if err != nil {
			return err
		}
		if next >= fatEnd || len(c.clusters) >= most {
			break
		}
		if next < 2 || next-2 >= f.clusters || !c.take(next) {
			return damaged("the chain of a file goes on with cluster %d", next)
		}
		at = next
	}
	c.linked = len(c.clusters)
	for at++; at-2 < f.clusters && len(c.clusters) < most; at++ {
		if e, err := c.p.entry(at); err != nil {
			return err
		} else if e != 0 || !c.take(at) {
			break
		}
	}
	rover, sought := f.rover, f.sought
	for ; sought < f.clusters && len(c.clusters) < most; sought++ {
		e, err := c.p.entry(rover)
		if err != nil {
			return err
		}
		if e == 0 {
			c.take(rover)
		}
		if rover++; rover-2 >= f.clusters {
			rover = 2
		}
	}
	// Nothing is given back meanwhile: what was looked at is not free any more. If it is too
	// little it is nobody's.
	f.rover, f.sought = rover, sought
	if len(c.clusters) < need {
		return fmt.Errorf("%w: %d clusters of %d KiB are free, and %d are needed", ErrFull, len(c.clusters), f.cluster>>10, need)
	}
	return nil
}

// write makes the clusters zeros, and the file's.
func (c *chain) write() error {
	f := c.f
	for i := 0; i < len(c.clusters); {
		n := 1
		for i+n < len(c.clusters) && c.clusters[i+n] == c.clusters[i]+uint32(n) {
			n++
		}
		if err := f.medium().Zero(f.extent(c.clusters[i], 0).Disk, int64(n)*f.cluster); err != nil {
			return err
		}
		i += n
	}
	fresh := c.clusters[c.linked:]
	if len(fresh) > 0 {
		if err := c.store(fresh, 0x0fffffff); err != nil {
			return err
		}
		if err := c.count(uint32(len(fresh)), fresh[len(fresh)-1]); err != nil {
			return err
		}
	}
	if err := f.medium().Flush(); err != nil || len(fresh) == 0 {
		return err
	}
	last := c.last
	if c.linked > 0 {
		last = c.clusters[c.linked-1]
	}
	if err := c.store([]uint32{last}, fresh[0]); err != nil {
		return err
	}
	return f.medium().Flush()
}

// store makes clusters a chain that goes on with next, in all tables.
func (c *chain) store(all []uint32, next uint32) error {
	f, le := c.f, binary.LittleEndian
	width := uint32(f.bits / 8)
	for i := 0; i < len(all); {
		lo, hi := all[i], all[i]
		j := i + 1
		for ; j < len(all); j++ {
			l, h := min(lo, all[j]), max(hi, all[j])
			if (h-l)*width >= fatWindow {
				break
			}
			lo, hi = l, h
		}
		b := make([]byte, (hi-lo+1)*width)
		off := int64(lo) * int64(width)
		if err := f.read(b, f.table+off); err != nil {
			return err
		}
		for ; i < j; i++ {
			v := next
			if i+1 < len(all) {
				v = all[i+1]
			}
			if e := b[(all[i]-lo)*width:]; width == 4 {
				le.PutUint32(e, le.Uint32(e)&0xf0000000|v)
			} else {
				le.PutUint16(e, uint16(v))
			}
		}
		for _, table := range f.tables {
			if err := f.write(b, table+off); err != nil {
				return err
			}
		}
	}
	return nil
}

// count brings FSInfo's hints up to date: how many clusters are free, and where to look.
func (c *chain) count(n, last uint32) error {
	le, b := binary.LittleEndian, c.f.fsInfo()
	if b == nil {
		return nil
	}
	if free := le.Uint32(b[488:]); free <= c.f.clusters && free >= n {
		le.PutUint32(b[488:], free-n)
	} else {
		le.PutUint32(b[488:], 0xffffffff)
	}
	le.PutUint32(b[492:], last)
	return c.f.write(b, c.f.info)
}
