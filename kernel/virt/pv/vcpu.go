package pv

import (
	"fmt"

	"nidus/kernel/virt"
	"nidus/mm"
)

// VCPU is virt.VCPU with what only a PV guest has.
type VCPU interface {
	virt.VCPU
	// SetRoot sets the page tables to run with, of a 64-bit guest's user mode or of the
	// kernel's: the frame of a validated L4, or for a 32-bit guest of the L4 of ours above its
	// tables. The old ones are no longer used by any CPU for this vcpu when it returns, and
	// nothing is left of any in the TLB. 0 is none: the vcpu must not run.
	SetRoot(root mm.MFN, user bool)
	// SwitchRoot does so where the vcpu changes between its two page tables: what the TLB
	// has of each may stay.
	SwitchRoot(root mm.MFN, user bool)
	// ForgetOther makes the vcpu forget what the TLB has of the page tables that it doesn't run
	// on, before it does: there are others.
	ForgetOther()
	// SetGDT sets the frames of the GDT and the number of its entries, checked by the
	// caller; no frames is an empty one.
	SetGDT(frames []mm.MFN, entries int)
	// SetLDT makes an LDT of that many entries, of which no page is there yet; 0: none.
	SetLDT(entries int) error
	// MapLDT puts a page of descriptors into it.
	MapLDT(page int, m mm.MFN)
	// LDTPage is the page of the LDT that the processor looks for at address a.
	LDTPage(a uint64) (page int, ok bool)
	// FlushPage makes the vcpu forget one page before it runs on. Its own goroutine calls
	// it.
	FlushPage(va uint64)
	// SetGuest makes the loop do for a 64-bit guest what it can: enter and leave its kernel, and the
	// short hypercalls. What of Guest is nil, it leaves to Go.
	SetGuest(Guest)
	// LearnCPUID tells what CPUID answers to EAX and ECX, until CR4 or XCR0 are Set again.
	LearnCPUID(eax, ecx, a, b, c, d uint32)
	// Upcall calls a 64-bit guest's event callback, if that is no more than the frame on its
	// kernel's stack, and tells whether it did. An event is due; the vcpu's own goroutine
	// calls it.
	Upcall() bool
	// CopyIn and CopyOut copy from and to a 64-bit guest's address, by the page tables that
	// it runs on, and tell whether they did. If not, nothing has been written, and it is for
	// the caller to walk the tables. The vcpu's own goroutine calls them.
	CopyIn(dst []byte, from mm.GuestVirt) bool
	CopyOut(to mm.GuestVirt, src []byte) bool
	// Leave makes the calling thread, the vcpu's, leave the guest's page tables.
	Leave()
	// Area is the domain's part of the hypervisor's slots.
	Area() *Area
}

// vcpu implements VCPU.
type vcpu struct {
	m      *Machine
	cfg    virt.Config
	area   *Area
	id     int
	ctx    *context
	fpu    []byte
	page   mm.MFN
	tables *[512]uint64 // the page table of its descriptors
	ldt    table        // the page with the LDT's descriptor; made with the first LDT

	// prepares says that entries need prepare: with PCIDs, or isolated.
	prepares bool
	pcids    pcids

	gate   Guest
	polled uint32               // an event was sent that others may poll for: see settle
	leaves [numLeaves]cpuidLeaf // those that were asked for

	rdtsc      bool                    // it exits
	softVector uint64                  // that INT calls hypercalls by: 0x82, or 0
	lastCPU    uint64                  // on which it was entered last; others read it, too
	sys        [virt.NumSysRegs]uint64 // as the guest is told, where the processor has others
}

func (m *Machine) newVCPU(cfg virt.Config) (*vcpu, error) {
	area, ok := cfg.Maps.(*Area)
	if !ok {
		return nil, fmt.Errorf("vcpu: Config.Maps is %T, not from this machine's NewMaps", cfg.Maps)
	}
	id := area.next
	tables, err := area.open(id)
	if err != nil {
		return nil, err
	}
	mfn, p, err := m.cfg.Pages.Alloc(1)
	if err != nil {
		return nil, fmt.Errorf("page of a vcpu: %w", err)
	}
	area.next++
	v := &vcpu{m: m, cfg: cfg, area: area, id: id, page: mfn, ctx: contextAt(p), fpu: image(p, m.fpuSize), tables: tables, lastCPU: ^uint64(0)}
	c := v.ctx
	c.gdtLimit = gdtOwnOffset + mm.PageSize - 1
	c.gdtBase = AreaBase + uint64(id)*areaStride
	if m.cfg.HostView {
		c.hostView = 1
	}
	if m.cfg.Isolate {
		c.isolated = 1
	}
	c.xsave = m.features.XCR0
	if hostFSGSBase() {
		c.fsgsbase = 1
	}
	v.pcids.on = m.cfg.PCID
	v.prepares = m.cfg.PCID || m.cfg.Isolate
	if area.Narrow || m.cfg.HostView || m.cfg.Isolate || c.fsgsbase == 0 {
		c.slow = 1
	}
	c.vcpu = address(v)
	var s virt.State
	s.Reset()
	if err := v.SetFPU(nil); err != nil {
		v.Close()
		return nil, err
	}
	v.sys = s.Sys
	v.sys[virt.CR0] = virt.CR0PE | virt.CR0PG | 1<<16 | 1<<5 | 1<<4
	v.sys[virt.CR4] = virt.CR4PAE
	c.dr6, c.dr7 = dr6Fixed, dr7Fixed
	v.sys[virt.EFER] = virt.EFERLME | virt.EFERLMA | virt.EFERNX | virt.EFERSCE
	c.hostCR4 = hostCR4()
	if area.Narrow {
		c.narrow = 1
	}
	v.SetIntercept(cfg.Intercept)
	if c.xcr0 = c.xsave; c.xsave != 0 {
		v.sys[virt.XCR0] = c.xsave
	}
	c.cs, c.ss, c.regs.RFLAGS = SelCode64, SelData, virt.FlagIF|2
	if area.Narrow {
		c.cs, c.ss, v.softVector = selKernel32, selStack32, hypercallVector
		v.sys[virt.EFER] = virt.EFERNX
	}
	return v, nil
}

// Area implements VCPU.
func (v *vcpu) Area() *Area { return v.area }

// SetRoot implements VCPU.
func (v *vcpu) SetRoot(root mm.MFN, user bool) {
	v.forget() // the CPU may have the same ones, another vcpu's
	v.SwitchRoot(root, user)
}

// ForgetOther implements VCPU.
func (v *vcpu) ForgetOther() { v.pcids.forget() }

// SwitchRoot implements VCPU.
func (v *vcpu) SwitchRoot(root mm.MFN, user bool) {
	v.ctx.cr3 = v.pcids.value(root, user)
	if root == 0 {
		leaveRoot()
	} else {
		newRoot(v.ctx)
	}
	v.unkeep()
}

// Leave implements VCPU.
func (v *vcpu) Leave() {
	syncFPU(v)
	leaveRoot()
	v.unkeep()
}

// SetGDT implements VCPU.
func (v *vcpu) SetGDT(frames []mm.MFN, _ int) {
	for i := range GDTFrames {
		m := v.m.zero
		if i < len(frames) {
			m = frames[i]
		}
		v.tables[i] = leaf(m)
	}
	v.forget()
}

// Regs implements virt.VCPU.
func (v *vcpu) Regs() *virt.Regs { return &v.ctx.regs }

// Segment implements virt.VCPU: selectors, the bases of FS and GS, and what CS and SS
// say of the code that runs.
func (v *vcpu) Segment(r virt.SegReg) virt.Segment {
	c := v.ctx
	const data = virt.AttrPresent | virt.AttrCode | virt.AttrBig | 3
	s := virt.Segment{Limit: ^uint32(0), Attr: data}
	switch r {
	case virt.CS:
		s.Selector = uint16(c.cs)
		s.Attr = virt.AttrPresent | virt.AttrCode | 0xb
		if c.cs == SelCode64 || c.narrow == 0 && c.cs != SelCode32 {
			s.Attr |= virt.AttrLong
		} else {
			s.Attr |= virt.AttrBig
		}
	case virt.SS:
		s.Selector = uint16(c.ss)
		s.Attr |= uint16(c.cs&3) << virt.AttrDPLShift
	case virt.DS:
		s.Selector = uint16(c.ds)
	case virt.ES:
		s.Selector = uint16(c.es)
	case virt.FS:
		s.Selector, s.Base = uint16(c.fs), c.fsBase
	case virt.GS:
		s.Selector, s.Base = uint16(c.gs), c.gsBase
	default:
		return virt.Segment{}
	}
	return s
}

// SetSegment implements virt.VCPU. CS and SS always have a privilege level below the
// hypervisor's.
func (v *vcpu) SetSegment(r virt.SegReg, s virt.Segment) {
	c := v.ctx
	sel := uint64(s.Selector)
	switch r {
	case virt.CS:
		c.cs = v.unprivileged(sel)
	case virt.SS:
		c.ss = v.unprivileged(sel)
	case virt.DS:
		c.ds = sel
	case virt.ES:
		c.es = sel
	case virt.FS:
		c.fs, c.fsBase = sel, canonical(s.Base)
	case virt.GS:
		c.gs, c.gsBase = sel, canonical(s.Base)
	}
}

func (v *vcpu) unprivileged(sel uint64) uint64 {
	if v.ctx.narrow == 0 {
		return sel | 3
	}
	return max(sel&3, 1) | sel&^3
}

// canonical is base, or 0 where a processor would refuse it: nobody may come so far.
func canonical(base uint64) uint64 {
	if !virt.Canonical(base) {
		return 0
	}
	return base
}

// Get implements virt.VCPU.
func (v *vcpu) Get(r virt.SysReg) uint64 {
	switch {
	case r == virt.CR2:
		return v.ctx.cr2
	case r == virt.CR3:
		return v.ctx.cr3 & cr3Frame
	case r >= virt.DR0 && r <= virt.DR3:
		return v.ctx.dr[r-virt.DR0]
	case r == virt.DR6:
		return v.ctx.dr6
	case r == virt.DR7:
		return v.ctx.dr7
	case r < virt.NumSysRegs:
		return v.sys[r]
	}
	return 0
}

// Set implements virt.VCPU. Of the control registers only CR0.TS reaches the processor, and
// the debug registers, which the caller has checked; the rest is what Get tells.
func (v *vcpu) Set(r virt.SysReg, x uint64) error {
	switch {
	case r == virt.CR2:
		v.ctx.cr2 = x
	case r >= virt.DR0 && r <= virt.DR3:
		v.ctx.dr[r-virt.DR0] = x
	case r == virt.DR6:
		v.ctx.dr6 = x&dr6Known | dr6Fixed
	case r == virt.DR7:
		v.ctx.dr7, v.ctx.drLive = x&dr7Known|dr7Fixed, x&dr7Enables
	case r == virt.CR0:
		v.sys[r], v.ctx.ts = x, x&cr0TS
	case r == virt.CR4:
		v.sys[r] = x
		clear(v.leaves[:])
		v.setTSD()
	case r == virt.XCR0:
		if err := virt.CheckXCR0(x, v.m.features.XCR0); err != nil {
			return err
		}
		v.sys[r] = x
		clear(v.leaves[:])
		if v.ctx.xsave != 0 {
			v.ctx.xcr0 = x
		}
	case r == virt.CR3 || r >= virt.NumSysRegs:
		return virt.BadState("system register number", uint64(r), "a PV guest's is set otherwise")
	default:
		v.sys[r] = x
	}
	return nil
}

// Bits of CR0 and of the debug registers (APM vol. 2, 3.1.1 and 13.1.1). DR7.GD stays off:
// a guest's accesses exit anyway.
const (
	hypercallVector = 0x82 // of 32-bit guests (arch-x86/xen-x86_32.h, TRAP_INSTR), and no device's

	cr0TS      = 1 << 3
	cr4TSD     = 1 << 2
	dr6Known   = 0xe00f
	dr6Fixed   = 0xffff0ff0
	dr7Known   = 0xffff0fff &^ (1<<10 | 1<<11)
	dr7Fixed   = 1 << 10
	dr7Enables = 0xff
)

// SetTSC implements virt.VCPU: the guest reads the host's, if RDTSC is no exit.
func (v *vcpu) SetTSC(_, _ uint64) error { return nil }

// FPUSize implements virt.VCPU.
func (v *vcpu) FPUSize() int { return len(v.fpu) }

// FPU implements virt.VCPU.
func (v *vcpu) FPU(dst []byte) int {
	syncFPU(v)
	return copy(dst, v.fpu)
}

// SetFPU implements virt.VCPU.
func (v *vcpu) SetFPU(src []byte) error {
	syncFPU(v)
	return virt.SetFPUImage(v.fpu, src, v.m.features.XCR0, v.m.mxcsr)
}

// Save implements virt.VCPU.
func (v *vcpu) Save(s *virt.State) {
	*s = virt.State{Version: virt.StateVersion, Regs: v.ctx.regs, Sys: v.sys, TSCRatio: 1 << 32}
	s.Sys[virt.CR2], s.Sys[virt.CR3] = v.ctx.cr2, v.ctx.cr3&cr3Frame
	for r := range virt.GDTR {
		s.Seg[r] = v.Segment(r)
	}
	syncFPU(v)
	s.FPU = append([]byte(nil), v.fpu...)
}

// Load implements virt.VCPU: the registers, selectors and the FPU's state.
func (v *vcpu) Load(s *virt.State) error {
	if err := v.SetFPU(s.FPU); err != nil {
		return err
	}
	v.ctx.regs = s.Regs
	for r := range virt.LDTR {
		v.SetSegment(r, s.Seg[r])
	}
	return nil
}

// SetNestedRoot implements virt.VCPU: there is none.
func (v *vcpu) SetNestedRoot(mm.MFN) {}

// SetIntercept implements virt.VCPU: only that of RDTSC is a choice.
func (v *vcpu) SetIntercept(i virt.Intercept) {
	v.rdtsc = i&virt.InterceptRDTSC != 0
	v.setTSD()
}

// setTSD makes RDTSC an exit if we or the guest want that.
func (v *vcpu) setTSD() {
	c := v.ctx
	c.cr4 = c.hostCR4 &^ cr4TSD
	if c.narrow != 0 {
		c.cr4 = 0
	}
	if v.rdtsc || v.sys[virt.CR4]&cr4TSD != 0 {
		c.cr4 |= cr4TSD
	}
}

// SetExceptions implements virt.VCPU: all exit.
func (v *vcpu) SetExceptions(uint32) {}

// Inject implements virt.VCPU.
func (v *vcpu) Inject(e virt.Event) error {
	return fmt.Errorf("%s: a PV guest gets what is on its stack: %w", e, virt.ErrBadState)
}

// InterruptAllowed implements virt.VCPU.
func (v *vcpu) InterruptAllowed() bool { return false }

// NMIAllowed implements virt.VCPU.
func (v *vcpu) NMIAllowed() bool { return false }

// RequestInterruptWindow implements virt.VCPU.
func (v *vcpu) RequestInterruptWindow(bool) {}

// Offer implements virt.VCPU.
func (v *vcpu) Offer(uint8) bool { return false }

// RequestNMIWindow implements virt.VCPU.
func (v *vcpu) RequestNMIWindow(bool) {}

// Shadow implements virt.VCPU.
func (v *vcpu) Shadow() bool { return false }

// SetShadow implements virt.VCPU.
func (v *vcpu) SetShadow(bool) {}

// Skip implements virt.VCPU: a hypercall has been skipped when it exits, and what is
// emulated is skipped by who emulates it.
func (v *vcpu) Skip(*virt.Exit) error { return nil }

// Dump implements virt.VCPU.
func (v *vcpu) Dump() string {
	var s virt.State
	v.Save(&s)
	s.FPU = nil
	c := v.ctx
	return fmt.Sprintf("PV: exit %#x error %#x cr2 %#x gdt %#x\n%s", c.vec, c.err, c.cr2, c.gdtBase, s.String())
}

// Close implements virt.VCPU.
func (v *vcpu) Close() {
	v.m.cfg.Pages.Free(v.page, 1)
	if v.ldt.words != nil {
		v.m.cfg.Pages.Free(v.ldt.mfn, 1)
	}
	v.ctx, v.fpu, v.tables, v.ldt = nil, nil, nil, table{}
}
