package hypercall

import (
	"encoding/binary"

	"nidus/kernel/xenabi"
	"nidus/mm"
)

// Types of memory that HVMOP_get_mem_type tells (hvm/hvm_op.h, hvmmem_type_t).
const (
	memTypeRAM    = 0
	memTypeRAMRO  = 1
	memTypeMMIODM = 2
)

// lowestVector is the first vector that is not an exception's.
const lowestVector = 16

func hvmOp(c *call) int64 {
	cmd, arg := c.arg[0], c.arg[1]
	switch cmd {
	case xenabi.HVMOpSetParam:
		return c.setParam(arg)
	case xenabi.HVMOpGetParam:
		return c.getParam(arg)
	case xenabi.HVMOpSetEvtchnUpcallVector:
		return c.upcallVector(arg)
	case xenabi.HVMOpGetTime:
		return c.write(arg, &xenabi.HVMGetTime{Now: uint64(c.d.Host.Clock.Now())})
	case xenabi.HVMOpFlushTLBs:
		if arg != 0 {
			return errno(xenabi.EINVAL)
		}
		c.d.FlushGuest(nil)
		return 0
	case xenabi.HVMOpGetMemType:
		return c.memType(arg)
	case xenabi.HVMOpXentrace:
		return 0
	case xenabi.HVMOpPagetableDying:
		// There are no shadow page tables; and a guest that hears of it here
		// does not call at the end of each process.
		return errno(xenabi.ENOSYS)
	case xenabi.HVMOpAltP2M:
		return errno(xenabi.EOPNOTSUPP)
	case xenabi.HVMOpGuestRequestVMEvent: // nobody listens
		if arg != 0 {
			return errno(xenabi.EINVAL)
		}
		return 0
	}
	return c.unknown("hvm_op", cmd)
}

// readParam reads the argument that names a parameter of the guest's.
func (c *call) readParam(arg uint64, a *xenabi.HVMParam) int64 {
	if !c.read(arg, a) {
		return errno(xenabi.EFAULT)
	}
	if a.Index >= xenabi.HVMNrParams {
		return errno(xenabi.EINVAL)
	}
	return xenabi.Result(c.own(a.DomID))
}

// setParam lets a guest set the parameters that are its own.
func (c *call) setParam(arg uint64) int64 {
	var a xenabi.HVMParam
	if r := c.readParam(arg, &a); r != 0 {
		return r
	}
	switch a.Index {
	case xenabi.HVMParamCallbackIRQ:
		LatchWidth(c.v)
	case xenabi.HVMParamVM86TSS, xenabi.HVMParamVM86TSSSized: // has no effect here
	default:
		return errno(xenabi.EPERM)
	}
	c.d.SetParam(a.Index, a.Value)
	return 0
}

func (c *call) getParam(arg uint64) int64 {
	var a xenabi.HVMParam
	if r := c.readParam(arg, &a); r != 0 {
		return r
	}
	switch a.Index {
	case xenabi.HVMParamCallbackIRQ, xenabi.HVMParamStorePFN, xenabi.HVMParamStoreEvtchn,
		xenabi.HVMParamConsolePFN, xenabi.HVMParamConsoleEvtchn, xenabi.HVMParamVM86TSS,
		xenabi.HVMParamVM86TSSSized, xenabi.HVMParamACPIIOPortsLocation,
		xenabi.HVMParamVMGenerationIDAddr, xenabi.HVMParamX87FIPWidth:
	default:
		return errno(xenabi.EPERM)
	}
	a.Value, _ = c.d.Param(a.Index)
	return c.write(arg, &a)
}

func (c *call) upcallVector(arg uint64) int64 {
	var a xenabi.HVMEvtchnUpcallVector
	if !c.read(arg, &a) {
		return errno(xenabi.EFAULT)
	}
	v := c.vcpu(uint64(a.VCPU))
	switch {
	case v == nil:
		return errno(xenabi.ENOENT)
	case a.Vector < lowestVector:
		return errno(xenabi.EINVAL)
	case v == c.v:
		v.SetUpcallVector(a.Vector)
	default:
		v.OrderUpcallVector(a.Vector)
	}
	return 0
}

// memType: domid, mem_type (out), padding, pfn (hvm/hvm_op.h, xen_hvm_get_mem_type).
func (c *call) memType(arg uint64) int64 {
	b, ok := c.in(arg, 16)
	if !ok {
		return errno(xenabi.EFAULT)
	}
	if err := c.own(binary.LittleEndian.Uint16(b)); err != nil {
		return xenabi.Result(err)
	}
	t := uint16(memTypeMMIODM)
	switch c.d.Space.P2M().Lookup(mm.GFN(binary.LittleEndian.Uint64(b[8:]))).Type {
	case mm.TypeRAM, mm.TypePoD, mm.TypeLogDirty, mm.TypeGrantRW, mm.TypeForeign, mm.TypeSpecial:
		t = memTypeRAM
	case mm.TypeRAMRO, mm.TypeGrantRO:
		t = memTypeRAMRO
	}
	binary.LittleEndian.PutUint16(b[2:], t)
	return c.out(arg, b)
}
