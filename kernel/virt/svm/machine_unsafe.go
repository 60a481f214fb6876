// Package svm is AMD's virtualization behind virt's interface.
//
// Reference: AMD64 APM volume 2 (24593), chapter 15 and appendices B and C. The
// logic is ordinary Go, tested on any host; what touches the processor is in
// the files with the build tag tamago.
package svm

import (
	"fmt"
	"sync/atomic"
	"unsafe"

	"nidus/kernel/virt"
	"nidus/kernel/virt/spec"
	"nidus/mm"
)

// Machine implements virt.Machine.
type Machine struct {
	features  virt.Features
	pages     virt.Pages
	cpus      []percpu
	mxcsrMask uint32
	fpuSize   int
	ids       atomic.Uint64
	spec      spec.Policy
	mitigated bool // spec may need something at entries
	// tcg: the processor is QEMU's TCG, which loses virtual interrupts, mixes up breakpoints and does not exit
	// for XSETBV (docs/exit.md).
	tcg bool
}

// New makes the machine for CPUs 0 to cpus-1; each must call Enable before it
// runs a guest. The host's CR4.OSXSAVE and XCR0 are what they stay. The error
// wraps one of this package's.
func New(pages virt.Pages, cpus int) (*Machine, error) {
	return newMachine(pages, cpus, identify(), mxcsrMask())
}

func newMachine(pages virt.Pages, cpus int, id identity, mxcsrMask uint32) (*Machine, error) {
	f, err := id.features()
	if err != nil {
		return nil, err
	}
	m := &Machine{features: f, pages: pages, cpus: make([]percpu, cpus), mxcsrMask: mxcsrMask, fpuSize: virt.FXSize}
	m.spec = id.spec.Policy()
	m.mitigated = m.spec.Any()
	m.tcg = id.tcg
	if f.XCR0 != 0 {
		m.fpuSize = int(id.xsaveSize)
	}
	for i := range m.cpus {
		mfn, _, err := pages.Alloc(2)
		if err != nil {
			for j := range i {
				pages.Free(mm.MFN(m.cpus[j].hsavePA>>mm.PageShift), 2)
			}
			return nil, fmt.Errorf("host save pages of CPU %d: %w", i, err)
		}
		m.cpus[i].hsavePA = uint64(mfn) << mm.PageShift
		m.cpus[i].savePA = m.cpus[i].hsavePA + mm.PageSize
		m.cpus[i].tags.max = f.Tags - 1
	}
	return m, nil
}

// Features implements virt.Machine.
func (m *Machine) Features() virt.Features { return m.features }

// NewMaps implements virt.Machine.
func (m *Machine) NewMaps() (virt.Maps, error) {
	x, err := newMaps(m.pages)
	if err != nil {
		return nil, err
	}
	x.domain = spec.NewDomain()
	if m.spec.OpenIBPB {
		x.InterceptMSR(spec.MSRPredCmd, true, false)
	}
	return x, nil
}

func (m *Machine) newVCPU(cfg virt.Config) (*vcpu, error) {
	maps, ok := cfg.Maps.(*maps)
	if !ok {
		return nil, fmt.Errorf("vcpu: Config.Maps is %T, not from this machine's NewMaps", cfg.Maps)
	}
	v := &vcpu{m: m, cfg: cfg, maps: maps, id: m.ids.Add(1)}
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
	v.vmcb, v.ctx = (*VMCB)(at[0]), (*context)(at[1])
	v.fpu = unsafe.Slice((*byte)(unsafe.Add(at[1], fpuOffset)), m.fpuSize)
	v.init()
	var s virt.State
	s.Reset()
	if err := v.Load(&s); err != nil {
		v.Close()
		return nil, err
	}
	return v, nil
}

// address is where the processor finds b: the pages of control blocks don't move.
func address(b *VMCB) uint64 { return uint64(uintptr(unsafe.Pointer(b))) }
