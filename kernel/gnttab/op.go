package gnttab

import (
	"encoding/binary"

	"nidus/kernel/xenabi"
	"nidus/mm"
)

// Memory is the calling vcpu's view of its guest's memory.
type Memory interface {
	CopyIn(a mm.GuestVirt, dst []byte) error
	CopyOut(a mm.GuestVirt, src []byte) error
}

// MaxBatch is how many structures one call of Hypercall works on, so that a
// guest's count does not decide how long the hypervisor is busy.
const MaxBatch = 64

// Hypercall does grant_table_op cmd for the domain's guest: count structures of
// width w at guest address arg. It does at most MaxBatch of them and returns how
// many it did; the caller lets the guest make the call again for the rest. The
// error is an xenabi.Errno: ENOSYS for an unknown operation, EFAULT for a bad
// address, and what the operation says; the status of each structure is in it.
func (t *Table) Hypercall(w xenabi.Width, cmd uint32, mem Memory, arg mm.GuestVirt, count uint32) (done uint32, err error) {
	c := caller{t: t, w: w, mem: mem}
	single := false
	switch cmd {
	case xenabi.GnttabOpSetupTable, xenabi.GnttabOpQuerySize, xenabi.GnttabOpGetStatusFrames,
		xenabi.GnttabOpSetVersion, xenabi.GnttabOpGetVersion:
		single = true
	}
	op, s := c.operation(cmd)
	switch {
	case op == nil:
		return 0, xenabi.ENOSYS
	case single && count != 1:
		return 0, xenabi.EINVAL
	}
	size := xenabi.Size(w, s)
	var buf [64]byte
	b := buf[:size]
	for ; done < min(count, MaxBatch); done++ {
		at := arg + mm.GuestVirt(done)*mm.GuestVirt(size)
		if mem.CopyIn(at, b) != nil {
			return done, xenabi.EFAULT
		}
		xenabi.Decode(w, b, s)
		if err := op(); err != nil {
			return done, err
		}
		xenabi.Encode(w, b, s)
		if mem.CopyOut(at, b) != nil {
			return done, xenabi.EFAULT
		}
	}
	return done, nil
}

// caller is one hypercall.
type caller struct {
	t   *Table
	w   xenabi.Width
	mem Memory
}

// operation returns the structure of operation cmd and what works on it, or nil.
func (c *caller) operation(cmd uint32) (func() error, xenabi.Struct) {
	switch cmd {
	case xenabi.GnttabOpSetupTable:
		a := new(xenabi.GnttabSetupTable)
		return func() error { return c.setupTable(a) }, a
	case xenabi.GnttabOpQuerySize:
		a := new(xenabi.GnttabQuerySize)
		return func() error { c.querySize(a); return nil }, a
	case xenabi.GnttabOpSetVersion:
		a := new(xenabi.GnttabSetVersion)
		return func() error {
			err := c.t.SetVersion(a.Version)
			a.Version = c.t.Version()
			return err
		}, a
	case xenabi.GnttabOpGetStatusFrames:
		a := new(xenabi.GnttabGetStatusFrames)
		return func() error { return c.statusFrames(a) }, a
	case xenabi.GnttabOpGetVersion:
		a := new(xenabi.GnttabGetVersion)
		return func() error { return c.getVersion(a) }, a
	case xenabi.GnttabOpSwapGrantRef:
		a := new(xenabi.GnttabSwapGrantRef)
		return func() error { a.Status = c.t.Swap(a.RefA, a.RefB); return nil }, a
	case xenabi.GnttabOpCacheFlush:
		a := new(xenabi.GnttabCacheFlush)
		return func() error { return cacheFlush(a) }, a
	case xenabi.GnttabOpMapGrantRef:
		a := new(xenabi.GnttabMapGrantRef)
		return func() error { a.Status = c.mapRef(a); return nil }, a
	case xenabi.GnttabOpUnmapGrantRef:
		a := new(xenabi.GnttabUnmapGrantRef) // there are no handles yet
		return func() error { a.Status = xenabi.GNTSTBadHandle; return nil }, a
	case xenabi.GnttabOpUnmapAndReplace:
		a := new(xenabi.GnttabUnmapAndReplace)
		return func() error { a.Status = xenabi.GNTSTBadHandle; return nil }, a
	case xenabi.GnttabOpCopy:
		a := new(xenabi.GnttabCopy)
		return func() error { a.Status = c.copy(a); return nil }, a
	case xenabi.GnttabOpTransfer:
		// Only PV guests can do it, and only GNTST_bad_page leaves the page with
		// its owner (grant_table.h).
		a := new(xenabi.GnttabTransfer)
		return func() error { a.Status = xenabi.GNTSTBadPage; return nil }, a
	}
	return nil, nil
}

// peer returns the table of domain id, or nil.
func (c *caller) peer(id uint16) *Table {
	switch {
	case mm.DomID(id) == mm.DomIDSelf || mm.DomID(id) == c.t.cfg.ID:
		return c.t
	case c.t.cfg.Peer == nil:
		return nil
	}
	return c.t.cfg.Peer(mm.DomID(id))
}

// target returns the table that an operation on a whole table names.
func (c *caller) target(id uint16) (*Table, xenabi.GnttabStatus) {
	t := c.peer(id)
	switch {
	case t == nil:
		return nil, xenabi.GNTSTBadDomain
	case t != c.t && !c.t.cfg.Privileged:
		return nil, xenabi.GNTSTPermissionDenied
	}
	return t, xenabi.GNTSTOkay
}

func (c *caller) setupTable(a *xenabi.GnttabSetupTable) error {
	t, st := c.target(a.DomID)
	if a.Status = st; t == nil {
		return nil
	}
	t.mu.Lock()
	if uint64(a.NrFrames) > uint64(t.cfg.MaxFrames) || t.grow(int(a.NrFrames)) != nil {
		t.mu.Unlock()
		a.Status = xenabi.GNTSTGeneralError
		return nil
	}
	frames := append([]frame(nil), t.shared[:a.NrFrames]...)
	t.mu.Unlock()
	return c.writeFrames(t, a.FrameList, int(c.w), frames)
}

func (c *caller) statusFrames(a *xenabi.GnttabGetStatusFrames) error {
	t, st := c.target(a.DomID)
	if a.Status = st; t == nil {
		return nil
	}
	t.mu.RLock()
	if t.version != 2 || uint64(a.NrFrames) > uint64(len(t.status)) {
		t.mu.RUnlock()
		a.Status = xenabi.GNTSTGeneralError
		return nil
	}
	frames := append([]frame(nil), t.status[:a.NrFrames]...)
	t.mu.RUnlock()
	return c.writeFrames(t, a.FrameList, 8, frames)
}

// writeFrames writes the numbers of frames to the guest's list, whose entries
// have size bytes.
func (c *caller) writeFrames(t *Table, list uint64, size int, frames []frame) error {
	if len(frames) == 0 {
		return nil
	}
	b := make([]byte, 0, len(frames)*size)
	for _, f := range frames {
		n := t.cfg.FrameNumber(f.mfn)
		if size == 4 {
			b = binary.LittleEndian.AppendUint32(b, uint32(n))
		} else {
			b = binary.LittleEndian.AppendUint64(b, n)
		}
	}
	if c.mem.CopyOut(mm.GuestVirt(list), b) != nil {
		return xenabi.EFAULT
	}
	return nil
}

func (c *caller) querySize(a *xenabi.GnttabQuerySize) {
	t, st := c.target(a.DomID)
	if a.Status = st; t == nil {
		return
	}
	n, _, limit := t.Sizes()
	a.NrFrames, a.MaxNrFrames = uint32(n), uint32(limit)
}

func (c *caller) getVersion(a *xenabi.GnttabGetVersion) error {
	switch t, st := c.target(a.DomID); st {
	case xenabi.GNTSTBadDomain:
		return xenabi.ESRCH
	case xenabi.GNTSTPermissionDenied:
		return xenabi.EPERM
	default:
		a.Version = t.Version()
		return nil
	}
}

// cacheFlush checks its arguments. There is nothing to flush, since no guest has
// a page of another one yet.
func cacheFlush(a *xenabi.GnttabCacheFlush) error {
	const ops = xenabi.GntCacheClean | xenabi.GntCacheInval
	switch {
	case a.Op&^uint32(ops|xenabi.GntCacheSourceGref) != 0, int(a.Offset)+int(a.Length) > mm.PageSize:
		return xenabi.EINVAL
	case a.Op&xenabi.GntCacheSourceGref != 0:
		return xenabi.EOPNOTSUPP
	case a.Op == 0 || a.Length == 0:
		return nil
	}
	return xenabi.EPERM
}

// mapRef checks its arguments; mapping itself is not there yet.
func (c *caller) mapRef(a *xenabi.GnttabMapGrantRef) xenabi.GnttabStatus {
	if a.Flags&(xenabi.GntMapDeviceMap|xenabi.GntMapHostMap) == 0 {
		return xenabi.GNTSTBadGntref
	}
	t := c.peer(a.DomID)
	if t == nil {
		return xenabi.GNTSTBadDomain
	}
	if _, st := t.Entry(a.Ref); st != xenabi.GNTSTOkay {
		return st
	}
	return xenabi.GNTSTGeneralError
}

// copy checks its arguments; copying itself is not there yet.
func (c *caller) copy(a *xenabi.GnttabCopy) xenabi.GnttabStatus {
	if int(a.SourceOffset)+int(a.Len) > mm.PageSize || int(a.DestOffset)+int(a.Len) > mm.PageSize {
		return xenabi.GNTSTBadCopyArg
	}
	for _, end := range []struct {
		dom   uint16
		frame uint64
		gref  bool
	}{
		{a.SourceDomID, a.SourceFrame, a.Flags&xenabi.GntCopySourceGref != 0},
		{a.DestDomID, a.DestFrame, a.Flags&xenabi.GntCopyDestGref != 0},
	} {
		t := c.peer(end.dom)
		switch {
		case t == nil:
			return xenabi.GNTSTBadDomain
		case !end.gref && t != c.t: // a frame may be named only in one's own memory
			return xenabi.GNTSTPermissionDenied
		case end.gref:
			if _, st := t.Entry(uint32(end.frame)); st != xenabi.GNTSTOkay {
				return st
			}
		}
	}
	return xenabi.GNTSTGeneralError
}
