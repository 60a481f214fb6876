package pvmmu

import "nidus/mm"

// A mapped page: what an L1 entry refers to. An entry that is present has a reference to the
// frame, and one that is writable a writable reference as well.

// foreign says that an entry may map a frame of this domain, by a grant. The zero value says
// that it may not.
type foreign struct {
	owner mm.DomID
	ok    bool
}

// getPage takes the references of an L1 entry that is present.
func (d *Domain) getPage(e entry, g foreign) error {
	m := e.frame()
	if d.types.at(m) == nil {
		return ErrMachine
	}
	owner := d.id
	if g.ok {
		owner = g.owner
	}
	switch err := d.ref(m, owner); err {
	case nil:
		return d.getMapped(e, owner)
	case ErrFrame:
		return d.getSpecial(e)
	default:
		return err
	}
}

// ref takes a reference to RAM of owner's. It takes none, not for a moment, to other frames:
// who frees those counts on being the only one who has them.
func (d *Domain) ref(m mm.MFN, owner mm.DomID) error {
	f := d.frames
	if i := f.Info(m); i.Owner != owner || i.Kind != mm.FrameGuest || d.types.at(m) == nil {
		return ErrFrame
	}
	switch f.Ref(m, owner) {
	case mm.FrameOK:
	case mm.FrameOverflow:
		return ErrCount
	default:
		return ErrFrame
	}
	if f.Info(m).Kind != mm.FrameGuest {
		d.unref(m)
		return ErrFrame
	}
	return nil
}

// getMapped takes the writable reference of an entry whose frame is referenced, or gives
// that back.
func (d *Domain) getMapped(e entry, owner mm.DomID) error {
	if !e.is(writable) {
		return nil
	}
	if err := d.types.getWritable(e.frame(), owner); err != nil {
		d.unref(e.frame())
		if err == ErrType {
			err = ErrProtected
		}
		return err
	}
	return nil
}

// getSpecial is getPage of what is not RAM of the domain's.
func (d *Domain) getSpecial(e entry) error {
	m := e.frame()
	info := d.frames.Info(m)
	if info.Kind == mm.FrameMMIO && !d.special(m, info, e) {
		return ErrMachine
	}
	if !d.special(m, info, e) || d.frames.Ref(m, info.Owner) != mm.FrameOK {
		return ErrFrame
	}
	// Now that it is held it stays what it is.
	if info = d.frames.Info(m); !d.special(m, info, e) {
		d.unref(m)
		return ErrFrame
	}
	return d.getMapped(e, info.Owner)
}

// special tells whether an entry may map a frame that is no domain's RAM.
func (d *Domain) special(m mm.MFN, f mm.Frame, e entry) bool {
	switch f.Kind {
	case mm.FrameSpecial, mm.FrameKernel, mm.FrameMMIO:
	default:
		return false
	}
	if d.cfg.Special == nil {
		return false
	}
	r := d.cfg.Special(m, f)
	return r == ReadWrite || r == ReadOnly && !e.is(writable)
}

// own tells whether a frame that is referenced is RAM of the domain's.
//
//go:nosplit
func (d *Domain) own(m mm.MFN) bool { return d.frames.Owned(m, d.id) }

// putPage gives back the references of an L1 entry that is no longer in the table. Somebody
// else's frame is flushed first: its owner does not wait for this domain's flushes.
func (d *Domain) putPage(e entry) {
	if !d.own(e.frame()) {
		d.FlushAll()
	}
	d.drop(e)
}

// drop is putPage where no flush is due.
func (d *Domain) drop(e entry) {
	m := e.frame()
	d.types.touch(d.types.at(m))
	if e.is(writable) {
		d.types.PutWritable(m)
	}
	d.unref(m)
}

// unref gives back a reference, and the frame if it was the last and its owner is gone.
func (d *Domain) unref(m mm.MFN) {
	if last, s := d.frames.Unref(m); s != mm.FrameOK {
		panic("pvmmu: a frame lost its references: " + s.String())
	} else if last {
		d.mem.FreeFrames(m, 0)
	}
}
