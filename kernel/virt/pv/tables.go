package pv

import (
	"sync/atomic"

	"nidus/kernel/xenabi"
	"nidus/mm"
)

// Changes of L1 entries that the loop makes for a 64-bit guest's kernel: what its page faults and
// forks ask for most. pvmmu.VCPU.Quick knows which it may; all others, and every error, are package hypercall's.

// maxUpdates bounds the entries of one mmu_update here: interrupts are off.
const maxUpdates = 32

// Kinds of mmu_update, in the low bits of an entry's address (xen.h, MMU_*).
const (
	updateNormal      = 0
	updatePreserveAD  = 2
	updateNoTranslate = 3
)

// pteFrame is where an entry has the frame's number (APM vol. 2, 5.4).
const pteFrame = 1<<52 - 1<<12

// mmuUpdate is the hypercall of that name. What it has done when it comes to an entry that isn't for it, it
// takes off the list.
//
//go:nosplit
func (v *vcpu) mmuUpdate() bool {
	r := &v.ctx.regs
	list, n := r.RDI, r.RSI
	if v.gate.MMU == nil || n == 0 || n > maxUpdates || r.RDX != 0 || r.R10 != uint64(mm.DomIDSelf) {
		return false
	}
	const size = 16 // struct mmu_update
	for ; n > 0; n-- {
		var f frame
		if !guestRange(list, size) || !load(&f, list, size/8) || !v.quick(f[0], f[1]) {
			r.RDI, r.RSI = list, n
			return false
		}
		list += size
	}
	return true
}

// quick is one update: of the entry at machine address ptr, whose low bits are the kind.
//
//go:nosplit
func (v *vcpu) quick(ptr, val uint64) bool {
	kind, m := ptr&7, mm.MFN(ptr>>mm.PageShift)
	if kind != updateNormal && kind != updatePreserveAD && kind != updateNoTranslate || !v.gate.MMU.Owns(m) {
		return false
	}
	return v.quickEntry(m, int(ptr&mm.PageMask)>>3, val, kind == updatePreserveAD)
}

// updateVA is update_va_mapping, with a flush of this vcpu's only.
//
//go:nosplit
func (v *vcpu) updateVA() bool {
	g, r := &v.gate, &v.ctx.regs
	va, flush := r.RDI, r.RDX
	if g.MMU == nil || g.Root == 0 || !g.MMU.Mappable(mm.GuestVirt(va)) || !v.flushable(flush) {
		return false
	}
	m := g.Root
	for shift := uint(39); shift > mm.PageShift; shift -= 9 {
		e := atomic.LoadUint64(&root(uint64(m) << mm.PageShift)[va>>(shift&63)&511])
		if m = mm.MFN(e & pteFrame >> mm.PageShift); e&ptePresent == 0 || !g.MMU.Owns(m) {
			return false
		}
	}
	if !v.quickEntry(m, int(va>>mm.PageShift&511), r.RSI, false) {
		return false
	}
	switch flush & xenabi.UVMFFlushtypeMask {
	case xenabi.UVMFInvlpg:
		v.forgetPageNow(va)
	case xenabi.UVMFTLBFlush:
		v.forgetNow()
	}
	return true
}

// flushable tells whether the flags of update_va_mapping ask for nothing that other vcpus have to do.
//
//go:nosplit
func (v *vcpu) flushable(flags uint64) bool {
	switch flags & xenabi.UVMFFlushtypeMask {
	case xenabi.UVMFNone:
		return true
	case xenabi.UVMFInvlpg, xenabi.UVMFTLBFlush:
		where := flags &^ xenabi.UVMFFlushtypeMask
		return where == xenabi.UVMFLocal || where == xenabi.UVMFAll && v.gate.MMU.Alone()
	}
	return false
}
