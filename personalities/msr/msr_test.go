package msr

import (
	"testing"

	"nidus/mm"
)

type fakeVCPU struct {
	regs       [NumRegs]uint64
	cr0, tsc   uint64
	page       mm.GFN
	unknownIdx []uint32
	apic       uint64
}

func (f *fakeVCPU) Get(r Reg) uint64    { return f.regs[r] }
func (f *fakeVCPU) Set(r Reg, v uint64) { f.regs[r] = v }
func (f *fakeVCPU) CR0() uint64         { return f.cr0 }
func (f *fakeVCPU) TSC() uint64         { return f.tsc }
func (f *fakeVCPU) SetTSC(v uint64)     { f.tsc = v }
func (f *fakeVCPU) APICRead(i uint32) (uint64, bool) {
	return f.apic, i != 0x831
}
func (f *fakeVCPU) APICWrite(i uint32, v uint64) bool { f.apic = v; return i != 0x802 }
func (f *fakeVCPU) HypercallPage(g mm.GFN) bool       { f.page = g; return g < 0x1000 }
func (f *fakeVCPU) Unknown(i uint32, w bool, v uint64) {
	f.unknownIdx = append(f.unknownIdx, i)
}

func file(amd bool) (*File, *fakeVCPU) {
	v := &fakeVCPU{tsc: 1000}
	return New(v, Features{AMD: amd, PhysBits: 40, LongMode: true, NX: true, RDTSCP: true, SYSCALL: true, Patch: 0x800126e}), v
}

const (
	gp  = ^uint64(0) - 1 // expected of Read
	bad = uint64(0x0000_8000_0000_0000)
)

func TestTable(t *testing.T) {
	for _, tt := range []struct {
		name  string
		amd   bool
		index uint32
		write uint64
		fault Fault
		read  uint64
	}{
		{"P5 address", false, 0, 5, None, 0},
		{"TSC", false, 0x10, 5000, None, 5000},
		{"platform ID", false, 0x17, 1, GP, 0},
		{"APIC base", false, 0x1b, 0xfee00800, None, 0xfee00800},
		{"APIC", false, 0x808, 3, None, 3},
		{"APIC read-only", false, 0x802, 3, GP, 3},
		{"APIC write-only", false, 0x831, 3, None, gp},
		{"TSC deadline", false, 0x6e0, 9, None, 9},
		{"feature control", false, 0x3a, 0, GP, 1},
		{"feature control, AMD", true, 0x3a, 0, GP, gp},
		{"TSC adjust", false, 0x3b, 77, None, 77},
		{"microcode update", false, 0x79, bad, None, gp},
		{"microcode level", false, 0x8b, 0, None, 0x800126e << 32},
		{"patch level", true, 0x8b, 0, GP, 0x800126e},
		{"MTRRCAP", false, 0xfe, 0, GP, 0x508},
		{"MTRR default", false, 0x2ff, 0xc06, None, 0xc06},
		{"MTRR default, type", false, 0x2ff, 0xc02, GP, 0},
		{"MTRR default, reserved", false, 0x2ff, 0x1c06, GP, 0},
		{"MTRR base", false, 0x200, 0xff_ffff_f006, None, 0xff_ffff_f006},
		{"MTRR base, type", false, 0x20e, 7, GP, 0},
		{"MTRR base, reserved", false, 0x20e, 0x100, GP, 0},
		{"MTRR base, wide", false, 0x20e, 1 << 40, GP, 0},
		{"MTRR mask", false, 0x20f, 0xff_ffff_f800, None, 0xff_ffff_f800},
		{"MTRR mask, reserved", false, 0x20f, 0x400, GP, 0},
		{"MTRR mask, wide", false, 0x20f, 1 << 40, GP, 0},
		{"MTRR beyond", false, 0x210, 0, GP, gp},
		{"MTRR 64K", false, 0x250, 0x0606060606060606, None, 0x0606060606060606},
		{"MTRR 16K", false, 0x259, 0x0001040506010101, None, 0x0001040506010101},
		{"MTRR 4K", false, 0x26f, 0x0600000000000000, None, 0x0600000000000000},
		{"MTRR fixed, type", false, 0x26f, 0x0700000000000000, GP, 0},
		{"MTRR between", false, 0x251, 0, GP, gp},
		{"PAT", false, 0x277, PATReset, None, PATReset},
		{"PAT, type 2", false, 0x277, 0x0200000000000000, GP, 0},
		{"PAT, type 8", false, 0x277, 0x08, GP, 0},
		{"MCG_CAP", false, 0x179, 0, GP, 0},
		{"MCG_STATUS", false, 0x17a, 4, None, 4},
		{"MCG_STATUS, reserved", false, 0x17a, 8, GP, 0},
		{"MISC_ENABLE", false, 0x1a0, 1<<18 | 1, None, 0x1801},
		{"MISC_ENABLE, AMD", true, 0x1a0, 1, GP, gp},
		{"DEBUGCTL, LBR", false, 0x1d9, 3, None, 2},
		{"DEBUGCTL, BTS", false, 0x1d9, 1 << 7, GP, 0},
		{"last branch", true, 0x1db, 0, GP, 0},
		{"SYSENTER_CS", false, 0x174, 0x1_00000010, None, 0x10},
		{"SYSENTER_ESP", false, 0x175, bad, GP, 0},
		{"SYSENTER_EIP", false, 0x176, 0xffff_8000_0000_0000, None, 0xffff_8000_0000_0000},
		{"SYSENTER_EIP bad", false, 0x176, bad, GP, 0},
		{"hypercall page", false, 0x40000000, 0x5000, None, gp},
		{"hypercall page 1", false, 0x40000000, 0x5001, GP, gp},
		{"hypercall page nowhere", false, 0x40000000, 0x1000000, GP, gp},
		{"hypercall page, wide", false, 0x40000000, 1 << 40, GP, gp},
		{"EFER", false, 0xc0000080, 0xd01, None, 0x901},
		{"EFER, SVME", true, 0xc0000080, 1 << 12, GP, 0},
		{"EFER, LMSLE", true, 0xc0000080, 1 << 13, GP, 0},
		{"EFER, FFXSR not offered", true, 0xc0000080, 1 << 14, GP, 0},
		{"STAR", false, 0xc0000081, ^uint64(0), None, ^uint64(0)},
		{"LSTAR", false, 0xc0000082, bad, GP, 0},
		{"CSTAR", false, 0xc0000083, bad, GP, 0},
		{"SFMASK", false, 0xc0000084, 0x47700, None, 0x47700},
		{"SFMASK high", false, 0xc0000084, 1 << 32, GP, 0},
		{"SFMASK high, AMD", true, 0xc0000084, 1<<32 | 5, None, 5},
		{"FS base", false, 0xc0000100, bad, GP, 0},
		{"GS base", false, 0xc0000101, ^uint64(0), None, ^uint64(0)},
		{"GS base bad", false, 0xc0000101, 1 << 63, GP, 0},
		{"kernel GS base", false, 0xc0000102, bad, GP, 0},
		{"TSC_AUX", false, 0xc0000103, 0xffffffff, None, 0xffffffff},
		{"TSC_AUX high", false, 0xc0000103, 1 << 32, GP, 0},
		{"PERF_CTL0", true, 0xc0010000, 5, None, 0},
		{"PERF_CTR3", true, 0xc0010007, 5, None, 0},
		{"PERF beyond", true, 0xc0010008, 5, GP, gp},
		{"SYSCFG", true, 0xc0010010, 1 << 18, None, 1 << 18},
		{"SYSCFG, SME", true, 0xc0010010, 1 << 23, GP, 0},
		{"HWCR", true, 0xc0010015, 1<<24 | 1<<3, None, 1<<24 | 1<<3},
		{"HWCR, SMM lock", true, 0xc0010015, 1, GP, 1 << 24},
		{"TOP_MEM", true, 0xc001001a, 0, GP, 0},
		{"NB_CFG", true, 0xc001001f, 0, None, 1 << 46},
		{"patch loader", true, 0xc0010020, 0, None, gp},
		{"VM_CR", true, 0xc0010114, 0, GP, 0x18},
		{"OSVW", true, 0xc0010140, 0, GP, 0},
		{"LS_CFG", true, 0xc0011020, 1 << 10, None, 0},
		{"FP_CFG", true, 0xc0011028, 0, None, 0},
		{"DE_CFG", true, 0xc0011029, 0, None, 2},
		{"SYSCFG, Intel", false, 0xc0010010, 0, GP, gp},
		{"SVM host save", true, 0xc0010117, 0, GP, gp},
		{"SPEC_CTRL", true, 0x48, 0, GP, gp},
		{"nothing", false, 0x12345678, 0, GP, gp},
		{"last", true, 0xffffffff, 0, GP, gp},
	} {
		m, _ := file(tt.amd)
		if f := m.Write(tt.index, tt.write); f != tt.fault {
			t.Errorf("%s: write of %#x: fault %v, want %v", tt.name, tt.write, f, tt.fault)
		}
		v, f := m.Read(tt.index)
		if f != None {
			v = gp
		}
		if v != tt.read {
			t.Errorf("%s: read %#x, want %#x", tt.name, v, tt.read)
		}
	}
}

func TestEFER(t *testing.T) {
	m, v := file(true)
	if m.Write(idxEFER, eferLME) != None {
		t.Fatal("LME")
	}
	v.cr0 = cr0PG
	v.regs[EFER] |= eferLMA // the processor did
	for _, w := range []uint64{0, eferNXE, eferLMA} {
		if m.Write(idxEFER, w) != GP {
			t.Errorf("EFER %#x clears LME under paging", w)
		}
	}
	if m.Write(idxEFER, eferLME|eferNXE) != None || v.regs[EFER] != eferLME|eferLMA|eferNXE {
		t.Errorf("EFER is %#x: LMA must stay", v.regs[EFER])
	}
	m.F.NX, m.F.LongMode, m.F.SYSCALL = false, false, false
	v.cr0, v.regs[EFER] = 0, 0
	for _, w := range []uint64{eferSCE, eferLME, eferNXE} {
		if m.Write(idxEFER, w) != GP {
			t.Errorf("EFER %#x though not offered", w)
		}
	}
	for _, i := range []uint32{idxSTAR, idxLSTAR, idxFSBase} {
		if _, f := m.Read(i); f != GP {
			t.Errorf("%#x exists without its feature", i)
		}
	}
}

func TestTSCAdjust(t *testing.T) {
	m, v := file(false)
	m.Write(idxTSC, 400) // 600 back
	if a, _ := m.Read(idxTSCAdjust); int64(a) != -600 {
		t.Errorf("adjust %d after a write to TSC", int64(a))
	}
	m.Write(idxTSCAdjust, 0)
	if v.tsc != 1000 {
		t.Errorf("TSC %d after adjust went back to 0", v.tsc)
	}
}

func TestUnknownOnce(t *testing.T) {
	m, v := file(false)
	for i := range uint32(1000) {
		m.Read(0x5000 + i%3)
		m.Write(0x5000, 1)
	}
	if len(v.unknownIdx) != 3 {
		t.Errorf("%d reports for 3 registers", len(v.unknownIdx))
	}
	for i := range uint32(1000) {
		m.Read(0x6000 + i)
	}
	if len(v.unknownIdx) != seenMax {
		t.Errorf("%d reports: a guest floods the log", len(v.unknownIdx))
	}
}

func FuzzMSR(f *testing.F) {
	f.Add(uint32(0xc0000080), uint64(0x501), true)
	f.Add(uint32(0x277), uint64(PATReset), false)
	f.Fuzz(func(t *testing.T, index uint32, val uint64, amd bool) {
		m, v := file(amd)
		s, regs, tsc := m.S, v.regs, v.tsc
		if m.Write(index, val) == GP && (m.S != s || v.regs != regs || v.tsc != tsc) {
			t.Fatal("#GP, but something changed")
		}
		m.Read(index)
		for _, r := range []Reg{LSTAR, CSTAR, FSBase, GSBase, KernelGSBase, SysenterEIP, SysenterESP} {
			if !canonical(v.regs[r]) {
				t.Fatalf("register %d is not canonical", r)
			}
		}
	})
}
