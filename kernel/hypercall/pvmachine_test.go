package hypercall

import (
	"sync/atomic"
	"testing"

	"nidus/kernel/domain"
	"nidus/kernel/virt"
	"nidus/kernel/xenabi"
	"nidus/mm"
	"nidus/personalities/msr"
	"nidus/personalities/pv/pvcpu"
)

// pvMachine is a vcpu as a PV guest's, without page tables that anybody checks.
type pvMachine struct {
	*domain.VCPU
	mask      bool
	gdt       []mm.MFN
	ldt       mm.GuestVirt
	roots     [2]mm.MFN
	root      mm.MFN
	forbidden mm.MFN // a frame that is not the guest's
}

func (m *pvMachine) Regs() *virt.Regs                         { return m.HV.Regs() }
func (m *pvMachine) Segment(r virt.SegReg) virt.Segment       { return m.HV.Segment(r) }
func (m *pvMachine) SetSegment(r virt.SegReg, s virt.Segment) { m.HV.SetSegment(r, s) }
func (m *pvMachine) Get(r virt.SysReg) uint64                 { return m.HV.Get(r) }
func (m *pvMachine) Set(r virt.SysReg, x uint64)              { _ = m.HV.Set(r, x) }
func (m *pvMachine) ReadPhys(a mm.GuestPhys, dst []byte) error {
	return m.Domain.Space.ReadPhys(a, dst)
}
func (m *pvMachine) UpcallPending() bool          { return m.Domain.Events.PendingUpcall(m.ID) }
func (m *pvMachine) UpcallMask() bool             { return m.mask }
func (m *pvMachine) SetUpcallMask(on bool)        { m.mask = on }
func (m *pvMachine) CR2() uint64                  { return 0 }
func (m *pvMachine) SetCR2(uint64)                {}
func (m *pvMachine) SetRoot(root mm.MFN, _ bool)  { m.root = root }
func (m *pvMachine) TSC() uint64                  { return 0 }
func (m *pvMachine) Unknown(uint32, bool, uint64) {}
func (m *pvMachine) CPUID(leaf, sub uint32) (a, b, c, d uint32) {
	return 0, 0, 0, 0
}

func (m *pvMachine) Base() mm.MFN { return m.PV.Root }

func (m *pvMachine) NewRoot(root mm.MFN, user bool) error {
	if root == m.forbidden {
		return xenabi.EINVAL
	}
	if user {
		m.roots[1], m.PV.UserRoot = root, root
	} else {
		m.roots[0], m.PV.Root = root, root
	}
	return nil
}

func (m *pvMachine) SetGDT(frames []mm.MFN, entries uint32) error {
	for _, f := range frames {
		if f == m.forbidden {
			return xenabi.EINVAL
		}
	}
	m.gdt = append([]mm.MFN(nil), frames...)
	return nil
}

func (m *pvMachine) SetLDT(base mm.GuestVirt, _ uint32) error {
	m.ldt = base
	return nil
}

// newPV makes a guest whose calls are a PV guest's.
func newPV(tb testing.TB, bits int) *guest {
	g := newGuest(tb, bits)
	assist := new(atomic.Uint64)
	for _, v := range g.d.VCPUs {
		v.PV = pvcpu.New(&pvMachine{VCPU: v, forbidden: 0xbad}, uint32(v.ID), g.w(), assist, msr.Features{})
	}
	return g
}

func (g *guest) machine(vcpu int) *pvMachine { return g.d.VCPUs[vcpu].PV.M.(*pvMachine) }

// bothPV runs a test as a PV guest of each width.
func bothPV(t *testing.T, f func(t *testing.T, g *guest)) {
	t.Run("64", func(t *testing.T) { f(t, newPV(t, 64)) })
	t.Run("32", func(t *testing.T) { f(t, newPV(t, 32)) })
}
