package pv

import "nidus/mm"

// PCIDs of a CPU (Intel SDM vol. 3A, 4.10.1; APM vol. 2, 5.5.1). The TLB and the caches of
// paging structures use for a CR3 only what they have of its PCID, and a load of CR3 empties them
// of that one only, or of none. docs/address-space.md has the rule.
const (
	pcidKernel   = 1 // 0 is the host's; this, a guest's in its kernel's mode, of 32 bits in all
	pcidUser     = 2 // in a process's
	pcidIsolated = 2 // and as much more while it runs on the isolated root
	numPCIDs     = 5

	pcidMask = mm.PageSize - 1
	cr3Frame = 1<<52 - mm.PageSize // of CR3, the frame
	// keepTLB in a new CR3 leaves what there is of its PCID.
	keepTLB = 1 << 63
)

// pcids is what a vcpu knows of the guests' PCIDs of the CPU that it is on, as long as it is the
// last vcpu that was entered there, and was entered nowhere else since.
type pcids struct {
	on bool
	// loaded has, by PCID, CR3 with the guest's root for which it was loaded last: its
	// translations are of these page tables, and none of what the vcpu was told to forget. 0: it
	// may have any.
	loaded [numPCIDs]uint64
}

// value is CR3 for a root, as it is read.
//
//go:nosplit
func (p *pcids) value(root mm.MFN, user bool) uint64 {
	cr3 := uint64(root) << mm.PageShift
	switch {
	case !p.on:
	case user:
		cr3 |= pcidUser
	default:
		cr3 |= pcidKernel
	}
	return cr3
}

// load is for a load of cr3 to come: it returns keepTLB, if that may leave what the TLB has.
//
//go:nosplit
func (p *pcids) load(cr3 uint64) uint64 {
	if !p.on {
		return 0
	}
	l := &p.loaded[cr3&pcidMask%numPCIDs]
	if *l == cr3 {
		return keepTLB
	}
	*l = cr3
	return 0
}

// isolated is load for the isolated root with a copy of cr3's; it returns that one's PCID, too.
//
//go:nosplit
func (p *pcids) isolated(cr3 uint64) uint64 {
	if !p.on {
		return 0
	}
	cr3 += pcidIsolated
	return cr3&pcidMask | p.load(cr3)
}

// forget has each PCID emptied when it is loaded next.
//
//go:nosplit
func (p *pcids) forget() {
	if p.on {
		p.loaded = [numPCIDs]uint64{}
	}
}

// forget makes the vcpu forget all translations before it runs on: those of the page tables that are
// loaded, and of its other PCIDs.
//
//go:nosplit
func (v *vcpu) forget() {
	v.ctx.reload = 1
	v.pcids.forget()
}

// forgetNow is forget in an exit that the loop does, where the guest's page tables are loaded.
//
//go:nosplit
func (v *vcpu) forgetNow() {
	v.pcids.forget()
	loadRoot(v.ctx.cr3 | v.pcids.load(v.ctx.cr3))
}

// forgetPageNow is forgetNow of one page. INVLPG is for the PCID that is loaded.
//
//go:nosplit
func (v *vcpu) forgetPageNow(va uint64) {
	v.pcids.forget()
	invalidate(va)
}

// prepare makes the CPU's PCIDs and its isolated root the vcpu's, for an entry.
//
//go:nosplit
func (v *vcpu) prepare() {
	if v.pcids.on {
		v.takePCIDs()
	}
	if v.ctx.isolated != 0 {
		v.isolate()
	}
}

// takePCIDs makes the guests' PCIDs of this CPU the vcpu's, for an entry. Interrupts are off.
//
//go:nosplit
func (v *vcpu) takePCIDs() {
	c := v.ctx
	if lastContext() != address(c) {
		v.forget() // they have another vcpu's
	}
	c.keep = v.pcids.load(c.cr3)
}
