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

// Entries is Memory of a PV guest's vcpu, whose grants go to entries of its page tables.
type Entries interface {
	Memory
	// MapGrant makes an entry one that maps frame m of owner's, which the caller holds: the
	// entry for the virtual address at, or with pte the one at the machine address at. It
	// returns the entry's machine address. avail is for the bits that are the guest's.
	MapGrant(at uint64, pte bool, m mm.MFN, owner mm.DomID, write bool, avail uint32) (entry uint64, err error)
	// GrantEntry is the machine address of the entry for a virtual address.
	GrantEntry(at mm.GuestVirt) (entry uint64, ok bool)
	// UnmapGrant ends what MapGrant made, or the guest has made of it: no CPU has the
	// mapping on return. Of a grant of the guest's own, m is the frame, which can't be told
	// from others of the guest's otherwise; else it is InvalidMFN.
	UnmapGrant(entry uint64, m mm.MFN) error
	// ReplaceGrant is UnmapGrant that moves the entry for the virtual address from there. It
	// does nothing but fail if the guest has made something else of the grant's entry.
	ReplaceGrant(entry uint64, m mm.MFN, from mm.GuestVirt) error
}

// MaxBatch is how many structures one call of Hypercall works on, so that a
// guest's count does not decide how long the hypervisor is busy.
const MaxBatch = 64

// Caller is one who makes the calls: a vcpu has one, so that a call allocates nothing.
// The zero value is ready.
type Caller struct {
	t   *Table
	w   xenabi.Width
	mem Memory

	// What the call has unmapped, until finish.
	ended  [MaxBatch]mapping
	nended int

	buf  [64]byte
	args struct {
		mapRef       xenabi.GnttabMapGrantRef
		unmapRef     xenabi.GnttabUnmapGrantRef
		setupTable   xenabi.GnttabSetupTable
		transfer     xenabi.GnttabTransfer
		copy         xenabi.GnttabCopy
		querySize    xenabi.GnttabQuerySize
		unmapReplace xenabi.GnttabUnmapAndReplace
		setVersion   xenabi.GnttabSetVersion
		statusFrames xenabi.GnttabGetStatusFrames
		getVersion   xenabi.GnttabGetVersion
		swap         xenabi.GnttabSwapGrantRef
		cacheFlush   xenabi.GnttabCacheFlush
	}
}

// Hypercall does grant_table_op cmd for the guest of table t: count structures of
// width w at guest address arg. It does at most MaxBatch of them and returns how
// many it did, and where the next one is; the caller lets the guest make the call again
// for the rest. The error is an xenabi.Errno: ENOSYS for an unknown operation, EFAULT
// for a bad address, and what the operation says; the status of each structure is in it.
func (c *Caller) Hypercall(t *Table, w xenabi.Width, cmd uint32, mem Memory, arg mm.GuestVirt, count uint32) (done uint32, next mm.GuestVirt, err error) {
	c.t, c.w, c.mem = t, w, mem
	defer c.finish()
	s, single := c.arg(cmd)
	switch {
	case s == nil:
		return 0, arg, xenabi.ENOSYS
	case single && count != 1:
		return 0, arg, xenabi.EINVAL
	}
	b := c.buf[:xenabi.Size(w, s)]
	for ; done < min(count, MaxBatch); done++ {
		if mem.CopyIn(arg, b) != nil {
			return done, arg, xenabi.EFAULT
		}
		xenabi.Decode(w, b, s)
		if err := c.run(cmd); err != nil {
			return done, arg, err
		}
		xenabi.Encode(w, b, s)
		if mem.CopyOut(arg, b) != nil {
			return done, arg, xenabi.EFAULT
		}
		arg += mm.GuestVirt(len(b))
	}
	return done, arg, nil
}

// arg returns the structure of operation cmd, nil if there is no such operation, and
// whether it takes only one.
func (c *Caller) arg(cmd uint32) (s xenabi.Struct, single bool) {
	switch a := &c.args; cmd {
	case xenabi.GnttabOpMapGrantRef:
		return &a.mapRef, false
	case xenabi.GnttabOpUnmapGrantRef:
		return &a.unmapRef, false
	case xenabi.GnttabOpSetupTable:
		return &a.setupTable, true
	case xenabi.GnttabOpTransfer:
		return &a.transfer, false
	case xenabi.GnttabOpCopy:
		return &a.copy, false
	case xenabi.GnttabOpQuerySize:
		return &a.querySize, true
	case xenabi.GnttabOpUnmapAndReplace:
		return &a.unmapReplace, false
	case xenabi.GnttabOpSetVersion:
		return &a.setVersion, true
	case xenabi.GnttabOpGetStatusFrames:
		return &a.statusFrames, true
	case xenabi.GnttabOpGetVersion:
		return &a.getVersion, true
	case xenabi.GnttabOpSwapGrantRef:
		return &a.swap, false
	case xenabi.GnttabOpCacheFlush:
		return &a.cacheFlush, false
	}
	return nil, false
}

// run does operation cmd, one that arg knows, on its structure.
func (c *Caller) run(cmd uint32) error {
	switch a := &c.args; cmd {
	case xenabi.GnttabOpMapGrantRef:
		a.mapRef.Status = c.mapRef(&a.mapRef)
	case xenabi.GnttabOpUnmapGrantRef:
		u := &a.unmapRef
		u.Status = c.unmapRef(u.HostAddr, u.DevBusAddr, 0, u.Handle)
	case xenabi.GnttabOpUnmapAndReplace:
		u := &a.unmapReplace
		u.Status = c.unmapRef(u.HostAddr, 0, u.NewAddr, u.Handle)
	case xenabi.GnttabOpCopy:
		a.copy.Status = c.copy(&a.copy)
	case xenabi.GnttabOpSetupTable:
		return c.setupTable(&a.setupTable)
	case xenabi.GnttabOpTransfer:
		// A translated guest can't do it, and for PV guests it is not there; only
		// GNTST_bad_page leaves the page with its owner (grant_table.h).
		a.transfer.Status = xenabi.GNTSTBadPage
	case xenabi.GnttabOpQuerySize:
		c.querySize(&a.querySize)
	case xenabi.GnttabOpSetVersion:
		err := c.t.SetVersion(a.setVersion.Version)
		a.setVersion.Version = c.t.Version()
		return err
	case xenabi.GnttabOpGetStatusFrames:
		return c.statusFrames(&a.statusFrames)
	case xenabi.GnttabOpGetVersion:
		return c.getVersion(&a.getVersion)
	case xenabi.GnttabOpSwapGrantRef:
		a.swap.Status = c.t.Swap(a.swap.RefA, a.swap.RefB)
	case xenabi.GnttabOpCacheFlush:
		return cacheFlush(&a.cacheFlush)
	}
	return nil
}

// peer returns the table of domain id, or nil.
func (c *Caller) peer(id uint16) *Table {
	if mm.DomID(id) == mm.DomIDSelf || mm.DomID(id) == c.t.cfg.ID {
		return c.t
	}
	return c.t.cfg.Tables.Of(mm.DomID(id))
}

// target returns the table that an operation on a whole table names.
func (c *Caller) target(id uint16) (*Table, xenabi.GnttabStatus) {
	t := c.peer(id)
	switch {
	case t == nil:
		return nil, xenabi.GNTSTBadDomain
	case t != c.t && !c.t.cfg.Privileged:
		return nil, xenabi.GNTSTPermissionDenied
	}
	return t, xenabi.GNTSTOkay
}

func (c *Caller) setupTable(a *xenabi.GnttabSetupTable) error {
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

func (c *Caller) statusFrames(a *xenabi.GnttabGetStatusFrames) error {
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
func (c *Caller) writeFrames(t *Table, list uint64, size int, frames []frame) error {
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

func (c *Caller) querySize(a *xenabi.GnttabQuerySize) {
	t, st := c.target(a.DomID)
	if a.Status = st; t == nil {
		return
	}
	n, _, limit := t.Sizes()
	a.NrFrames, a.MaxNrFrames = uint32(n), uint32(limit)
}

func (c *Caller) getVersion(a *xenabi.GnttabGetVersion) error {
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

// cacheFlush checks its arguments. It works on machine addresses, of which a translated
// guest knows none, and a PV guest has no use for it: no device of its own, and RAM of one
// memory type. By reference is not for x86.
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
