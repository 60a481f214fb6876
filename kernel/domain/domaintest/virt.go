package domaintest

import (
	"fmt"
	"sync/atomic"

	"nidus/kernel/virt"
	"nidus/mm"
)

// Virt is a virt.Machine whose guests are Go functions.
type Virt struct {
	VCPUs atomic.Int64 // that are not closed
	Maps  atomic.Int64 // that are not freed
}

// Features implements virt.Machine.
func (m *Virt) Features() virt.Features {
	return virt.Features{Name: "fake", Nested: virt.FormatAMD64, Tags: 8, NextRIP: true}
}

// Enable implements virt.Machine.
func (m *Virt) Enable() error { return nil }

// Disable implements virt.Machine.
func (m *Virt) Disable() {}

type maps struct{ m *Virt }

func (maps) InterceptMSR(uint32, bool, bool) bool { return true }
func (maps) InterceptPorts(_, _ uint16, _ bool)   {}
func (p maps) Free()                              { p.m.Maps.Add(-1) }

// NewMaps implements virt.Machine.
func (m *Virt) NewMaps() (virt.Maps, error) {
	m.Maps.Add(1)
	return maps{m}, nil
}

// NewVCPU implements virt.Machine.
func (m *Virt) NewVCPU(c virt.Config) (virt.VCPU, error) {
	m.VCPUs.Add(1)
	v := &VCPU{m: m, Config: c}
	v.S.Reset()
	return v, nil
}

// VCPU is a virt.VCPU that holds a State and nothing else.
type VCPU struct {
	virt.Config
	S virt.State
	// Guest runs instead of a guest: it says in Exit why it comes back. nil, it
	// spins until Kick.
	Guest func(*virt.Exit)
	// Injected is what Inject got.
	Injected []virt.Event
	// Offered is what Offer got last, which NoOffers has it refuse, and Window what RequestInterruptWindow got.
	Offered          uint8
	NoOffers, Window bool
	// Flushes counts RequestFlush.
	Flushes atomic.Int64
	// SoonKicks counts KickSoon.
	SoonKicks atomic.Int64

	m      *Virt
	kicked uint32
	closed bool
}

var _ virt.VCPU = (*VCPU)(nil)

// Regs implements virt.VCPU, as do the other methods.
func (v *VCPU) Regs() *virt.Regs                         { return &v.S.Regs }
func (v *VCPU) Segment(r virt.SegReg) virt.Segment       { return v.S.Seg[r] }
func (v *VCPU) SetSegment(r virt.SegReg, s virt.Segment) { v.S.Seg[r] = s }
func (v *VCPU) Get(r virt.SysReg) uint64                 { return v.S.Sys[r] }

// Set writes a system register; what can't be in one is refused.
func (v *VCPU) Set(r virt.SysReg, x uint64) error {
	if r == virt.CR0 && x>>32 != 0 {
		return virt.BadState("CR0", x, "has 32 bits")
	}
	v.S.Sys[r] = x
	return nil
}

// SetTSC keeps offset and ratio.
func (v *VCPU) SetTSC(offset, ratio uint64) error {
	v.S.TSCOffset, v.S.TSCRatio = offset, ratio
	return nil
}

// FPU has only the legacy image.
func (v *VCPU) FPU(dst []byte) int      { return copy(dst, v.S.FPU) }
func (v *VCPU) SetFPU(src []byte) error { v.S.FPU = append([]byte(nil), src...); return nil }
func (v *VCPU) FPUSize() int            { return 512 }

// Save and Load copy the State.
func (v *VCPU) Save(s *virt.State) { *s = v.S }
func (v *VCPU) Load(s *virt.State) error {
	if s.Version != virt.StateVersion {
		return fmt.Errorf("version %d: %w", s.Version, virt.ErrBadState)
	}
	v.S = *s
	return nil
}

func (v *VCPU) SetNestedRoot(m mm.MFN)         { v.NestedRoot = m }
func (v *VCPU) SetIntercept(i virt.Intercept)  { v.Intercept = i }
func (v *VCPU) SetExceptions(e uint32)         { v.Exceptions = e }
func (v *VCPU) Inject(e virt.Event) error      { v.Injected = append(v.Injected, e); return nil }
func (v *VCPU) InterruptAllowed() bool         { return v.S.Regs.RFLAGS&virt.FlagIF != 0 }
func (v *VCPU) NMIAllowed() bool               { return !v.S.NMIMasked }
func (v *VCPU) RequestInterruptWindow(on bool) { v.Window = on }
func (v *VCPU) Offer(vector uint8) bool        { v.Offered = vector; return !v.NoOffers }
func (v *VCPU) RequestNMIWindow(bool)          {}
func (v *VCPU) Shadow() bool                   { return v.S.Shadow }
func (v *VCPU) SetShadow(on bool)              { v.S.Shadow = on }

// Run runs Guest.
func (v *VCPU) Run(e *virt.Exit) {
	if v.closed {
		panic("domaintest: a closed vcpu runs")
	}
	*e = virt.Exit{Reason: virt.ReasonKick}
	if atomic.SwapUint32(&v.kicked, 0) != 0 {
		return
	}
	if v.Guest != nil {
		v.Guest(e)
		return
	}
	for atomic.SwapUint32(&v.kicked, 0) == 0 {
		yield()
	}
}

// Skip moves RIP behind VMMCALL.
func (v *VCPU) Skip(*virt.Exit) error { v.S.Regs.RIP += 3; return nil }

// KickSoon is Kick, counted.
func (v *VCPU) KickSoon() {
	v.SoonKicks.Add(1)
	v.Kick()
}

// Kick, KickWord: see virt.VCPU.
func (v *VCPU) Kick()             { atomic.StoreUint32(&v.kicked, 1) }
func (v *VCPU) KickWord() *uint32 { return &v.kicked }

// RequestFlush counts; nothing is ever stale here.
func (v *VCPU) RequestFlush()      { v.Flushes.Add(1) }
func (v *VCPU) FlushPending() bool { return false }
func (v *VCPU) Dump() string       { return v.S.String() }

// Close may be called once.
func (v *VCPU) Close() {
	if v.closed {
		panic("domaintest: vcpu closed twice")
	}
	v.closed = true
	v.m.VCPUs.Add(-1)
}
