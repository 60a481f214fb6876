// Package pvcpu is the processor that a PV guest's kernel sees: its trap table
// and callbacks, the frames that exceptions and events push on its stack, the way
// back by iret, the instructions that only a kernel may execute and that are
// carried out for it, and what it may put into a descriptor. The guest itself runs
// in ring 3 (64-bit) or ring 1 (32-bit); interrupts stay on in the real flags, and
// the guest's own interrupt flag is evtchn_upcall_mask in its vcpu_info.
//
// The package decides and moves registers, and touches no hardware: see Machine.
// A CPU belongs to its vcpu's goroutine. An error that a method returns is the
// reason to end the domain: the guest left nothing to go on with.
//
// The ABI is Xen's public headers: arch-x86/xen.h (trap_info,
// vcpu_guest_context), arch-x86/xen-x86_64.h and xen-x86_32.h (selectors, iret),
// callback.h; instructions are the AMD APM's (24592, 24593, 24594).
package pvcpu

import (
	"sync/atomic"

	"nidus/kernel/virt"
	"nidus/kernel/virt/insn"
	"nidus/kernel/virt/pv"
	"nidus/kernel/xenabi"
	"nidus/mm"
	"nidus/personalities/emulate"
	"nidus/personalities/msr"
)

// Machine is what a CPU needs of the vcpu whose goroutine calls it.
type Machine interface {
	// Regs is all general registers, RIP and RFLAGS included. RFLAGS.IF there
	// is always set and IOPL 0.
	Regs() *virt.Regs
	// Segment and SetSegment reach the selectors of CS, SS, DS, ES, FS and GS
	// and the bases of FS and GS. Attributes don't count.
	Segment(virt.SegReg) virt.Segment
	SetSegment(virt.SegReg, virt.Segment)
	// Get and Set reach registers that the processor has in one copy:
	// KernelGSBase is the GS base that is not active; of CR0 only TS counts, by
	// which the next FPU instruction is #NM, and of CR4 TSD, DE, FSGSBASE and
	// OSXSAVE as the guest has set them; EFER is the host's; CR2, DR0 to DR7,
	// XCR0, PAT and TSCAux are themselves.
	Get(virt.SysReg) uint64
	// Set's values were checked.
	Set(virt.SysReg, uint64)
	// CopyIn and CopyOut reach guest memory by its own page tables, as they are
	// loaded now, with the rights of the mode that runs. CopyOut is all or
	// nothing as far as a bad address goes.
	CopyIn(a mm.GuestVirt, dst []byte) error
	CopyOut(a mm.GuestVirt, src []byte) error
	// ReadPhys reads the domain's memory by machine address.
	ReadPhys(a mm.GuestPhys, dst []byte) error

	// UpcallPending, UpcallMask and CR2 are in vcpu_info. A vcpu without one is
	// masked.
	UpcallPending() bool
	UpcallMask() bool
	SetUpcallMask(bool)
	CR2() uint64
	SetCR2(uint64)

	// SetRoot makes root the page tables that the vcpu runs on: State's Root or
	// UserRoot, which the vcpu holds already, as user says.
	SetRoot(root mm.MFN, user bool)
	// Base is the frame that the guest's kernel has made its root: State's Root, but
	// of a 32-bit guest, whose root is below one of the hypervisor's.
	Base() mm.MFN
	// NewRoot makes root State's Root, or UserRoot, as MMUEXT_NEW_BASEPTR and
	// NEW_USER_BASEPTR do: it takes the references, gives the old ones back,
	// and loads root if the vcpu runs on that one. For a vcpu that is not up
	// any goroutine may call it. The error has an errno.
	NewRoot(root mm.MFN, user bool) error
	// SetGDT makes the descriptors in frames the guest's GDT, and puts them
	// into State; no frame means none. It takes references to descriptor
	// pages. The count was checked. For a vcpu that is not up any goroutine may
	// call it. The error has an errno.
	SetGDT(frames []mm.MFN, entries uint32) error
	// SetLDT does the same for an LDT (MMUEXT_SET_LDT), which was checked.
	SetLDT(base mm.GuestVirt, entries uint32) error

	// TSC is the guest's time-stamp counter.
	TSC() uint64
	// CPUID is what the guest is told.
	CPUID(leaf, sub uint32) (a, b, c, d uint32)
	// Unknown reports an access to an MSR that isn't there.
	Unknown(msr uint32, write bool, v uint64)
}

// Numbers of the descriptor tables (arch-x86/xen.h).
const (
	// GDTFrames is how many pages of the GDT are the guest's.
	GDTFrames = xenabi.FirstReservedGDTPage
	// MaxGDTEntries is how many descriptors they hold.
	MaxGDTEntries = GDTFrames * mm.PageSize / 8
	// MaxLDTEntries is how many an LDT can have.
	MaxLDTEntries = 8192
)

// Trap is an entry of the trap table, Callback an entry point that has no vector.
type (
	Trap     = pv.Trap
	Callback = pv.Callback
)

// Bits of Trap.Flags.
const (
	TrapDPL        = pv.TrapDPL
	TrapMaskEvents = pv.TrapMaskEvents
)

// Version is the version of State.
const Version = 1

// State is what a PV guest's processor has beyond its registers: plain data.
type State struct {
	Version uint32
	ID      uint32 // number of the vcpu
	Width   xenabi.Width
	// Gate is what the hardware's loop enters and leaves a 64-bit kernel by, where
	// nothing is to be decided; else, and in 32-bit guests always, this package does.
	pv.Gate

	Failsafe  Callback
	Syscall32 Callback // 32-bit processes; address 0: #UD
	Sysenter  Callback // address 0: #GP

	GDT        [GDTFrames]mm.MFN
	GDTEntries uint32
	LDT        mm.GuestVirt
	LDTEntries uint32

	TS       bool   // the guest's CR0.TS
	CR4      uint64 // what it reads there
	IOBitmap mm.GuestVirt
	IOPorts  uint32 // that the bitmap has; 0: none
}

// CPU is one vcpu of a PV guest.
type CPU struct {
	State
	M Machine
	// Assist is the domain's vm_assist: a bit for each VMASST_TYPE.
	Assist *atomic.Uint64
	// MSR is the table of registers that PV guests share with others.
	MSR *msr.File

	step  emulate.CPU    // of INS and OUTS
	frame [maxFrame]byte // what is pushed or popped
	code  [insn.MaxLen]byte
	word  [8]byte
}

// maxFrame is the largest frame in bytes: the failsafe callback's.
const maxFrame = 12 * 8

// New returns a vcpu in its kernel, with everything else still to be set.
func New(m Machine, id uint32, w xenabi.Width, assist *atomic.Uint64, f msr.Features) *CPU {
	c := &CPU{M: m, Assist: assist, State: State{Version: Version, ID: id, Width: w}}
	c.CR4 = cr4Fixed
	c.MSR = msr.New(msrs{c}, f)
	return c
}

// Kernel tells whether the guest's kernel runs, not a process.
func (c *CPU) Kernel() bool {
	if c.Width == xenabi.Guest32 {
		return c.M.Segment(virt.CS).Selector&3 == 1
	}
	return !c.UserMode
}

// assists tells whether a vm_assist type is on.
func (c *CPU) assists(typ uint) bool { return c.Assist.Load()>>typ&1 != 0 }

// ToggleMode takes a 64-bit guest from its kernel to the process or back: the page
// tables, and the GS base (as SWAPGS).
func (c *CPU) ToggleMode() {
	c.UserMode = !c.UserMode
	gs := c.M.Segment(virt.GS)
	base := gs.Base
	gs.Base = c.M.Get(virt.KernelGSBase)
	c.M.SetSegment(virt.GS, gs)
	c.M.Set(virt.KernelGSBase, base)
	if c.UserMode {
		c.M.SetRoot(c.UserRoot, true)
	} else {
		c.M.SetRoot(c.Root, false)
	}
}
