//go:build tamago

package vmx

import (
	"sync/atomic"

	"nidus/kernel/cpu"
	"nidus/kernel/virt"
	"nidus/mm"
)

// vcpu implements virt.VCPU. Its state lives here, in s; the VMCS is written
// whole at each entry and read whole at each exit, and cleared after it, so the
// thread may come back on any CPU. That is plain, not fast.
type vcpu struct {
	m       *Machine
	cfg     virt.Config
	maps    *maps
	ctx     *context
	fpu     []byte
	mfns    [2]mm.MFN // of the VMCS and of the context
	s       virt.State
	pending virt.Pending
	x       exitFields

	window, nmiWindow, injecting bool
}

// context is what the entry code shares with Go; the FPU image follows.
type context struct {
	regs      virt.Regs
	cr2       uint64
	xsave     uint64
	guestXCR0 uint64
	kick      uint32
	flush     uint32
	running   uint32
	_         uint32
	cpu       uint64
}

const (
	fpuOffset = 1024
	maxFPU    = 4096 - fpuOffset
)

// vmcsRegs are the system registers that are VMCS fields as they are.
var vmcsRegs = [...]struct {
	reg   virt.SysReg
	field uint32
}{
	{virt.CR3, fGuestCR3}, {virt.DR7, fGuestDR7}, {virt.EFER, fGuestEFER}, {virt.PAT, fGuestPAT}, {virt.DebugCtl, fGuestDebugCtl},
	{virt.SysenterCS, fGuestSysenterCS}, {virt.SysenterESP, fGuestSysenterESP}, {virt.SysenterEIP, fGuestSysenterEIP},
}

// switchedMSRs are the guest's MSRs that the VMCS doesn't hold.
var switchedMSRs = [...]struct {
	reg virt.SysReg
	msr uint32
}{
	{virt.STAR, 0xc0000081}, {virt.LSTAR, 0xc0000082}, {virt.CSTAR, 0xc0000083}, {virt.SFMask, 0xc0000084},
	{virt.KernelGSBase, 0xc0000102}, {virt.TSCAux, 0xc0000103},
}

// loop is svm's loop; see there.
//
//go:nosplit
func (v *vcpu) loop() virt.Reason {
	c := v.ctx
	for {
		cpu := interruptsOff()
		if cpu >= uint64(len(v.m.on)) || v.m.on[cpu] == 0 {
			interruptsOn()
			return virt.ReasonInvalidState
		}
		atomic.StoreUint64(&c.cpu, cpu)
		atomic.StoreUint32(&c.running, 1)
		why := virt.ReasonKick
		again := false
		if atomic.SwapUint32(&c.kick, 0) == 0 {
			why, again = v.trip()
		}
		atomic.StoreUint32(&c.running, 0)
		interruptsOn()
		if !again {
			return why
		}
	}
}

// trip enters the guest once.
//
//go:nosplit
func (v *vcpu) trip() (why virt.Reason, again bool) {
	pa := uint64(v.mfns[0]) << mm.PageShift
	if !vmclear(pa) || !vmptrld(pa) {
		v.x = exitFields{failed: true}
		return virt.ReasonInvalidState, false
	}
	atomic.StoreUint32(&v.ctx.flush, 0)
	invept() // the CPU may be another one; translations of the guest are not kept
	v.writeHost()
	v.writeGuest()
	var host [len(switchedMSRs)]uint64
	for i := range switchedMSRs {
		r := &switchedMSRs[i]
		if r.reg == virt.TSCAux && !v.m.features.TSCAux {
			continue
		}
		host[i] = cpu.ReadMSR(r.msr)
		cpu.WriteMSR(r.msr, v.s.Sys[r.reg])
	}
	v.barriers()
	ok := enter(v.ctx)
	for i := range switchedMSRs {
		r := &switchedMSRs[i]
		if r.reg == virt.TSCAux && !v.m.features.TSCAux {
			continue
		}
		v.s.Sys[r.reg] = cpu.ReadMSR(r.msr)
		cpu.WriteMSR(r.msr, host[i])
	}
	if ok {
		v.readGuest()
	} else {
		v.x = exitFields{failed: true, reason: uint32(vmread(fError))}
	}
	vmclear(pa)
	if !ok || v.x.reason>>31 != 0 {
		return virt.ReasonUnknown, false
	}
	if v.injecting {
		v.pending.Delivered()
	}
	if e, ok := decodeEvent(v.x.vectoring, v.x.vectoringError); ok {
		v.pending.Again(e)
	}
	switch {
	case v.x.reason == exitInterrupt:
		return virt.ReasonUnknown, true
	case v.x.reason == exitException && v.x.event>>8&7 == uint64(virt.NMI):
		takeNMI()
		return virt.ReasonUnknown, true
	case v.x.reason == exitInterruptWindow && !v.window:
		return virt.ReasonUnknown, true
	case v.x.reason == exitException:
		n := uint8(v.x.event)
		if (n == virt.VectorDB || n == virt.VectorAC) && v.cfg.Exceptions&(1<<n) == 0 {
			if v.pending.Inject(virt.Fault(n, uint32(v.x.code))) != nil {
				return virt.ReasonShutdown, false
			}
			return virt.ReasonUnknown, true
		}
	}
	return virt.ReasonUnknown, false
}

//go:nosplit
func (v *vcpu) writeGuest() {
	m, c, s := v.m, v.ctx, &v.s
	proc, entry := m.controls.proc, m.controls.entry
	if v.cfg.Intercept&virt.InterceptRDTSC != 0 {
		proc |= procRDTSC
	}
	if v.cfg.Intercept&virt.InterceptPause != 0 {
		proc |= procPAUSE
	}
	if v.cfg.Intercept&virt.InterceptINVLPG != 0 {
		proc |= procINVLPG
	}
	if v.cfg.Intercept&virt.InterceptCR3Write != 0 {
		proc |= procCR3Load
	}
	if s.Sys[virt.EFER]&virt.EFERLMA != 0 {
		entry |= entryGuest64
	}
	event := uint64(0)
	v.injecting = false
	if e, ok := v.pending.Next(v.interruptible(), !s.NMIMasked && !s.Shadow); ok {
		event, v.injecting = encodeEvent(e), true
		vmwrite(fEntryCode, uint64(e.Code))
	}
	if v.window || v.pending.Held() {
		proc |= procInterruptWindow
	}
	vmwrite(fEntryEvent, event)
	vmwrite(fPinControls, uint64(m.controls.pin))
	vmwrite(fProcControls, uint64(proc))
	vmwrite(fProc2Controls, uint64(m.controls.proc2))
	vmwrite(fExitControls, uint64(m.controls.exit))
	vmwrite(fEntryControls, uint64(entry))
	vmwrite(fExceptions, uint64(v.cfg.Exceptions&^4|1<<virt.VectorDB|1<<virt.VectorAC|1<<virt.VectorMC))
	vmwrite(fIOBitmapA, uint64(v.maps.mfn+1)<<mm.PageShift)
	vmwrite(fIOBitmapB, uint64(v.maps.mfn+2)<<mm.PageShift)
	vmwrite(fMSRBitmap, uint64(v.maps.mfn)<<mm.PageShift)
	vmwrite(fEPTP, eptp(v.cfg.NestedRoot))
	vmwrite(fLinkPointer, ^uint64(0))
	vmwrite(fTSCOffset, s.TSCOffset)
	// the bits that VMX insists on are set behind the guest's back; PE and PG
	// are the guest's own (unrestricted guest)
	must0 := m.cap.cr0Fixed0 &^ (virt.CR0PE | virt.CR0PG)
	must4 := m.cap.cr4Fixed0
	mask0, mask4 := must0, must4
	if v.cfg.Intercept&virt.InterceptCR0Write != 0 {
		mask0 = ^uint64(1<<3 | 1<<1) // but TS and MP
	}
	if v.cfg.Intercept&virt.InterceptCR4Write != 0 {
		mask4 = ^uint64(0)
	}
	vmwrite(fGuestCR0, s.Sys[virt.CR0]|must0)
	vmwrite(fCR0Mask, mask0)
	vmwrite(fCR0Shadow, s.Sys[virt.CR0])
	vmwrite(fGuestCR4, s.Sys[virt.CR4]|must4)
	vmwrite(fCR4Mask, mask4)
	vmwrite(fCR4Shadow, s.Sys[virt.CR4])
	for i := range vmcsRegs {
		vmwrite(vmcsRegs[i].field, s.Sys[vmcsRegs[i].reg])
	}
	for i := uint32(0); i < uint32(virt.NumSegRegs); i++ {
		g := &s.Seg[i]
		vmwrite(fGuestESLimit+2*i, uint64(g.Limit))
		vmwrite(fGuestESBase+2*i, g.Base)
		if virt.SegReg(i) < virt.GDTR {
			vmwrite(fGuestES+2*i, uint64(g.Selector))
			vmwrite(fGuestESAttr+2*i, attr(g))
		}
	}
	vmwrite(fGuestRIP, c.regs.RIP)
	vmwrite(fGuestRSP, c.regs.RSP)
	vmwrite(fGuestRFLAGS, c.regs.RFLAGS|2)
	shadow := uint64(0)
	if s.Shadow {
		shadow = 1 // by STI
		if c.regs.RFLAGS&virt.FlagIF == 0 {
			shadow = 2 // by MOV SS
		}
	}
	if s.NMIMasked {
		shadow |= 8
	}
	vmwrite(fInterruptible, shadow)
	vmwrite(fActivity, 0)
	vmwrite(fPendingDebug, 0)
	c.cr2, c.guestXCR0 = s.Sys[virt.CR2], s.Sys[virt.XCR0]
}

//go:nosplit
func (v *vcpu) readGuest() {
	c, s := v.ctx, &v.s
	v.x = exitFields{
		reason:         uint32(vmread(fExitReason)),
		event:          vmread(fExitEvent),
		code:           vmread(fExitCode),
		qualification:  vmread(fQualification),
		guestPhys:      vmread(fGuestPhys),
		length:         vmread(fInsnLength),
		insn:           vmread(fInsnInfo),
		vectoring:      vmread(fVectoring),
		vectoringError: vmread(fVectoringCode),
	}
	c.regs.RIP, c.regs.RSP, c.regs.RFLAGS = vmread(fGuestRIP), vmread(fGuestRSP), vmread(fGuestRFLAGS)
	mask0, mask4 := vmread(fCR0Mask), vmread(fCR4Mask)
	s.Sys[virt.CR0] = vmread(fGuestCR0)&^mask0 | s.Sys[virt.CR0]&mask0
	s.Sys[virt.CR4] = vmread(fGuestCR4)&^mask4 | s.Sys[virt.CR4]&mask4
	s.Sys[virt.CR2] = c.cr2
	for i := range vmcsRegs {
		s.Sys[vmcsRegs[i].reg] = vmread(vmcsRegs[i].field)
	}
	for i := uint32(0); i < uint32(virt.NumSegRegs); i++ {
		g := &s.Seg[i]
		g.Limit, g.Base = uint32(vmread(fGuestESLimit+2*i)), vmread(fGuestESBase+2*i)
		if virt.SegReg(i) < virt.GDTR {
			g.Selector, g.Attr = uint16(vmread(fGuestES+2*i)), fromAttr(vmread(fGuestESAttr+2*i))
		}
	}
	shadow := vmread(fInterruptible)
	s.Shadow, s.NMIMasked = shadow&3 != 0, shadow&8 != 0
}

//go:nosplit
func (v *vcpu) writeHost() {
	gdt, idt, tr, cs, trSel := hostTables()
	vmwrite(fHostCS, cs)
	vmwrite(fHostTR, trSel)
	for f := uint32(fHostES); f < fHostTR; f += 2 {
		if f != fHostCS {
			vmwrite(f, 0)
		}
	}
	vmwrite(fHostGDTR, gdt)
	vmwrite(fHostIDTR, idt)
	vmwrite(fHostTRBase, tr)
	vmwrite(fHostCR0, cpu.CR0())
	vmwrite(fHostCR3, cpu.CR3())
	vmwrite(fHostCR4, cpu.CR4())
	vmwrite(fHostFSBase, cpu.ReadMSR(0xc0000100))
	vmwrite(fHostGSBase, cpu.ReadMSR(0xc0000101))
	vmwrite(fHostEFER, cpu.ReadMSR(0xc0000080))
	vmwrite(fHostPAT, cpu.ReadMSR(0x277))
	vmwrite(fHostSysenterCS, 0)
	vmwrite(fHostSysenterESP, 0)
	vmwrite(fHostSysenterEIP, 0)
	vmwrite(fHostRIP, exitPC())
}

//go:nosplit
func (v *vcpu) interruptible() bool { return v.ctx.regs.RFLAGS&virt.FlagIF != 0 && !v.s.Shadow }

// Run implements virt.VCPU.
func (v *vcpu) Run(e *virt.Exit) {
	why := v.guest()
	if why == virt.ReasonUnknown {
		decodeExit(&v.x, e)
		return
	}
	*e = virt.Exit{Reason: why, Code: uint64(v.x.reason)}
}

//go:nosplit
//go:noinline
func (v *vcpu) guest() virt.Reason {
	entersyscall()
	why := v.loop()
	exitsyscall()
	return why
}
