package cpuid

import (
	"fmt"

	"nidus/kernel/pvclock"
)

// The hypervisor's leaves (cpuid.h). MSRHypercall is where a guest asks for
// the hypercall page.
const (
	xenBase    = 0x40000000
	xenVer     = 0x40000001
	xenPages   = 0x40000002
	xenTime    = 0x40000003
	xenHVM     = 0x40000004
	xenPV      = 0x40000005
	timing     = 0x40000010
	sigB       = 0x566e6558 // "XenVMMXenVMM"
	sigC       = 0x65584d4d
	sigD       = 0x4d4d566e
	timeRDTSCP = 1 << 2 // of leaf 0x40000003
	hvmVCPUID  = 1 << 3
	hvmDomID   = 1 << 4
	hvmUpcall  = 1 << 6

	// MSRHypercall is EBX of leaf 0x40000002.
	MSRHypercall = 0x40000000
)

const maxBasic, maxExt = 0x16, 0x80000021

type builder struct {
	host Host
	cfg  Config
	p    *Policy
	err  error
}

func (b *builder) add(leaf, sub uint32, r Regs) {
	p := b.p
	if e := p.row(leaf, sub); e != nil {
		e.Regs = r
		return
	}
	if p.Count == maxLeaves {
		b.err = fmt.Errorf("cpuid: the policy has more than %d rows: raise maxLeaves", maxLeaves)
		return
	}
	p.Rows[p.Count] = Entry{leaf, sub, r}
	p.Count++
}

func (b *builder) edit(leaf, sub uint32, f func(*Regs)) {
	if e := b.p.row(leaf, sub); e != nil {
		f(&e.Regs)
	}
}

func (b *builder) build() error {
	h0, hx := b.host(0, 0), b.host(0x80000000, 0)
	if hx.A < 0x80000008 || hx.A > 0x8000ffff {
		return fmt.Errorf("cpuid: the host's highest extended leaf is %#x: a 64-bit processor has at least 0x80000008", hx.A)
	}
	// "AuthenticAMD", "HygonGenuine"
	b.p.AMD = h0.B == 0x68747541 && h0.C == 0x444d4163 || h0.B == 0x6f677948
	b.p.MaxBasic, b.p.MaxExt = maxBasic, min(hx.A, maxExt)
	for _, m := range masks() {
		var r Regs
		if m.leaf < 0x80000000 && m.leaf <= h0.A || m.leaf >= 0x80000000 && m.leaf <= hx.A {
			r = b.host(m.leaf, m.sub)
		}
		if m.leaf > b.p.MaxExt {
			continue
		}
		b.add(m.leaf, m.sub, Regs{r.A&m.allow.A | m.set.A, r.B&m.allow.B | m.set.B, r.C&m.allow.C | m.set.C, r.D&m.allow.D | m.set.D})
	}
	b.edit(0, 0, func(r *Regs) { r.A = maxBasic })
	b.edit(0x80000000, 0, func(r *Regs) { r.A = b.p.MaxExt })
	b.features()
	b.topology()
	b.time()
	b.xen()
	if b.cfg.PV {
		b.pv()
	}
	return b.err
}

// features removes what depends on something absent, and puts in what depends
// on the configuration.
func (b *builder) features() {
	l1 := b.p.Leaf(1, 0)
	xsave := !b.cfg.NoXSAVE && l1.C&ecxXSAVE != 0 && b.p.Leaf(0xd, 0).A&3 == 3
	avx := xsave && l1.C&(1<<28) != 0 && b.p.Leaf(0xd, 0).A&4 != 0
	xcr0 := uint32(3)
	if avx {
		xcr0 = 7
	} else { // what needs the YMM state
		b.edit(1, 0, func(r *Regs) { r.C &^= set(12, 28, 29) })
		b.edit(7, 0, func(r *Regs) { r.B &^= set(5); r.C &^= set(9, 10) })
		b.edit(7, 1, func(r *Regs) { r.A &^= set(4) })
		b.edit(0x80000001, 0, func(r *Regs) { r.C &^= set(11, 16) })
	}
	if xsave {
		b.add(0xd, 0, Regs{A: xcr0, C: xsaveSize(uint64(xcr0))})
		b.add(0xd, 2, Regs{})
		if avx {
			b.add(0xd, 2, Regs{A: xsaveAVX, B: xsaveLegacy})
		}
	} else {
		b.edit(1, 0, func(r *Regs) { r.C &^= ecxXSAVE })
		for sub := range uint32(3) {
			b.add(0xd, sub, Regs{})
		}
	}
	if l1.C&(1<<17) == 0 { // no INVPCID without PCID
		b.edit(7, 0, func(r *Regs) { r.B &^= set(10) })
	}
	b.edit(7, 0, func(r *Regs) { r.A, r.B = 1, r.B&^b.cfg.Hide7B })
	if b.cfg.TSCDeadline {
		b.edit(1, 0, func(r *Regs) { r.C |= ecxTSCDeadline })
	}
	if b.p.AMD {
		b.edit(0x80000001, 0, func(r *Regs) { r.D |= set(7, 9, 12, 14, 16) })
	} else { // the copy of leaf 1 is AMD's alone
		b.edit(0x80000001, 0, func(r *Regs) { r.D &= set(11, 20, 26, 27, 29); r.C &= set(0, 5, 8) })
		b.edit(0x80000008, 0, func(r *Regs) { r.B &^= ebxIBPB }) // nor does Intel's MSR map open PRED_CMD
	}
	if b.p.Leaf(0x80000001, 0).D&extRDTSCP == 0 {
		b.edit(7, 0, func(r *Regs) { r.C &^= set(22) })
	}
	b.edit(0x80000008, 0, func(r *Regs) {
		phys := min(r.A&0xff, uint32(b.cfg.PhysBits))
		if phys == 0 {
			phys = 36
		}
		r.A = phys | 48<<8
	})
}

// topology: one package, every vcpu a core with one thread.
func (b *builder) topology() {
	n, span := uint32(b.cfg.VCPUs), b.cfg.apicBits()
	b.edit(1, 0, func(r *Regs) {
		if n > 1 {
			r.D |= edxHTT
			r.B |= min(uint32(1)<<span, 255) << 16
		} else {
			r.B |= 1 << 16
		}
	})
	thread := uint32(b.cfg.APICIDShift)
	if n == 1 {
		thread = 0
	}
	b.add(0xb, 0, Regs{A: thread, B: 1, C: 1 << 8})
	b.add(0xb, 1, Regs{A: span, B: n, C: 2 << 8})
	for sub := range uint32(4) {
		b.edit(4, sub, func(r *Regs) {
			if r.A&0x1f != 0 {
				r.A |= min(uint32(1)<<span-1, 63) << 26
				// IDs that share it: those of one core.
				r.A |= (uint32(1)<<thread - 1) << 14
			}
		})
	}
	if b.p.AMD {
		b.edit(0x80000001, 0, func(r *Regs) {
			if n > 1 {
				r.C |= extCmpLegacy
			}
		})
		b.edit(0x80000008, 0, func(r *Regs) { r.C = span<<12 | min(n-1, 255) })
	}
}

func (b *builder) time() {
	khz := b.cfg.TSCKHz
	// TSC = crystal * EBX/EAX; the crystal is the APIC timer's clock.
	b.add(0x15, 0, Regs{A: busKHz, B: khz, C: busKHz * 1000})
	b.add(0x16, 0, Regs{A: khz / 1000, B: khz / 1000, C: busKHz / 1000})
	var d uint32
	if b.cfg.TSCInvariant {
		d = 1 << 8 // invariant TSC
	}
	b.add(0x80000007, 0, Regs{D: d})
	b.add(timing, 0, Regs{A: khz, B: busKHz})
}

func (b *builder) xen() {
	c := &b.cfg
	b.add(xenBase, 0, Regs{timing, sigB, sigC, sigD})
	b.add(xenVer, 0, Regs{A: uint32(c.XenMajor)<<16 | uint32(c.XenMinor)})
	b.add(xenPages, 0, Regs{A: 1, B: MSRHypercall})
	var a uint32
	if c.TSCEmulated {
		a |= 1
	}
	if c.TSCReliable {
		a |= 2
	}
	if b.p.Leaf(0x80000001, 0).D&extRDTSCP != 0 {
		a |= timeRDTSCP
	}
	b.add(xenTime, 0, Regs{A: a, B: uint32(c.TSCMode), C: c.TSCKHz})
	s, err := pvclock.NewScale(c.TSCKHz)
	if err != nil {
		b.err = err
		return
	}
	b.add(xenTime, 1, Regs{C: s.Mul, D: uint32(int32(s.Shift))})
	b.add(xenTime, 2, Regs{A: c.TSCKHz})
	feat := uint32(hvmVCPUID | hvmDomID)
	if c.UpcallVector {
		feat |= hvmUpcall
	}
	b.add(xenHVM, 0, Regs{A: feat, C: uint32(c.DomID)})
	b.add(xenPV, 0, Regs{})
}
