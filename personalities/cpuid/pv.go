package cpuid

// pvHidden is what a PV guest is not told of although others are (arch-x86/
// cpufeatureset.h, the features without A): its kernel is not in ring 0, has no page
// tables of its own making, and no local APIC. A row is by leaf, subleaf and register.
var pvHidden = []Entry{
	{1, 0, Regs{C: set(17, 24) | ecxX2APIC, D: set(1, 3, 12, 13, 17)}},     // PCID deadline x2APIC; VME PSE MTRR PGE PSE36
	{7, 0, Regs{B: set(1, 10) | SMEP | SMAP, C: set(2)}},                   // TSC_ADJUST INVPCID SMEP SMAP; UMIP
	{0x80000001, 0, Regs{C: set(4, 22), D: set(1, 3, 12, 13, 17) | ext1G}}, // CR8 TOPOEXT; leaf 1's, 1 GiB pages
	{0xb, 0, Regs{all, all, all, all}}, {0xb, 1, Regs{all, all, all, all}}, // x2APIC's topology
	{0x8000001d, 0, Regs{all, all, all, all}}, {0x8000001d, 1, Regs{all, all, all, all}}, // with TOPOEXT
	{0x8000001d, 2, Regs{all, all, all, all}}, {0x8000001d, 3, Regs{all, all, all, all}},
	{0x8000001e, 0, Regs{all, all, all, all}},
	{xenHVM, 0, Regs{all, all, all, all}},
}

// pv32Hidden is what a 32-bit one has no use for besides: long mode and its SYSCALL, LAHF
// in it, and the instructions for bases that it doesn't have.
var pv32Hidden = []Entry{
	{7, 0, Regs{B: set(0)}},
	{0x80000001, 0, Regs{C: set(0), D: extLM}},
}

// pvPreserveAD is XEN_CPUID_FEAT1_MMU_PT_UPDATE_PRESERVE_AD (cpuid.h).
const pvPreserveAD = 1 << 0

// pv makes the policy a PV guest's.
func (b *builder) pv() {
	b.hide(pvHidden)
	if b.cfg.PV32 {
		b.hide(pv32Hidden)
	}
	// Machine addresses are the host's.
	phys := b.host(0x80000008, 0).A & 0xff
	b.edit(0x80000008, 0, func(r *Regs) { r.A = r.A&^0xff | phys })
	b.edit(xenBase, 0, func(r *Regs) { r.A = xenPV })
	b.edit(xenPages, 0, func(r *Regs) { r.C = pvPreserveAD })
	b.add(xenPV, 0, Regs{B: phys})
	b.edit(timing, 0, func(r *Regs) { *r = Regs{} }) // beyond the highest leaf
}

func (b *builder) hide(rows []Entry) {
	for _, h := range rows {
		b.edit(h.Leaf, h.Sub, func(r *Regs) {
			x := h.Regs
			*r = Regs{r.A &^ x.A, r.B &^ x.B, r.C &^ x.C, r.D &^ x.D}
		})
	}
}
