package pvh

import (
	"nidus/kernel/domain"
	"nidus/kernel/hypercall"
	"nidus/kernel/virt"
	"nidus/mm"
	"nidus/personalities/msr"
)

// msrs shows a vcpu to its MSR table (msr.VCPU).
type msrs struct{ *domain.VCPU }

var sysRegs = [msr.NumRegs]virt.SysReg{
	msr.EFER: virt.EFER, msr.STAR: virt.STAR, msr.LSTAR: virt.LSTAR, msr.CSTAR: virt.CSTAR, msr.SFMASK: virt.SFMask,
	msr.KernelGSBase: virt.KernelGSBase, msr.SysenterCS: virt.SysenterCS, msr.SysenterESP: virt.SysenterESP,
	msr.SysenterEIP: virt.SysenterEIP, msr.PAT: virt.PAT, msr.DebugCtl: virt.DebugCtl, msr.TSCAux: virt.TSCAux,
}

// newMSRs makes the vcpu's MSRs by its CPUID policy.
func newMSRs(v *domain.VCPU) *msr.File {
	p := v.Domain.Policy
	ext := p.Leaf(0x80000001, 0)
	return msr.New(msrs{v}, msr.Features{
		AMD: p.AMD, PhysBits: p.Config.PhysBits,
		LongMode: ext.D>>29&1 != 0, NX: ext.D>>20&1 != 0, FFXSR: ext.D>>25&1 != 0,
		RDTSCP: ext.D>>27&1 != 0, SYSCALL: ext.D>>11&1 != 0,
	})
}

// Get implements msr.VCPU.
func (m msrs) Get(r msr.Reg) uint64 {
	switch r {
	case msr.FSBase:
		return m.HV.Segment(virt.FS).Base
	case msr.GSBase:
		return m.HV.Segment(virt.GS).Base
	}
	return m.HV.Get(sysRegs[r])
}

// Set implements msr.VCPU: the table has checked v.
func (m msrs) Set(r msr.Reg, v uint64) {
	switch r {
	case msr.FSBase, msr.GSBase:
		s := virt.FS
		if r == msr.GSBase {
			s = virt.GS
		}
		seg := m.HV.Segment(s)
		seg.Base = v
		m.HV.SetSegment(s, seg)
		return
	}
	if err := m.HV.Set(sysRegs[r], v); err != nil {
		m.Domain.Crash(m.VCPU, err.Error())
	}
}

// CR0 implements msr.VCPU.
func (m msrs) CR0() uint64 { return m.HV.Get(virt.CR0) }

// TSC implements msr.VCPU.
func (m msrs) TSC() uint64 { return m.GuestTSC() }

// SetTSC implements msr.VCPU: a guest that moves its TSC gets nothing by it, all
// its vcpus have the same.
func (m msrs) SetTSC(uint64) {}

// APICRead implements msr.VCPU.
func (m msrs) APICRead(i uint32) (uint64, bool) { return m.APIC.ReadMSR(i) }

// APICWrite implements msr.VCPU.
func (m msrs) APICWrite(i uint32, v uint64) bool { return m.APIC.WriteMSR(i, v) }

// HypercallPage implements msr.VCPU: 128 stubs of 32 bytes, mov eax,n; vmmcall;
// ret. From then on the guest's width is known.
func (m msrs) HypercallPage(g mm.GFN) bool {
	var page [mm.PageSize]byte
	for i := range len(page) / 32 {
		p := page[i*32:]
		p[0], p[1] = 0xb8, byte(i)
		copy(p[5:], []byte{0x0f, 0x01, 0xd9, 0xc3})
	}
	if m.Domain.Space.WritePhys(g.Addr(), page[:]) != nil {
		return false
	}
	hypercall.LatchWidth(m.VCPU)
	return true
}

// Unknown implements msr.VCPU.
func (m msrs) Unknown(i uint32, write bool, v uint64) {
	if write {
		m.Domain.Host.Log.Guestf(m.Domain.ID, 2, "v%d writes %#x to MSR %#x, which is not there: #GP", m.ID, v, i)
		return
	}
	m.Domain.Host.Log.Guestf(m.Domain.ID, 2, "v%d reads MSR %#x, which is not there: #GP", m.ID, i)
}
