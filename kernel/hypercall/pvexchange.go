package hypercall

import (
	"nidus/kernel/xenabi"
	"nidus/mm"
)

// exchangeFrames bounds one go of XENMEM_exchange, and the chunk that is exchanged at once.
const exchangeFrames = 1 << maxExtentOrder

// exchange is XENMEM_exchange: frames for others, contiguous in blocks of another order.
// The larger of both orders is a chunk: all of it is exchanged, or nothing.
func (c *call) exchange() int64 {
	var a xenabi.MemoryExchange
	if !c.read(c.arg[1], &a) {
		return errno(xenabi.EFAULT)
	}
	in, out := &a.In, &a.Out
	zone, ok := zoneOf(out.MemFlags)
	switch {
	case in.ExtentOrder > maxExtentOrder || out.ExtentOrder > maxExtentOrder:
		return errno(xenabi.EPERM)
	case !ok:
		return errno(xenabi.ENOMEM)
	case in.DomID != out.DomID, a.NrExchanged > in.NrExtents, in.NrExtents > uint64(memMax), out.NrExtents > uint64(memMax),
		in.NrExtents<<in.ExtentOrder != out.NrExtents<<out.ExtentOrder:
		return errno(xenabi.EINVAL)
	}
	if err := c.own(in.DomID); err != nil {
		return xenabi.Result(err)
	}
	if !c.mayBe(in.ExtentStart, in.NrExtents) || !c.mayBe(out.ExtentStart, out.NrExtents) {
		return errno(xenabi.EFAULT) // before a frame is taken
	}
	order := max(in.ExtentOrder, out.ExtentOrder)
	perIn := uint64(1) << (order - in.ExtentOrder) // extents that are a chunk
	done, res := a.NrExchanged/perIn, int64(0)
	chunks := in.NrExtents / perIn
	last := min(chunks, done+exchangeFrames>>order)
	for ; done < last && res == 0; done++ {
		if res = c.exchangeChunk(&a, done, uint(order), zone); res != 0 {
			break
		}
	}
	a.NrExchanged = done * perIn
	if r := c.write(c.arg[1], &a); r != 0 {
		return r
	}
	if res == 0 && done < chunks {
		return c.again()
	}
	return res
}

// exchangeChunk exchanges chunk n, 1<<order frames.
func (c *call) exchangeChunk(a *xenabi.MemoryExchange, n uint64, order uint, zone mm.Zone) (res int64) {
	f := c.pvFrames()
	inOrder, outOrder := uint(a.In.ExtentOrder), uint(a.Out.ExtentOrder)
	var claimed, fresh [exchangeFrames]mm.MFN
	nin, nout := 0, 0
	defer func() {
		if res != 0 {
			for _, m := range claimed[:nin] {
				f.unclaim(m, inOrder)
			}
			for _, m := range fresh[:nout] {
				f.FreeFresh(m, outOrder)
			}
		}
	}()
	for per := 1 << (order - inOrder); nin < per; nin++ {
		m, ok := c.word(a.In.ExtentStart, n*uint64(per)+uint64(nin))
		if !ok {
			return errno(xenabi.EFAULT)
		}
		if !f.claim(mm.MFN(m), inOrder) { // also a frame that is twice in the list
			return errno(xenabi.EINVAL)
		}
		claimed[nin] = mm.MFN(m)
	}
	var pfns [exchangeFrames]uint64
	for per := 1 << (order - outOrder); nout < per; nout++ {
		m, err := f.FreshFrames(outOrder, zone)
		if err != nil {
			return errno(xenabi.ENOMEM)
		}
		fresh[nout] = m
		at := n*uint64(per) + uint64(nout)
		var ok bool
		if pfns[nout], ok = c.word(a.Out.ExtentStart, at); !ok || !c.putFrame(a.Out.ExtentStart, at, m) {
			nout++
			return errno(xenabi.EFAULT)
		}
	}
	for i, m := range fresh[:nout] {
		for k := range mm.MFN(1) << outOrder {
			f.note(m+k, pfns[i]+uint64(k))
		}
		f.GiveFresh(m, outOrder)
	}
	for _, m := range claimed[:nin] {
		for k := range mm.MFN(1) << inOrder {
			f.TakeDirect(m + k)
		}
	}
	return 0
}

// mayBe tells whether a list of n words can be a guest's at all, wherever it has memory.
func (c *call) mayBe(list, n uint64) bool {
	end := list + n*uint64(c.w)
	if c.w == xenabi.Guest32 {
		return end <= 1<<32
	}
	top := int64(end) >> 47
	return end >= list && (top == 0 || top == -1) && (list >= xenabi.HypervisorVirtEnd64 || end <= xenabi.HypervisorVirtStart64)
}
