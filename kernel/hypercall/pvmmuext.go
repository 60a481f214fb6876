package hypercall

import (
	"nidus/kernel/xenabi"
	"nidus/mm"
	"nidus/mm/pvmmu"
)

// mmuExtOp pins tables, changes roots and flushes (xen.h, mmuext_op).
func mmuExtOp(c *call) int64 {
	l, res := c.beginList()
	if res != 0 {
		return res
	}
	size := uint64(c.codec.Size(c.w, &c.ext))
	for i := 0; l.n > 0; i++ {
		if c.tired(&l, i) {
			return c.endList(&l, 0, true)
		}
		if !c.read(l.list, &c.ext) {
			return c.endList(&l, errno(xenabi.EFAULT), false)
		}
		err := c.mmuExt(&c.ext)
		if err == pvmmu.ErrAgain {
			return c.endList(&l, 0, true)
		}
		if r := mmuErr(err); r != 0 {
			return c.endList(&l, r, false)
		}
		l.step(size)
	}
	return c.endList(&l, 0, false)
}

// mmuExt does one operation.
func (c *call) mmuExt(op *xenabi.MMUExtOp) error {
	m := c.v.MMU
	frame, va := mm.MFN(op.Arg1), mm.GuestVirt(op.Arg1)
	switch op.Cmd {
	case xenabi.MMUExtPinL1Table, xenabi.MMUExtPinL2Table, xenabi.MMUExtPinL3Table, xenabi.MMUExtPinL4Table:
		return m.Pin(frame, int(op.Cmd-xenabi.MMUExtPinL1Table)+1)
	case xenabi.MMUExtUnpinTable:
		return m.Unpin(frame)
	case xenabi.MMUExtNewBaseptr:
		return m.SetRoot(true, frame)
	case xenabi.MMUExtNewUserBaseptr:
		return m.SetRoot(false, frame)
	case xenabi.MMUExtTlbFlushLocal:
		m.FlushLocal()
	case xenabi.MMUExtInvlpgLocal:
		m.FlushPage(m.LocalSet(), va)
	case xenabi.MMUExtTlbFlushMulti, xenabi.MMUExtInvlpgMulti:
		set, ok := c.cpuSet(op.Arg2)
		switch {
		case !ok:
			return xenabi.EFAULT
		case op.Cmd == xenabi.MMUExtTlbFlushMulti:
			m.FlushSet(set)
		default:
			m.FlushPage(set, va)
		}
	case xenabi.MMUExtTlbFlushAll:
		m.FlushAll()
	case xenabi.MMUExtInvlpgAll:
		m.FlushPage(m.AllSet(), va)
	case xenabi.MMUExtFlushCache, xenabi.MMUExtFlushCacheGlobal:
		return xenabi.EACCES // for who has a device
	case xenabi.MMUExtSetLDT:
		return m.SetLDT(va, uint32(op.Arg2))
	case xenabi.MMUExtClearPage:
		return m.ClearPage(frame)
	case xenabi.MMUExtCopyPage:
		return m.CopyPage(frame, mm.MFN(op.Arg2))
	case xenabi.MMUExtMarkSuper, xenabi.MMUExtUnmarkSuper:
		return xenabi.EOPNOTSUPP
	default:
		return xenabi.ENOSYS
	}
	return nil
}
