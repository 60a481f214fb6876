package pv

import (
	"sync/atomic"

	"nidus/kernel/evtchn"
	"nidus/kernel/virt"
	"nidus/kernel/xenabi"
	"nidus/mm"
	"nidus/mm/pvmmu"
)

// Trap is an entry of the trap table (arch-x86/xen.h, trap_info). Address 0: none.
type Trap struct {
	Address uint64
	CS      uint16
	Flags   uint8
}

// Bits of Trap.Flags (arch-x86/xen.h, TI_GET_DPL, TI_GET_IF).
const (
	TrapDPL        = 3
	TrapMaskEvents = 4
)

// Callback is an entry point that has no vector (callback.h).
type Callback struct {
	Address    uint64
	CS         uint16 // 32-bit guests
	MaskEvents bool
}

// Gate is how the kernel of a 64-bit guest is entered from its processes, and left: the part
// of a vcpu's state by which the loop brings a system call or a page fault to the kernel, and
// the kernel back to its process, without leaving to Go; see VCPU.SetGuest. The vcpu's own
// goroutine changes it.
type Gate struct {
	// UserMode is the mode of a 64-bit guest, whose kernel runs in ring 3 like its
	// processes. A vcpu begins in its kernel.
	UserMode bool

	Traps     [256]Trap
	Event     Callback
	Syscall64 Callback // of 64-bit processes
	KernelSS  uint16
	KernelSP  uint64

	// Root and UserRoot are the page tables of the kernel's and the process's mode, which
	// the vcpu holds; a 32-bit guest has only Root. UserRoot 0: none.
	Root, UserRoot mm.MFN

	IOPL      uint8
	NMIMasked bool // until the next iret
}

// Sets of flags of RFLAGS.
const (
	// FlagsEntry is what an interrupt gate clears of them.
	FlagsEntry = virt.FlagTF | virt.FlagRF | virt.FlagNT | virt.FlagVM | virt.FlagIOPL // TF RF NT VM IOPL
	// FlagsIret is what iret sets of them: ID AC RF NT OF DF TF SF ZF AF PF CF.
	FlagsIret = 0x254dd5
)

// InSyscall is VGCF_in_syscall in iret's frame (arch-x86/xen-x86_64.h).
const InSyscall = 1 << 8

// Bits of a page fault's error code (APM vol. 2, 8.4.2).
const (
	faultPresent = 1 << 0
	faultWrite   = 1 << 1
	faultUser    = 1 << 2
)

// Info is where a vcpu's vcpu_info is (xen.h). What was there before it moved stays the vcpu's.
type Info struct {
	Page mm.Page
	Off  int
}

// Due tells whether an event is to be delivered to the guest.
//
//go:nosplit
func (i *Info) Due() bool { return xenabi.UpcallDue(i.Page.Load32(i.Off)) }

// Masked tells whether the guest has masked events, SetMasked masks them or not.
//
//go:nosplit
func (i *Info) Masked() bool { return i.Page.Load8(i.Off+xenabi.VCPUEvtchnUpcallMask) != 0 }

// SetMasked is described at Masked.
//
//go:nosplit
func (i *Info) SetMasked(on bool) {
	const shift = xenabi.VCPUEvtchnUpcallMask * 8
	if on {
		i.Page.Or32(i.Off, 1<<shift)
	} else {
		i.Page.And32(i.Off, ^uint32(0xff<<shift))
	}
}

// cr2Offset is arch.cr2 in a 64-bit guest's vcpu_info (arch-x86/xen-x86_64.h).
const cr2Offset = 16

// Guest is what the loop needs for a 64-bit guest: see VCPU.SetGuest.
type Guest struct {
	ID uint64 // the vcpu's number
	*Gate
	Assist *atomic.Uint64        // the domain's vm_assist
	Info   *atomic.Pointer[Info] // where the vcpu's vcpu_info is; while that is nil, Go does all
	TSC    *virt.EmulatedTSC     // what RDTSC reads where that is emulated
	Timer  *virt.Timer           // the vcpu's one-shot timer
	MMU    *pvmmu.VCPU           // what changes page tables
	Events *evtchn.Domain        // the domain's event channels
}

// SetGuest implements VCPU.
func (v *vcpu) SetGuest(g Guest) {
	if v.ctx.narrow != 0 || v.ctx.hostView != 0 {
		return // another frame; or the guest's memory isn't there after an exit
	}
	v.gate = g
}

// Why the loop does it here: two of three exits of a busy guest are these, and the way
// through Go's scheduler and the personality costs several times of what there is to do.

// pass does an exit that only takes the guest from its process to its kernel or back, or that
// no more than registers are needed for, and tells whether it did. If not, nothing has happened:
// it is for Go to do, or to refuse, what is out of the ordinary. pvcpu's Syscall, Iret and
// Deliver say what is to be done.
//
// Guest memory is reached by the guest's addresses, as its page tables, which are loaded, allow
// it: the vcpu counts as running meanwhile, so that no other takes a page away.
//
//go:nosplit
func (v *vcpu) pass() bool {
	g, c := &v.gate, v.ctx
	if g.Gate == nil || g.Info.Load() == nil {
		return false
	}
	switch c.vec {
	case virt.VectorPF:
		return v.pageFault()
	case virt.VectorUD, virt.VectorGP:
		return v.emulate()
	case vecSyscall:
		if !g.UserMode {
			return v.hypercall()
		}
		if !v.enterKernel(g.Syscall64.Address, g.Syscall64.MaskEvents, noCode) {
			return false
		}
		c.regs.RFLAGS &^= virt.FlagDF
		return true
	}
	return false
}

// upcall calls the guest's event callback. An event is due.
//
//go:nosplit
func (v *vcpu) upcall() bool { return v.enterKernel(v.gate.Event.Address, true, noCode) }

// Upcall implements VCPU.
func (v *vcpu) Upcall() bool {
	if v.gate.Gate == nil || !v.arrive() {
		return false
	}
	ok := v.upcall()
	v.reached()
	return ok
}

// pageFault brings a page fault to the guest's kernel. What may be a write to a page table, or
// the processor's own access to the LDT, is for others.
//
//go:nosplit
func (v *vcpu) pageFault() bool {
	g, c := &v.gate, v.ctx
	t, i := &g.Traps[virt.VectorPF], g.Info.Load()
	if c.err&faultUser == 0 || !g.UserMode && c.err&(faultPresent|faultWrite) == faultPresent|faultWrite {
		return false
	}
	code := c.err
	if !g.UserMode {
		code &^= faultUser // a kernel in ring 3 learns what it would in ring 0
	}
	at := c.cr2
	if !v.enterKernel(t.Address, t.Flags&TrapMaskEvents != 0, code) {
		return false
	}
	i.Page.Store64(i.Off+cr2Offset, at)
	return true
}

// frame is what iret takes from the stack; what enterKernel pushes is less.
type frame [9]uint64

// noCode is no error code.
const noCode = ^uint64(0)

// enterKernel pushes what an interrupt gate would, and RCX and R11, on the kernel's stack, and
// goes to the kernel at address at.
//
//go:nosplit
func (v *vcpu) enterKernel(at uint64, mask bool, code uint64) bool {
	g, c := &v.gate, v.ctx
	i := g.Info.Load()
	if i == nil || at == 0 || !virt.Canonical(at) || g.Root == 0 {
		return false
	}
	r := &c.regs
	user, sp, cs, ss := g.UserMode, r.RSP, c.cs&0xffff, c.ss&0xffff
	if user {
		sp = g.KernelSP
	} else {
		cs &^= 3 // a kernel sees itself in ring 0
	}
	flags := r.RFLAGS &^ (virt.FlagIF | virt.FlagIOPL)
	if i.Masked() {
		cs |= 1 << 32
	} else {
		flags |= virt.FlagIF
	}
	if g.Assist.Load()>>xenabi.VMAssistTypeArchitecturalIOPL&1 != 0 {
		flags |= uint64(g.IOPL) << virt.FlagIOPLShift
	}
	// By words: the compiler copies a whole frame with a register of SSE's (fastExit).
	var f frame
	first, words := uint64(0), uint64(8)
	f[3], f[4], f[5], f[6], f[7] = r.RIP, cs, flags, r.RSP, ss
	if code == noCode {
		f[1], f[2] = r.RCX, r.R11
		first, words = 1, 7
	} else {
		f[0], f[1], f[2] = r.RCX, r.R11, code
	}
	sp = sp&^15 - words*8
	if !guestRange(sp, words*8) {
		return false
	}
	if user {
		v.toggle()
		loadRoot(c.cr3 | v.pcids.load(c.cr3))
	}
	if !store(sp, &f, first, words) {
		if user {
			v.toggle()
			loadRoot(c.cr3 | v.pcids.load(c.cr3))
		}
		return false
	}
	r.RSP, r.RIP = sp, at
	c.cs, c.ss = SelCode64, SelData
	r.RFLAGS = r.RFLAGS&^FlagsEntry | virt.FlagIF | virt.FlagFixed
	if mask {
		i.SetMasked(true)
	}
	return true
}

// iret is the hypercall of that name.
//
//go:nosplit
func (v *vcpu) iret() bool {
	// rax, r11, rcx, flags, rip, cs, rflags, rsp, ss (struct iret_context)
	var f frame
	g, c := &v.gate, v.ctx
	r, i := &c.regs, g.Info.Load()
	if g.NMIMasked || !guestRange(r.RSP, uint64(len(f))*8) || !load(&f, r.RSP, uint64(len(f))) {
		return false
	}
	flags, cs, ss := f[6], f[5]&0xffff, f[8]&0xffff
	process := cs&3 == 3
	if !virt.Canonical(f[4]) || process && g.UserRoot == 0 {
		return false
	}
	if process {
		v.toggle()
	}
	r.RAX, r.RIP, r.RSP = f[0], f[4], f[7]
	r.RFLAGS = flags&FlagsIret | virt.FlagIF | virt.FlagFixed
	if f[3]&InSyscall != 0 { // as SYSRET leaves them
		c.cs, c.ss = SelCode64, SelData
		r.RCX, r.R11 = r.RIP, r.RFLAGS
	} else {
		c.cs, c.ss = cs|3, ss|3
		r.RCX, r.R11 = f[2], f[1]
	}
	if g.Assist.Load()>>xenabi.VMAssistTypeArchitecturalIOPL&1 != 0 {
		g.IOPL = uint8(flags >> virt.FlagIOPLShift & 3)
	}
	i.SetMasked(flags&virt.FlagIF == 0)
	return true
}

// toggle changes the mode: the page tables, and the GS base as SWAPGS.
//
//go:nosplit
func (v *vcpu) toggle() {
	g, c := &v.gate, v.ctx
	g.UserMode = !g.UserMode
	c.gsBase, v.sys[virt.KernelGSBase] = v.sys[virt.KernelGSBase], c.gsBase
	root := g.Root
	if g.UserMode {
		root = g.UserRoot
	}
	c.cr3 = v.pcids.value(root, g.UserMode)
}

// guestRange tells whether n bytes at a are a guest's addresses, none of the hypervisor's.
//
//go:nosplit
func guestRange(a, n uint64) bool {
	const lowEnd = 1 << 47
	return a+n >= a && (a+n <= lowEnd || a >= xenabi.HypervisorVirtEnd64)
}
