package hypercall

import (
	"encoding/binary"

	"nidus/kernel/domain"
	"nidus/kernel/virt"
	"nidus/kernel/xenabi"
)

// initialise is VCPUOP_initialise of PVH guests (hvm/hvm_vcpu.h): the state that
// a vcpu starts in when it comes up for the first time.
func (c *call) initialise(v *domain.VCPU, arg uint64) int64 {
	if v.PV != nil {
		return c.initialisePV(v, arg)
	}
	const modeSize = 8
	b, ok := c.in(arg, modeSize)
	if !ok {
		return errno(xenabi.EFAULT)
	}
	s := new(virt.State)
	s.Reset()
	switch mode := binary.LittleEndian.Uint32(b); mode {
	case xenabi.VCPUHVMMode32b:
		var a xenabi.VCPUHVMContext32
		if !c.read(arg, &a) {
			return errno(xenabi.EFAULT)
		}
		if a.Mode != mode || !start32(s, &a) {
			return errno(xenabi.EINVAL)
		}
	case xenabi.VCPUHVMMode64b:
		var a xenabi.VCPUHVMContext64
		if !c.read(arg, &a) {
			return errno(xenabi.EFAULT)
		}
		if a.Mode != mode || !start64(s, &a) {
			return errno(xenabi.EINVAL)
		}
	default:
		return errno(xenabi.EINVAL)
	}
	if !c.validControl(s) {
		return errno(xenabi.EINVAL)
	}
	if !v.SetBoot(s) {
		return errno(xenabi.EEXIST)
	}
	return 0
}

// Bits of control registers that initialise looks at.
const (
	cr0NW      = 1 << 29
	cr0CD      = 1 << 30
	cr0Valid   = 0xe005003f
	cr0ET      = 1 << 4
	flagsValid = 0x3f7fd7 &^ virt.FlagVM
	flagsFixed = 2
	eferFFXSR  = 1 << 14
)

// validControl tells whether the control registers are ones that the guest could
// have set itself.
func (c *call) validControl(s *virt.State) bool {
	cr0, cr4, efer := s.Sys[virt.CR0], s.Sys[virt.CR4], s.Sys[virt.EFER]
	switch {
	case cr0&^cr0Valid != 0,
		cr0&virt.CR0PE == 0 && cr0&virt.CR0PG != 0,
		cr0&cr0NW != 0 && cr0&cr0CD == 0,
		cr4&^c.d.Policy.CR4() != 0,
		cr4&virt.CR4PCIDE != 0 && efer&virt.EFERLMA == 0,
		efer&^(virt.EFERSCE|virt.EFERLME|virt.EFERLMA|virt.EFERNX|eferFFXSR) != 0,
		efer&virt.EFERLMA != 0 && (cr0&virt.CR0PG == 0 || cr4&virt.CR4PAE == 0),
		efer&virt.EFERLME != 0 && efer&virt.EFERLMA == 0:
		return false
	}
	s.Sys[virt.CR0] |= cr0ET
	return s.Sys[virt.CR3]>>c.d.Policy.Config.PhysBits == 0 && s.Regs.RFLAGS&^(flagsValid|flagsFixed) == 0
}

// start64 is 64-bit mode with flat segments.
func start64(s *virt.State, a *xenabi.VCPUHVMContext64) bool {
	if top := int64(a.RIP) >> 47; top != 0 && top != -1 ||
		a.CR0&virt.CR0PG == 0 || a.CR4&virt.CR4PAE == 0 || a.EFER&virt.EFERLME == 0 {
		return false
	}
	s.Regs = virt.Regs{RAX: a.RAX, RCX: a.RCX, RDX: a.RDX, RBX: a.RBX, RSP: a.RSP, RBP: a.RBP, RSI: a.RSI, RDI: a.RDI,
		RIP: a.RIP, RFLAGS: a.RFLAGS | flagsFixed}
	s.Sys[virt.CR0], s.Sys[virt.CR3], s.Sys[virt.CR4] = a.CR0, a.CR3, a.CR4
	s.Sys[virt.EFER] = a.EFER | virt.EFERLMA
	s.Seg[virt.CS] = virt.Segment{Limit: ^uint32(0), Attr: 0xa9b}
	for _, r := range [...]virt.SegReg{virt.DS, virt.ES, virt.SS} {
		s.Seg[r] = virt.Segment{Limit: ^uint32(0), Attr: 0xc93}
	}
	s.Seg[virt.TR] = virt.Segment{Limit: 0x67, Attr: 0x8b}
	return true
}

// start32 is protected or compatibility mode, paged or not.
func start32(s *virt.State, a *xenabi.VCPUHVMContext32) bool {
	for _, r := range [...]struct {
		reg         virt.SegReg
		base, limit uint32
		ar          uint16
	}{
		{virt.CS, a.CSBase, a.CSLimit, a.CSAR}, {virt.SS, a.SSBase, a.SSLimit, a.SSAR},
		{virt.DS, a.DSBase, a.DSLimit, a.DSAR}, {virt.ES, a.ESBase, a.ESLimit, a.ESAR},
		{virt.TR, a.TRBase, a.TRLimit, a.TRAR},
	} {
		if !validSegment(r.reg, r.ar) {
			return false
		}
		limit := r.limit
		if r.ar&virt.AttrGranular != 0 {
			limit = limit<<12 | 0xfff
		} else if limit>>20 != 0 { // such a limit has no descriptor
			return false
		}
		s.Seg[r.reg] = virt.Segment{Base: uint64(r.base), Limit: limit, Attr: r.ar}
	}
	cs, ss := s.Seg[virt.CS], s.Seg[virt.SS]
	if a.EIP > cs.Limit || ss.DPL() != cs.DPL() || cs.Attr&virt.AttrLong != 0 && cs.Attr&virt.AttrBig != 0 {
		return false
	}
	for _, r := range [...]virt.SegReg{virt.DS, virt.ES} {
		if g := s.Seg[r]; g.Attr&virt.AttrPresent != 0 && g.DPL() > cs.DPL() {
			return false
		}
	}
	if (a.EFER&virt.EFERLMA != 0) != (a.EFER&virt.EFERLME != 0) {
		return false
	}
	s.Regs = virt.Regs{RAX: uint64(a.EAX), RCX: uint64(a.ECX), RDX: uint64(a.EDX), RBX: uint64(a.EBX),
		RSP: uint64(a.ESP), RBP: uint64(a.EBP), RSI: uint64(a.ESI), RDI: uint64(a.EDI),
		RIP: uint64(a.EIP), RFLAGS: uint64(a.EFLAGS) | flagsFixed}
	s.Sys[virt.CR0], s.Sys[virt.CR3], s.Sys[virt.CR4] = uint64(a.CR0), uint64(a.CR3), uint64(a.CR4)
	s.Sys[virt.EFER] = a.EFER
	return true
}

// Types of segments (SDM vol. 3, 3.4.5.1 and table 3-2).
const (
	typeWritable = 1 << 1 // data; for code: readable
	typeCode     = 1 << 3
	typeBusyTSS  = 0xb
)

// validSegment checks a segment's attributes (their layout: hvm/hvm_vcpu.h). DS
// and ES may be null.
func validSegment(r virt.SegReg, ar uint16) bool {
	typ, code := ar&virt.AttrTypeMask, ar&virt.AttrCode != 0
	switch {
	case ar>>12 != 0:
		return false
	case ar == 0:
		return r == virt.DS || r == virt.ES
	case ar&virt.AttrPresent == 0:
		return false
	}
	switch r {
	case virt.TR:
		return !code && typ == typeBusyTSS
	case virt.CS:
		return code && typ&typeCode != 0
	case virt.SS:
		return code && typ&typeCode == 0 && typ&typeWritable != 0
	}
	return code && (typ&typeCode == 0 || typ&typeWritable != 0)
}
