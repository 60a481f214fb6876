package pvmmu

import "nidus/mm"

// releaseBatch is how many frames Release looks at in one call.
const releaseBatch = 1 << 16

// Release takes away all that the domain has of page tables, once its vcpus don't run any
// more and have let go of their descriptors: roots, and pins. It returns ErrAgain until it
// is done. Then no frame has a type reference, unless somebody else has it mapped.
func (d *Domain) Release() error {
	budget := d.budget
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.finish(&budget); err != nil {
		return err
	}
	for _, v := range d.vcpus {
		if err := d.unpark(v, mm.InvalidMFN, None, &budget); err != nil {
			return err
		}
		for _, root := range []*mm.MFN{&v.kernel, &v.user} {
			if m := *root; m != 0 {
				v.cpu.SetRoot(root == &v.kernel, 0)
				*root = 0
				d.release(m, &budget)
				if err := d.finish(&budget); err != nil {
					return err
				}
			}
		}
		d.freeRoot(v)
	}
	end := min(mm.MFN(len(d.types.frames)), d.scan+releaseBatch)
	for ; d.scan < end; d.scan++ {
		f := d.types.at(d.scan)
		if !f.load().is(pinned) || !d.own(d.scan) {
			continue
		}
		f.unpin()
		d.release(d.scan, &budget)
		if err := d.finish(&budget); err != nil {
			return err
		}
	}
	if d.scan < mm.MFN(len(d.types.frames)) {
		return ErrAgain
	}
	d.FlushAll()
	return nil
}

// Claim takes the owner's own reference of each frame of a block away, as Frames.Claim does,
// so that the frame can go to somebody else: nobody may use it as anything, and what was
// left of translations to it is flushed. The caller frees the frames or gives them another
// owner, or undoes it by Frames.Unclaim.
func (d *Domain) Claim(m mm.MFN, order uint) mm.FrameStatus {
	if order > mm.MaxOrder || d.types.at(m) == nil || d.types.at(m+1<<order-1) == nil {
		return mm.FrameBadRange
	}
	frames := d.frames
	for i := range mm.MFN(1) << order {
		if frames.Info(m+i).Kind != mm.FrameGuest {
			return mm.FrameBadState // a table that the domain runs on
		}
	}
	if s := frames.Claim(m, order, d.id); s != mm.FrameOK {
		return s
	}
	var since uint64
	for i := range mm.MFN(1) << order {
		f := d.types.at(m + i)
		// A reference without one to the frame is somebody's update of an L1 table.
		if w := f.load(); w.count() > 0 || w.is(changing) {
			frames.Unclaim(m, order)
			return mm.FrameBusy
		}
		since = max(since, f.since.Load())
	}
	d.flushSince(since)
	for i := range mm.MFN(1) << order {
		d.types.at(m + i).store(noType)
	}
	return mm.FrameOK
}
