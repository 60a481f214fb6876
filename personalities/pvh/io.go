package pvh

import (
	"errors"

	"nidus/kernel/console"
	"nidus/kernel/virt"
	"nidus/mm"
	"nidus/personalities/devices/lapic"
	"nidus/personalities/emulate"
	"nidus/personalities/paging"
)

// portDebug is the debug console of old, all that a PVH guest has at ports.
const portDebug = 0xe9

// out writes a port.
func (v *vcpu) out(port uint16, size uint8, val uint32) {
	if port == portDebug && size == 1 {
		v.Domain.Emergency.Write([]byte{byte(val)})
	}
}

func (v *vcpu) io() {
	e := &v.exit.IO
	if e.String {
		v.emulate()
		return
	}
	r := v.HV.Regs()
	if !e.In {
		if v.skip() {
			v.out(e.Port, e.Size, uint32(r.RAX&(1<<(8*e.Size)-1)))
		}
		return
	}
	if v.skip() {
		emulate.SetIn(r, int(e.Size), emulate.ReadAbsent(e.Port, int(e.Size)))
	}
}

// emulate carries out the instruction at RIP in software: it touches a device's
// memory, or is string I/O.
func (v *vcpu) emulate() {
	c := &v.CPU
	c.Mem, c.Ports = linear{v}, ports{v}
	c.Mode = v.Bits()
	r := v.HV.Regs()
	c.LoadRegs(r)
	for i, s := range [...]virt.SegReg{virt.ES, virt.CS, virt.SS, virt.DS, virt.FS, virt.GS} {
		seg := v.HV.Segment(s)
		c.Segs[i] = emulate.Segment{Base: seg.Base, Limit: seg.Limit}
	}
	var code [15]byte
	n := v.Fetch(code[:])
	_, err := emulate.Step(c, code[:n])
	c.StoreRegs(r)
	var pf *paging.Fault
	var ex *emulate.Exception
	switch {
	case err == nil:
		v.missing = 0
		v.emulated()
	case errors.As(err, &ex):
		v.event(virt.Event{Kind: virt.Exception, Vector: ex.Vector, HasCode: ex.HasCode, Code: ex.Code})
	case errors.As(err, &pf) && pf.Kind == paging.PageFault:
		if v.HV.Set(virt.CR2, uint64(pf.Addr)) == nil {
			v.fault(virt.VectorPF, pf.Code)
		}
	case errors.As(err, &pf) && pf.Kind == paging.NotCanonical:
		v.fault(virt.VectorGP, 0)
	case errors.Is(err, emulate.ErrUnsupported) && n < len(code) && v.again():
		// Another vcpu has unmapped it since: the processor tells the guest.
	case errors.Is(err, emulate.ErrUnsupported):
		v.Domain.Host.Log.Guestf(v.Domain.ID, console.LevelWarning, "v%d: %v: #GP, for no device here is accessed by the instruction % x at %#x", v.ID, &v.exit, code[:n], r.RIP)
		v.fault(virt.VectorGP, 0)
	default:
		v.Domain.Crash(v.VCPU, "can't emulate "+v.exit.String()+": "+err.Error())
	}
}

// emulated does what comes behind an instruction, or an iteration of a REP, that
// was carried out in software, as HV.Skip does: the interrupt shadow ends, and the
// single-step trap follows (APM vol. 2, 13.1.4).
func (v *vcpu) emulated() {
	v.HV.SetShadow(false)
	r := v.HV.Regs()
	r.RFLAGS &^= virt.FlagRF
	if r.RFLAGS&virt.FlagTF == 0 {
		return
	}
	if v.HV.Set(virt.DR6, v.HV.Get(virt.DR6)|dr6Step) == nil {
		v.fault(virt.VectorDB, 0)
	}
}

// dr6Step is DR6.BS (APM vol. 2, 13.1.1.3).
const dr6Step = 1 << 14

// linear is the guest's memory by linear address, the local APIC's page and holes
// included.
type linear struct{ v *vcpu }

func (l linear) translate(a mm.GuestVirt, n int, write bool) (mm.GuestPhys, int, error) {
	acc := paging.Access(0)
	if write {
		acc |= paging.Write
	}
	if l.v.CPL() == 3 {
		acc |= paging.User
	}
	m, err := l.v.View().Translate(a, acc)
	if err != nil {
		return 0, 0, err
	}
	return m.Phys, int(min(uint64(n), m.Left)), nil
}

// Read implements emulate.Memory.
func (l linear) Read(a mm.GuestVirt, p []byte) error {
	for len(p) > 0 {
		pa, n, err := l.translate(a, len(p), false)
		if err != nil {
			return err
		}
		l.v.readPhys(pa, p[:n])
		a, p = a+mm.GuestVirt(n), p[n:]
	}
	return nil
}

// Write implements emulate.Memory. All of it is translated before any is written.
func (l linear) Write(a mm.GuestVirt, p []byte) error {
	pa, n, err := l.translate(a, len(p), true)
	if err != nil {
		return err
	}
	if n < len(p) {
		rest, _, err := l.translate(a+mm.GuestVirt(n), len(p)-n, true)
		if err != nil {
			return err
		}
		l.v.writePhys(rest, p[n:])
	}
	l.v.writePhys(pa, p[:n])
	return nil
}

func (v *vcpu) apicPage(a mm.GuestPhys) bool {
	return a&^mm.PageMask == lapic.DefaultBase && v.APIC.HardwareEnabled() && !v.APIC.X2Mode()
}

// readPhys reads memory, a register, or where nothing is, all ones.
func (v *vcpu) readPhys(a mm.GuestPhys, p []byte) {
	if v.apicPage(a) {
		if val, ok := v.APIC.ReadMMIO(uint32(a.Offset()), len(p)); ok {
			for i := range p {
				p[i] = byte(val >> (8 * i))
			}
			return
		}
	} else if v.Domain.Space.ReadPhys(a, p) == nil {
		return
	}
	for i := range p {
		p[i] = 0xff
	}
}

// writePhys writes memory or a register; what goes nowhere is dropped.
func (v *vcpu) writePhys(a mm.GuestPhys, p []byte) {
	if !v.apicPage(a) {
		_ = v.Domain.Space.WritePhys(a, p)
		return
	}
	val := uint64(0)
	for i := range p {
		val |= uint64(p[i]) << (8 * i)
	}
	v.APIC.WriteMMIO(uint32(a.Offset()), len(p), val)
}

// ports are the guest's I/O ports for string instructions. The processor has
// checked the permission before the exit.
type ports struct{ v *vcpu }

// In implements emulate.Ports.
func (p ports) In(port uint16, size int) (uint32, error) { return emulate.ReadAbsent(port, size), nil }

// Out implements emulate.Ports.
func (p ports) Out(port uint16, size int, val uint32) error {
	p.v.out(port, uint8(size), val)
	return nil
}
