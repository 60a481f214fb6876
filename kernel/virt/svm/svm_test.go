package svm

import (
	"errors"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"unsafe"

	"nidus/kernel/virt"
	"nidus/kernel/virt/insn"
	"nidus/mm"
)

// TestVMCBOffsets: AMD64 APM vol. 2 (24593), appendix B, tables B-1 and B-2.
func TestVMCBOffsets(t *testing.T) {
	want := map[string]uintptr{
		"InterceptCR": 0x000, "InterceptDR": 0x004, "InterceptExc": 0x008, "InterceptMisc1": 0x00c, "InterceptMisc2": 0x010,
		"InterceptMisc3": 0x014, "PauseThreshold": 0x03c, "PauseCount": 0x03e, "IOPMBase": 0x040, "MSRPMBase": 0x048,
		"TSCOffset": 0x050, "ASID": 0x058, "TLBControl": 0x05c, "VIntr": 0x060, "IntShadow": 0x068, "ExitCode": 0x070,
		"ExitInfo1": 0x078, "ExitInfo2": 0x080, "ExitIntInfo": 0x088, "NestedCtl": 0x090, "EventInj": 0x0a8, "NCR3": 0x0b0,
		"LBRVirt": 0x0b8, "Clean": 0x0c0, "NextRIP": 0x0c8, "InsnLen": 0x0d0, "InsnBytes": 0x0d1,
		"ES": 0x400, "CS": 0x410, "SS": 0x420, "DS": 0x430, "FS": 0x440, "GS": 0x450, "GDTR": 0x460, "LDTR": 0x470,
		"IDTR": 0x480, "TR": 0x490, "CPL": 0x4cb, "EFER": 0x4d0, "CR4": 0x548, "CR3": 0x550, "CR0": 0x558, "DR7": 0x560,
		"DR6": 0x568, "RFLAGS": 0x570, "RIP": 0x578, "RSP": 0x5d8, "RAX": 0x5f8, "STAR": 0x600, "LSTAR": 0x608,
		"CSTAR": 0x610, "SFMask": 0x618, "KernelGSBase": 0x620, "SysenterCS": 0x628, "SysenterESP": 0x630,
		"SysenterEIP": 0x638, "CR2": 0x640, "GPAT": 0x668, "DebugCtl": 0x670, "BrFrom": 0x678, "BrTo": 0x680,
		"ExcFrom": 0x688, "ExcTo": 0x690,
	}
	ty := reflect.TypeFor[VMCB]()
	seen := 0
	for i := range ty.NumField() {
		f := ty.Field(i)
		if f.Name == "_" {
			continue
		}
		seen++
		if w, ok := want[f.Name]; !ok || f.Offset != w {
			t.Errorf("%s at %#x, want %#x (listed: %v)", f.Name, f.Offset, w, ok)
		}
	}
	if seen != len(want) || ty.Size() != 4096 || unsafe.Sizeof(Seg{}) != 16 {
		t.Errorf("%d fields of %d, size %d", seen, len(want), ty.Size())
	}
}

// TestContextLayout: what enter_amd64.s relies on.
func TestContextLayout(t *testing.T) {
	var r virt.Regs
	for i, name := range []string{"RAX", "RCX", "RDX", "RBX", "RSP", "RBP", "RSI", "RDI", "R8", "R9", "R10", "R11", "R12", "R13", "R14", "R15"} {
		f, _ := reflect.TypeFor[virt.Regs]().FieldByName(name)
		if f.Offset != uintptr(i*8) || uintptr(unsafe.Pointer(r.GPR(uint8(i))))-uintptr(unsafe.Pointer(&r)) != f.Offset {
			t.Errorf("%s at %d", name, f.Offset)
		}
	}
	if unsafe.Offsetof(context{}.regs) != 0 || unsafe.Sizeof(context{}) > fpuOffset || fpuOffset%64 != 0 {
		t.Error("context layout")
	}
}

// heapPages gives pages of Go's heap; the frame number is a running one.
type heapPages struct {
	next  mm.MFN
	out   map[mm.MFN]int
	limit int
	keep  [][]byte
}

func newHeapPages() *heapPages {
	return &heapPages{next: 0x100, out: map[mm.MFN]int{}, limit: 1 << 20}
}

func (p *heapPages) Alloc(n int) (mm.MFN, unsafe.Pointer, error) {
	if len(p.out) >= p.limit {
		return 0, nil, errors.New("no memory left")
	}
	b := make([]byte, (n+1)*mm.PageSize)
	p.keep = append(p.keep, b)
	off := (mm.PageSize - uintptr(unsafe.Pointer(&b[0]))%mm.PageSize) % mm.PageSize
	m := p.next
	p.next += mm.MFN(n)
	p.out[m] = n
	return m, unsafe.Pointer(&b[off]), nil
}

func (p *heapPages) Free(m mm.MFN, n int) {
	if p.out[m] != n {
		panic("freed what was not allocated")
	}
	delete(p.out, m)
}

// tcg is QEMU 7.2's EPYC; full has all there is.
var (
	tcg  = identity{maxExt: 0x8000001f, ext1ECX: 4, ext1EDX: 1 << 27, svmEBX: 16, svmEDX: cpuNP, tcg: true}
	full = identity{maxExt: 0x8000001f, ext1ECX: 4, ext1EDX: 1 << 27, svmEBX: 0x8000, osxsave: true, xcr0: 7, xsaveSize: 832,
		svmEDX: cpuNP | cpuNRIP | cpuTSCRate | cpuClean | cpuFlushByASID | cpuDecode | cpuPauseFilter}
)

func TestFeatures(t *testing.T) {
	for _, c := range []struct {
		change func(*identity)
		want   error
	}{
		{func(*identity) {}, nil},
		{func(i *identity) { i.maxExt = 0x80000008 }, ErrNoSVM},
		{func(i *identity) { i.ext1ECX = 0 }, ErrNoSVM},
		{func(i *identity) { i.svmEDX &^= cpuNP }, ErrNoNested},
		{func(i *identity) { i.svmEBX = 1 }, ErrNoASIDs},
		{func(i *identity) { i.xsaveSize = 4096 }, ErrFPUSize},
	} {
		id := full
		c.change(&id)
		if _, err := id.features(); !errors.Is(err, c.want) {
			t.Errorf("%+v: %v, want %v", id, err, c.want)
		}
	}
	f, _ := full.features()
	g, _ := tcg.features()
	if !f.NextRIP || !f.CleanBits || f.XCR0 != 7 || g.NextRIP || g.XCR0 != 0 || g.Tags != 16 {
		t.Errorf("%+v %+v", f, g)
	}
}

func TestMachineWithoutMemory(t *testing.T) {
	for limit := range 9 {
		p := newHeapPages()
		p.limit = limit
		m, err := newMachine(p, 4, full, 0xffff)
		if err == nil {
			x, err2 := m.newMapsAndVCPU()
			if err = err2; err == nil {
				x.Close()
				x.maps.Free()
			}
			if len(p.out) != 4 {
				t.Errorf("limit %d: %d allocations left", limit, len(p.out))
			}
		} else if len(p.out) != 0 {
			t.Errorf("limit %d: %d allocations left of a machine that is none", limit, len(p.out))
		}
		if limit < 8 && err == nil || limit == 8 && err != nil {
			t.Errorf("limit %d: %v", limit, err)
		}
	}
}

func (m *Machine) newMapsAndVCPU() (*vcpu, error) {
	maps, err := m.NewMaps()
	if err != nil {
		return nil, err
	}
	v, err := m.newVCPU(virt.Config{Maps: maps, NestedRoot: 0x42})
	if err != nil {
		maps.Free()
	}
	return v, err
}

func TestMaps(t *testing.T) {
	m, err := newMaps(newHeapPages())
	if err != nil {
		t.Fatal(err)
	}
	bit := func(b []byte, n int) bool { return b[n/8]>>(n%8)&1 != 0 }
	// 15.11: MSRs 0-1FFF at 000h, C000_0000 at 800h, C001_0000 at 1000h
	for _, c := range []struct {
		msr uint32
		bit int
	}{{0x10, 0x20}, {0x1fff, 0x3ffe}, {0xc0000080, 0x800*8 + 0x100}, {0xc0010117, 0x1000*8 + 0x22e}} {
		if !bit(m.msr[:], c.bit) || !bit(m.msr[:], c.bit+1) {
			t.Errorf("%#x doesn't exit in new maps", c.msr)
		}
		if !m.InterceptMSR(c.msr, true, false) || !bit(m.msr[:], c.bit) || bit(m.msr[:], c.bit+1) {
			t.Errorf("%#x: write should not exit", c.msr)
		}
	}
	for _, bad := range []uint32{0x2000, 0xbfffffff, 0xc0002000, 0xc0012000, 0xffffffff} {
		if m.InterceptMSR(bad, false, false) {
			t.Errorf("%#x is in no map", bad)
		}
	}
	if bit(m.msr[:], 0x800*8+0x102*2) || !bit(m.msr[:], 0x800*8+0x80*2) {
		t.Error("KERNEL_GS_BASE is the guest's, EFER isn't")
	}
	m.InterceptPorts(0x3f8, 0x3ff, false)
	m.InterceptPorts(0xfff0, 0xffff, false)
	m.InterceptPorts(0x3fd, 0x3fd, true)
	m.InterceptPorts(9, 8, false)
	for _, c := range []struct {
		port int
		want bool
	}{{0x3f7, true}, {0x3f8, false}, {0x3fd, true}, {0x3ff, false}, {0x400, true}, {0xffff, false}, {0x10000, true}, {8, true}, {9, true}} {
		if bit(m.io[:], c.port) != c.want {
			t.Errorf("port %#x exits: %v", c.port, !c.want)
		}
	}
}

func TestEventEncoding(t *testing.T) {
	for _, c := range []struct {
		e virt.Event
		v uint64
	}{
		{virt.Event{Vector: 0x30}, 0x80000030},
		{virt.Event{Kind: virt.NMI, Vector: 2}, 0x80000202},
		{virt.Fault(virt.VectorGP, 0x18), 0x18_80000b0d},
		{virt.Fault(virt.VectorUD, 5), 0x80000306},
	} {
		if got := encodeEvent(c.e); got != c.v {
			t.Errorf("%v: %#x, want %#x", c.e, got, c.v)
		}
		if e, ok := decodeEvent(c.v); !ok || e != c.e {
			t.Errorf("%#x: %v %v", c.v, e, ok)
		}
	}
	if _, ok := decodeEvent(0x30); ok {
		t.Error("an event without V")
	}
}

func TestDecodeExit(t *testing.T) {
	old, _ := tcg.features()
	all, _ := full.features()
	for _, c := range []struct {
		name string
		vmcb VMCB
		f    virt.Features
		want virt.Exit
	}{
		{"cpuid", VMCB{ExitCode: 0x72, RIP: 0x1000, NextRIP: 0x1002}, all, virt.Exit{Reason: virt.ReasonCPUID, Length: 2}},
		{"cpuid without NRIP", VMCB{ExitCode: 0x72, RIP: 0x1000}, old, virt.Exit{Reason: virt.ReasonCPUID}},
		{"absurd NRIP", VMCB{ExitCode: 0x72, RIP: 0x1000, NextRIP: 0x2000}, all, virt.Exit{Reason: virt.ReasonCPUID}},
		{"in", VMCB{ExitCode: 0x7b, ExitInfo1: 0x3f8<<16 | 1 | 1<<4 | 1<<8, ExitInfo2: 0x1001, RIP: 0x1000}, old,
			virt.Exit{Reason: virt.ReasonIO, Length: 1, IO: virt.IO{Port: 0x3f8, Size: 1, In: true, Addr: 32}}},
		{"rep outsw", VMCB{ExitCode: 0x7b, ExitInfo1: 0x70<<16 | 4 | 8 | 1<<5 | 1<<9 | 3<<10, ExitInfo2: 0x1003, RIP: 0x1000}, all,
			virt.Exit{Reason: virt.ReasonIO, Length: 3, IO: virt.IO{Port: 0x70, Size: 2, String: true, Rep: true, Addr: 64, Segment: virt.DS, SegmentKnown: true}}},
		{"wrmsr", VMCB{ExitCode: 0x7c, ExitInfo1: 1}, old, virt.Exit{Reason: virt.ReasonMSR, Write: true}},
		{"npf", VMCB{ExitCode: 0x400, ExitInfo1: 1<<33 | 7, ExitInfo2: 0xfee00020}, old,
			virt.Exit{Reason: virt.ReasonNestedFault, Fault: virt.NestedFault{GPA: 0xfee00020, Present: true, Write: true, Walk: true}}},
		{"npf fetch", VMCB{ExitCode: 0x400, ExitInfo1: 1<<32 | 0x14, InsnLen: 2, InsnBytes: [15]byte{1, 2}}, all,
			virt.Exit{Reason: virt.ReasonNestedFault, InsnLen: 2, Insn: [15]byte{1, 2}, Fault: virt.NestedFault{Fetch: true}}},
		{"cr3 write", VMCB{ExitCode: 0x13, ExitInfo1: 1<<63 | 9}, all, virt.Exit{Reason: virt.ReasonCR, CR: virt.CRAccess{CR: 3, Write: true, GPR: 9}}},
		{"cr0 read", VMCB{ExitCode: 0}, old, virt.Exit{Reason: virt.ReasonCR, CR: virt.CRAccess{Op: virt.CROther}}},
		{"#pf", VMCB{ExitCode: 0x4e, ExitInfo1: 6}, old, virt.Exit{Reason: virt.ReasonException, Event: virt.Fault(14, 6)}},
		{"invalid", VMCB{ExitCode: ^uint64(0)}, old, virt.Exit{Reason: virt.ReasonInvalidState}},
		{"stgi", VMCB{ExitCode: 0x84}, old, virt.Exit{Reason: virt.ReasonVirtInsn}},
		{"unknown", VMCB{ExitCode: 0x12345}, old, virt.Exit{Reason: virt.ReasonUnknown}},
	} {
		var e virt.Exit
		decodeExit(&c.vmcb, &c.f, &e)
		c.want.Code, c.want.Info1, c.want.Info2 = c.vmcb.ExitCode, c.vmcb.ExitInfo1, c.vmcb.ExitInfo2
		if e != c.want {
			t.Errorf("%s:\n%+v, want\n%+v", c.name, e, c.want)
		}
	}
}

func FuzzDecodeExit(f *testing.F) {
	f.Add(uint64(0x7b), uint64(0x3f80011), uint64(0x1001), uint64(0x1000), uint64(0), byte(3))
	f.Add(uint64(0x400), uint64(7), uint64(0xfee00000), uint64(0), uint64(0), byte(255))
	f.Fuzz(func(t *testing.T, code, i1, i2, rip, next uint64, n byte) {
		for _, id := range []identity{tcg, full} {
			ft, _ := id.features()
			e := virt.Exit{Length: 99, InsnLen: 99}
			decodeExit(&VMCB{ExitCode: code, ExitInfo1: i1, ExitInfo2: i2, RIP: rip, NextRIP: next, InsnLen: n}, &ft, &e)
			if e.Reason >= virt.NumReasons || e.Length > insn.MaxLen || e.InsnLen > 15 || e.CR.CR > 15 || e.CR.GPR > 15 ||
				e.Reason == virt.ReasonIO && e.IO.Size != 1 && e.IO.Size != 2 && e.IO.Size != 4 || e.String() == "" {
				t.Fatalf("%+v", e)
			}
		}
	})
}

// TestTags runs vcpus on CPUs at random against a model of the TLBs: an ASID's
// entries belong to the vcpu that ran with it last, until a flush.
func TestTags(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	const cpus, vcpus, max = 3, 9, 5
	var cpu [cpus]tags
	var tlb [cpus]map[uint32][2]int // asid -> vcpu and its epoch
	for i := range cpu {
		cpu[i].max, tlb[i] = max, map[uint32][2]int{}
	}
	var v [vcpus]tag
	var epoch [vcpus]int
	kept := 0
	for step := range 100000 {
		c, i := r.IntN(cpus), r.IntN(vcpus)
		if r.IntN(4) == 0 {
			v[i], epoch[i] = tag{}, step+1 // its tables changed
		}
		renewed, flush := cpu[c].assign(&v[i], uint64(c))
		if flush {
			clear(tlb[c])
		}
		if v[i].asid == 0 || v[i].asid > max {
			t.Fatalf("ASID %d", v[i].asid)
		}
		if old, ok := tlb[c][v[i].asid]; ok && old != [2]int{i, epoch[i]} {
			t.Fatalf("step %d: vcpu %d epoch %d finds entries of %v", step, i, epoch[i], old)
		}
		if !renewed {
			kept++
		}
		tlb[c][v[i].asid] = [2]int{i, epoch[i]}
	}
	if kept == 0 {
		t.Error("no tag was ever used twice")
	}
}

func TestDump(t *testing.T) {
	m, _ := newMachine(newHeapPages(), 1, full, 0xffff)
	v, err := m.newMapsAndVCPU()
	if err != nil {
		t.Fatal(err)
	}
	if d := v.Dump(); !strings.Contains(d, "rip 000000000000fff0") || !strings.Contains(d, "ncr3 0x42000") || !strings.Contains(d, "CR0 60000010") {
		t.Error(d)
	}
}

// TestLMEIsHidden: a control block has LME only in long mode; the guest sees its own.
func TestLMEIsHidden(t *testing.T) {
	m, _ := newMachine(newHeapPages(), 1, full, 0xffff)
	v, err := m.newMapsAndVCPU()
	if err != nil {
		t.Fatal(err)
	}
	const long = virt.EFERLME | virt.EFERLMA
	for _, c := range []struct{ set, vmcb uint64 }{
		{0, 0}, {virt.EFERLME, 0}, {virt.EFERLME | virt.EFERNX, virt.EFERNX}, {long, long}, {virt.EFERLME, 0}, {virt.EFERNX, virt.EFERNX},
	} {
		if err := v.Set(virt.EFER, c.set); err != nil {
			t.Fatal(err)
		}
		if got := v.Get(virt.EFER); got != c.set {
			t.Errorf("EFER %#x: the guest reads %#x", c.set, got)
		}
		if want := c.vmcb | virt.EFERSVME; v.vmcb.EFER != want {
			t.Errorf("EFER %#x: the control block has %#x, not %#x", c.set, v.vmcb.EFER, want)
		}
	}
}
