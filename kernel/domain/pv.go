package domain

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"

	"nidus/kernel/virt"
	"nidus/kernel/virt/pv"
	"nidus/kernel/xenabi"
	"nidus/mm"
	"nidus/mm/pvmmu"
	"nidus/personalities/pv/pvcpu"
)

// PVHost is what the PV domains of a machine share.
type PVHost struct {
	// Virt runs their vcpus.
	Virt virt.Machine
	// Hole is the L4 entries 256 to 271 of the host's own address space.
	Hole [pvmmu.HoleSlots]uint64
	// L1TF says that the processor may read memory by page table entries that are not present.
	L1TF bool

	mu      sync.Mutex
	domains int
	types   *pvmmu.Types
	m2p     *mm.M2P
}

// L4 entries that differ from the host's (docs/address-space.md), counted from 256.
const (
	holeM2P  = 0
	holeArea = 4
)

// enter counts a PV domain, and returns what describes each frame of the machine for
// them: 6 MiB for each GiB of the machine, which are there as long as there is a PV domain.
func (h *PVHost) enter(mem *mm.Pool) (*pvmmu.Types, *mm.M2P, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.m2p == nil {
		end := mem.Frames().End()
		m2p, err := mm.NewM2P(mem, end)
		if err != nil {
			return nil, nil, err
		}
		h.m2p, h.types = m2p, pvmmu.NewTypes(make([]pvmmu.FrameType, end))
	}
	h.domains++
	return h.types, h.m2p, nil
}

// leave ends enter: no CPU has page tables of that domain.
func (h *PVHost) leave() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.domains--; h.domains == 0 {
		h.m2p.Free()
		h.m2p, h.types = nil, nil
	}
}

// PV is what only a PV domain has.
type PV struct {
	Width xenabi.Width
	MMU   *pvmmu.Domain
	M2P   *mm.M2P
	// Assist is vm_assist's: a bit for each VMASST_TYPE.
	Assist atomic.Uint64

	types *pvmmu.Types
}

// beginPV makes c that of a PV domain, and returns what runs its vcpus.
func (d *Domain) beginPV(c *mm.SpaceConfig) (virt.Machine, error) {
	h := d.Host.PV
	if h == nil {
		return nil, fmt.Errorf("PV domains: %w", pv.ErrNoRings)
	}
	types, m2p, err := h.enter(d.Host.Memory)
	if err != nil {
		return nil, err
	}
	d.PV = &PV{M2P: m2p, types: types}
	c.Direct, c.MaxTables = &mm.Direct{Types: types, M2P: m2p}, 1
	d.tscBase = 0 // the guest reads the host's
	return h.Virt, nil
}

// buildPV makes the domain's memory management. Its vcpus come after it.
func (d *Domain) buildPV(w xenabi.Width) {
	area := d.Maps.(*pv.Area)
	area.Narrow = w == xenabi.Guest32
	hole := d.Host.PV.Hole
	hole[holeM2P], hole[holeArea] = d.PV.M2P.Entry(), area.Entry()
	var hole32 [pvmmu.HoleL2Slots]uint64
	copy(hole32[:], d.PV.M2P.Entries32())
	var leaks uint64
	if d.Host.PV.L1TF {
		leaks = uint64(d.Host.Memory.Frames().End()) << mm.PageShift
	}
	d.PV.Width = w
	d.PV.MMU = pvmmu.NewDomain(pvmmu.Config{
		ID: d.ID, Memory: d.Host.Memory, Types: d.PV.types, Flusher: pvFlusher{d}, PAE: w == xenabi.Guest32,
		Hole: hole, HoleL2: hole32, Leaks: leaks, Special: d.shares, M2P: d.PV.M2P.Set,
		Descriptor: func(x uint64) (uint64, bool) {
			lo, hi, ok := pvcpu.CheckDescriptor(uint32(x), uint32(x>>32), w == xenabi.Guest64)
			return uint64(hi)<<32 | uint64(lo), ok
		},
	})
}

// shares tells what a PV guest may do with a frame that is not its RAM: map the pages
// that the hypervisor shares with it.
func (d *Domain) shares(m mm.MFN, f mm.Frame) pvmmu.Rights {
	if f.Kind != mm.FrameSpecial {
		return pvmmu.NoRights
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if s, ok := d.specials[m]; ok && (s.told || m == d.shared.mfn) {
		return pvmmu.ReadWrite
	}
	return pvmmu.NoRights
}

// release drops what the page tables hold, and descriptors. The vcpus have left.
func (p *PV) release(d *Domain) {
	if p.MMU == nil {
		return
	}
	for _, v := range d.VCPUs {
		v.machine.dropGDT()
		v.machine.dropLDT()
	}
	for p.MMU.Release() != nil { // ErrAgain
		runtime.Gosched()
	}
	p.MMU.Close()
}

// pvFlusher implements pvmmu.Flusher: what a vcpu has in its CPU's TLB goes before it runs
// on. One that is in the hypervisor uses no address of its guest's until then.
type pvFlusher struct{ d *Domain }

func (f pvFlusher) FlushAll() { f.FlushSet(pvmmu.CPUSet{^uint64(0), ^uint64(0)}) }

func (f pvFlusher) FlushSet(set pvmmu.CPUSet) {
	for i, v := range f.d.VCPUs {
		if inSet(set, i) {
			v.HV.RequestFlush()
		}
	}
	for i, v := range f.d.VCPUs {
		for inSet(set, i) && v.HV.FlushPending() {
			runtime.Gosched()
		}
	}
}

func (f pvFlusher) FlushPage(set pvmmu.CPUSet, va mm.GuestVirt) {
	if v := f.d.VCPUs[0]; len(f.d.VCPUs) == 1 { // its own hypercall asks for it
		v.HV.(pv.VCPU).FlushPage(uint64(va))
		return
	}
	f.FlushSet(set)
}

func inSet(s pvmmu.CPUSet, i int) bool { return i/64 < len(s) && s[i/64]>>(i%64)&1 != 0 }
