package pv

import (
	"sync/atomic"

	"nidus/mm"
)

// maxCopy is how many bytes are copied with interrupts off.
const maxCopy = 1024

// CopyIn implements VCPU.
func (v *vcpu) CopyIn(dst []byte, from mm.GuestVirt) bool {
	if len(dst) == 0 || !v.reach(uint64(from), len(dst)) {
		return false
	}
	ok := copyIn(dst, uint64(from))
	v.reached()
	return ok
}

// CopyOut implements VCPU.
func (v *vcpu) CopyOut(to mm.GuestVirt, src []byte) bool {
	// A page at a time: all or nothing.
	if len(src) == 0 || uint64(to)&mm.PageMask+uint64(len(src)) > mm.PageSize || !v.reach(uint64(to), len(src)) {
		return false
	}
	ok := copyOut(uint64(to), src)
	v.reached()
	return ok
}

// reach turns interrupts off for an access to n bytes at a guest's address, if the guest's page
// tables are loaded here and nothing is left to be flushed; else it returns false. The vcpu
// counts as running until reached: who takes a page away from it waits until then.
//
//go:nosplit
func (v *vcpu) reach(a uint64, n int) bool {
	if v.gate.Gate == nil || n > maxCopy || !guestRange(a, uint64(n)) {
		return false
	}
	return v.arrive()
}

// arrive is reach without an address.
//
//go:nosplit
func (v *vcpu) arrive() bool {
	c := v.ctx
	cpu := interruptsOff()
	atomic.StoreUint64(&c.cpu, cpu)
	atomic.StoreUint32(&c.running, 1) // before flush is read: RequestFlush does the opposite
	if atomic.LoadUint32(&c.flush)|uint32(c.reload) != 0 || c.npages != 0 || rootLoaded() != c.cr3 || !v.here(cpu) {
		v.reached()
		return false
	}
	return true
}

// here tells whether the CPU has no other vcpu's translations, which may be ones that this vcpu was
// told to forget, though the page tables be the same.
//
//go:nosplit
func (v *vcpu) here(cpu uint64) bool {
	return v.lastCPU == cpu && (!v.pcids.on || lastContext() == address(v.ctx))
}

//go:nosplit
func (v *vcpu) reached() {
	atomic.StoreUint32(&v.ctx.running, 0)
	interruptsOn()
}
