package pvmmu

import "nidus/mm"

// GetDescriptors takes a reference to a frame as a page of segment descriptors, which are
// checked for that and then written by UpdateDescriptor only (set_gdt, LDT).
func (d *Domain) GetDescriptors(m mm.MFN) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.cfg.Descriptor == nil {
		return ErrUnsupported
	}
	started, err := d.reference(m, Descriptors)
	if err != nil || !started {
		return err
	}
	f := d.types.at(m)
	t := d.mem.Table(m)
	for i := range tableSize {
		desc, ok := d.cfg.Descriptor(uint64(load(t, i)))
		if !ok {
			f.store(word(Descriptors) << typeShift)
			d.unref(m)
			return ErrDescriptor
		}
		store(t, i, entry(desc))
	}
	f.store(f.load() | validated)
	return nil
}

// PutDescriptors gives it back. No CPU uses the page for that reference any more.
func (d *Domain) PutDescriptors(m mm.MFN) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f := d.types.at(m)
	w := f.load()
	switch {
	case w.typ() != Descriptors || w.count() == 0:
		panic("pvmmu: PutDescriptors without GetDescriptors")
	case w.count() > 1:
		f.store(w - 1)
	default:
		d.types.touch(f)
		f.store(word(Descriptors) << typeShift)
	}
	d.unref(m)
}

// UpdateDescriptor writes a descriptor at a machine address (update_descriptor): into a page
// of descriptors, or one that is nothing else.
func (d *Domain) UpdateDescriptor(ptr, desc uint64) error {
	if ptr&7 != 0 {
		return ErrArgument
	}
	if d.cfg.Descriptor == nil {
		return ErrUnsupported
	}
	desc, ok := d.cfg.Descriptor(desc)
	if !ok {
		return ErrDescriptor
	}
	m, i := mm.MFN(ptr>>mm.PageShift), int(ptr&mm.PageMask)>>3
	f := d.types.at(m)
	if f == nil {
		return ErrFrame
	}
	d.mu.Lock()
	if w := f.load(); w.typ() == Descriptors && w.count() > 0 && d.own(m) {
		store(d.mem.Table(m), i, entry(desc))
		d.mu.Unlock()
		return nil
	}
	d.mu.Unlock()
	_, err := d.updatePlain(m, i, change{val: entry(desc)})
	return err
}
