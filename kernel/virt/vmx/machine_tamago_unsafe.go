//go:build tamago

package vmx

import (
	"fmt"
	"unsafe"

	"nidus/kernel/cpu"
	"nidus/kernel/virt"
	"nidus/kernel/virt/spec"
	"nidus/mm"
)

// Machine implements virt.Machine.
type Machine struct {
	cap      capability
	controls controls
	features virt.Features
	pages    virt.Pages
	vmxon    []mm.MFN
	on       []uint32 // 1: the CPU is enabled
	fpuSize  int
	spec     spec.Policy
}

// New makes the machine for CPUs 0 to cpus-1.
func New(pages virt.Pages, cpus int) (*Machine, error) {
	m := &Machine{cap: identify(), pages: pages, vmxon: make([]mm.MFN, cpus), on: make([]uint32, cpus), fpuSize: virt.FXSize}
	m.spec = m.cap.spec.Policy()
	var err error
	if m.controls, err = m.cap.controls(); err != nil {
		return nil, err
	}
	m.features = m.cap.features(m.controls)
	if m.features.XCR0 != 0 {
		if m.fpuSize = int(m.cap.xsaveSize); m.fpuSize > maxFPU {
			return nil, fmt.Errorf("%w: XSAVE image of %d bytes", ErrControl, m.fpuSize)
		}
	}
	for i := range m.vmxon {
		mfn, p, err := pages.Alloc(1)
		if err != nil {
			for _, x := range m.vmxon[:i] {
				pages.Free(x, 1)
			}
			return nil, fmt.Errorf("VMXON page of CPU %d: %w", i, err)
		}
		*(*uint32)(p) = m.cap.revision
		m.vmxon[i] = mfn
	}
	return m, nil
}

// Features implements virt.Machine.
func (m *Machine) Features() virt.Features { return m.features }

// Enable implements virt.Machine (SDM vol. 3, 24.7).
func (m *Machine) Enable() error {
	n := interruptsOff()
	defer interruptsOn()
	if n >= uint64(len(m.on)) {
		return fmt.Errorf("%w: CPU %d is beyond those that the machine was made for", ErrVMXON, n)
	}
	m.spec.Set()
	if f := cpu.ReadMSR(msrFeatureControl); f&1 == 0 {
		cpu.WriteMSR(msrFeatureControl, f|5)
	} else if f&4 == 0 {
		return ErrDisabled
	}
	if m.on[n] == 0 && !vmxon(uint64(m.vmxon[n])<<mm.PageShift, m.cap.cr0Fixed0) {
		return ErrVMXON
	}
	m.on[n] = 1
	return nil
}

// Disable implements virt.Machine.
func (m *Machine) Disable() {
	cpu := interruptsOff()
	if cpu < uint64(len(m.on)) && m.on[cpu] != 0 {
		vmxoff()
		m.on[cpu] = 0
	}
	interruptsOn()
}

// NewMaps implements virt.Machine.
func (m *Machine) NewMaps() (virt.Maps, error) {
	x, err := newMaps(m.pages)
	if err != nil {
		return nil, err
	}
	x.domain = spec.NewDomain()
	return x, nil
}

// NewVCPU implements virt.Machine.
func (m *Machine) NewVCPU(cfg virt.Config) (virt.VCPU, error) {
	maps, ok := cfg.Maps.(*maps)
	if !ok {
		return nil, fmt.Errorf("vcpu: Config.Maps is %T, not from this machine's NewMaps", cfg.Maps)
	}
	v := &vcpu{m: m, cfg: cfg, maps: maps}
	var at [2]unsafe.Pointer
	for i := range v.mfns {
		mfn, p, err := m.pages.Alloc(1)
		if err != nil {
			if i == 1 {
				m.pages.Free(v.mfns[0], 1)
			}
			return nil, fmt.Errorf("pages of a vcpu: %w", err)
		}
		v.mfns[i], at[i] = mfn, p
	}
	*(*uint32)(at[0]) = m.cap.revision
	v.ctx = (*context)(at[1])
	v.ctx.xsave = m.features.XCR0
	v.fpu = unsafe.Slice((*byte)(unsafe.Add(at[1], fpuOffset)), m.fpuSize)
	var s virt.State
	s.Reset()
	if err := v.Load(&s); err != nil {
		v.Close()
		return nil, err
	}
	return v, nil
}

// Hello runs a guest of four instructions on the calling CPU, to which the
// caller is pinned: the proof that virt's interface holds for VMX.
func Hello(pages virt.Pages) (string, error) {
	m, err := New(pages, 64)
	if err != nil {
		return "", err
	}
	if err := m.Enable(); err != nil {
		return "", err
	}
	defer m.Disable()
	maps, err := m.NewMaps()
	if err != nil {
		return "", err
	}
	defer maps.Free()
	// one page of memory at guest physical 0, under four levels of EPT
	var mfns [5]mm.MFN
	var at [5]unsafe.Pointer
	for i := range mfns {
		if mfns[i], at[i], err = pages.Alloc(1); err != nil {
			return "", fmt.Errorf("pages for the guest: %w", err)
		}
		defer pages.Free(mfns[i], 1)
	}
	for i := range 4 {
		e := uint64(mfns[i+1])<<mm.PageShift | 7
		if i == 3 {
			e |= 6 << 3 // write-back
		}
		*(*uint64)(at[i]) = e
	}
	// mov ax, 0x1234; inc ax; vmcall; hlt
	copy(unsafe.Slice((*byte)(at[4]), mm.PageSize), []byte{0xb8, 0x34, 0x12, 0x40, 0x0f, 0x01, 0xc1, 0xf4})
	v, err := m.NewVCPU(virt.Config{Maps: maps, NestedRoot: mfns[0]})
	if err != nil {
		return "", err
	}
	defer v.Close()
	cs := v.Segment(virt.CS)
	cs.Base, cs.Selector = 0, 0
	v.SetSegment(virt.CS, cs)
	v.Regs().RIP = 0
	var e virt.Exit
	v.Run(&e)
	if e.Reason != virt.ReasonHypercall || v.Regs().RAX != 0x1235 {
		return "", fmt.Errorf("guest came back with %s and RAX %#x instead of VMCALL and 0x1235\n%s", &e, v.Regs().RAX, v.Dump())
	}
	if err := v.Skip(&e); err != nil {
		return "", err
	}
	if v.Run(&e); e.Reason != virt.ReasonHLT {
		return "", fmt.Errorf("guest came back with %s instead of HLT\n%s", &e, v.Dump())
	}
	return fmt.Sprintf("vmx: VMCALL with RAX %#x, then HLT at %#x", v.Regs().RAX, v.Regs().RIP), nil
}
