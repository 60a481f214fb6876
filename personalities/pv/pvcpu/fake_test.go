package pvcpu

import (
	"encoding/binary"
	"errors"
	"sync/atomic"
	"testing"

	"nidus/kernel/virt"
	"nidus/kernel/xenabi"
	"nidus/mm"
	"nidus/personalities/msr"
	"nidus/personalities/paging"
)

// Where the fake guest's memory is: 64 KiB, the same in all its page tables.
const (
	ramStart = 0x100000
	ramSize  = 0x10000
	stackTop = ramStart + 0x8000 // of the kernel
	userTop  = ramStart + 0x4000
	text     = ramStart + 0x1000
)

// fake is a Machine in Go's memory.
type fake struct {
	pageFaults bool // what is wrong with an address outside ram; else it is no exception
	regs       virt.Regs
	seg        [virt.NumSegRegs]virt.Segment
	sys        [virt.NumSysRegs]uint64
	ram        [ramSize]byte
	gdt        [mm.PageSize]byte // machine frame 7
	pending    bool
	mask       bool
	cr2        uint64
	root       mm.MFN
	base       mm.MFN
	tsc        uint64
	leaves     map[uint32][4]uint32
	unknown    []uint32
}

var errFake = errors.New("bad address")

func (f *fake) at(a mm.GuestVirt, n int) []byte {
	if a < ramStart || uint64(a)+uint64(n) > ramStart+ramSize || uint64(a)+uint64(n) < uint64(a) {
		return nil
	}
	return f.ram[a-ramStart:][:n]
}

func (f *fake) Regs() *virt.Regs                         { return &f.regs }
func (f *fake) Segment(r virt.SegReg) virt.Segment       { return f.seg[r] }
func (f *fake) SetSegment(r virt.SegReg, s virt.Segment) { f.seg[r] = s }
func (f *fake) Get(r virt.SysReg) uint64                 { return f.sys[r] }
func (f *fake) Set(r virt.SysReg, v uint64)              { f.sys[r] = v }
func (f *fake) UpcallPending() bool                      { return f.pending }
func (f *fake) UpcallMask() bool                         { return f.mask }
func (f *fake) SetUpcallMask(on bool)                    { f.mask = on }
func (f *fake) CR2() uint64                              { return f.cr2 }
func (f *fake) SetCR2(v uint64)                          { f.cr2 = v }
func (f *fake) SetRoot(m mm.MFN, _ bool)                 { f.root = m }
func (f *fake) TSC() uint64                              { return f.tsc }
func (f *fake) Unknown(i uint32, _ bool, _ uint64)       { f.unknown = append(f.unknown, i) }
func (f *fake) SetLDT(mm.GuestVirt, uint32) error        { return nil }
func (f *fake) SetGDT([]mm.MFN, uint32) error            { return nil }
func (f *fake) CPUID(leaf, _ uint32) (a, b, c, d uint32) {
	l := f.leaves[leaf]
	return l[0], l[1], l[2], l[3]
}
func (f *fake) Base() mm.MFN { return f.base }
func (f *fake) NewRoot(root mm.MFN, user bool) error {
	if root == 0 || root > 100 {
		return xenabi.EINVAL
	}
	f.root = root
	return nil
}

func (f *fake) CopyIn(a mm.GuestVirt, dst []byte) error {
	b := f.at(a, len(dst))
	if b == nil {
		if f.pageFaults {
			return &paging.Fault{Kind: paging.PageFault, Addr: a}
		}
		return errFake
	}
	copy(dst, b)
	return nil
}

func (f *fake) CopyOut(a mm.GuestVirt, src []byte) error {
	b := f.at(a, len(src))
	if b == nil {
		return errFake
	}
	copy(b, src)
	return nil
}

func (f *fake) ReadPhys(a mm.GuestPhys, dst []byte) error {
	if a.Frame() != 7 || a.Offset()+uint64(len(dst)) > mm.PageSize {
		return errFake
	}
	copy(dst, f.gdt[a.Offset():])
	return nil
}

// word reads word i of the stack, in the guest's width.
func (f *fake) word(sp uint64, i int, w xenabi.Width) uint64 {
	if w == xenabi.Guest32 {
		return uint64(binary.LittleEndian.Uint32(f.at(mm.GuestVirt(sp)+mm.GuestVirt(4*i), 4)))
	}
	return binary.LittleEndian.Uint64(f.at(mm.GuestVirt(sp)+mm.GuestVirt(8*i), 8))
}

func (f *fake) put(a uint64, w xenabi.Width, vals ...uint64) {
	for i, v := range vals {
		if w == xenabi.Guest32 {
			binary.LittleEndian.PutUint32(f.at(mm.GuestVirt(a)+mm.GuestVirt(4*i), 4), uint32(v))
		} else {
			binary.LittleEndian.PutUint64(f.at(mm.GuestVirt(a)+mm.GuestVirt(8*i), 8), v)
		}
	}
}

// Handlers of the fake guest.
const (
	handlerGP    = 0x5000
	handlerPF    = 0x5100
	handlerEvent = 0x5200
	handlerSafe  = 0x5300
	handlerSys   = 0x5400
	handlerNMI   = 0x5500
	handler80    = 0x5600
	handlerDB    = 0x5700
	handlerNM    = 0x5800
	handlerUD    = 0x5900
)

// guest makes a vcpu in its kernel, with a trap table, on a stack at stackTop - 256.
func guest(w xenabi.Width) (*CPU, *fake) {
	f := &fake{root: 1, tsc: 0x123456789a, leaves: map[uint32][4]uint32{1: {1, 2, 3, 4}}}
	c := New(f, 0, w, new(atomic.Uint64), msr.Features{AMD: true, PhysBits: 40, LongMode: true, NX: true, RDTSCP: true, SYSCALL: true})
	cs := uint16(xenabi.FlatKernelCS64)
	f.seg[virt.SS].Selector = xenabi.FlatKernelSS64
	if w == xenabi.Guest32 {
		cs = xenabi.FlatKernelCS32
		for _, r := range [...]virt.SegReg{virt.SS, virt.DS, virt.ES} {
			f.seg[r].Selector = xenabi.FlatKernelSS32
		}
	}
	f.seg[virt.CS].Selector = cs
	for v, at := range map[int]uint64{1: handlerDB, nmiVector: handlerNMI, virt.VectorUD: handlerUD, vectorNM: handlerNM, virt.VectorGP: handlerGP, virt.VectorPF: handlerPF} {
		c.Traps[v] = Trap{Address: at, CS: cs}
	}
	c.Traps[0x80] = Trap{Address: handler80, CS: cs, Flags: 3}
	c.Traps[virt.VectorPF].Flags = TrapMaskEvents
	c.Event = Callback{Address: handlerEvent, CS: cs}
	c.Failsafe = Callback{Address: handlerSafe, CS: cs, MaskEvents: true}
	c.Syscall64 = Callback{Address: handlerSys, CS: cs, MaskEvents: true}
	c.KernelSP, c.KernelSS = stackTop, xenabi.FlatKernelSS32
	c.Root, c.UserRoot = 1, 2
	f.regs = virt.Regs{RCX: 0xc, R11: 0xb, RSP: stackTop - 256, RIP: text, RFLAGS: virt.FlagIF | virt.FlagFixed | 1}
	f.seg[virt.GS].Base = 0x1111
	f.sys[virt.KernelGSBase] = 0x2222
	f.sys[virt.EFER] = virt.EFERNX | virt.EFERLMA | virt.EFERLME | virt.EFERSCE | virt.EFERSVME
	f.sys[virt.PAT] = 0x0007040600070406
	return c, f
}

// user puts the guest into a process.
func (f *fake) user(c *CPU) {
	f.regs.RSP = userTop
	if c.Width == xenabi.Guest32 {
		f.seg[virt.CS].Selector, f.seg[virt.SS].Selector = 0x73, 0x7b
		return
	}
	c.ToggleMode()
	f.seg[virt.CS].Selector = 0x33 // the guest's own GDT
	f.seg[virt.SS].Selector = 0x2b
}

func check(t *testing.T, what string, got, want uint64) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %#x, want %#x", what, got, want)
	}
}
