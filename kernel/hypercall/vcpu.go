package hypercall

import (
	"encoding/binary"
	"math"

	"nidus/kernel/domain"
	"nidus/kernel/xenabi"
	"nidus/mm"
	"nidus/personalities/paging"
)

// vcpu returns the domain's vcpu of that number, or nil.
func (c *call) vcpu(n uint64) *domain.VCPU {
	if n >= uint64(len(c.d.VCPUs)) {
		return nil
	}
	return c.d.VCPUs[n]
}

func vcpuOp(c *call) int64 {
	cmd, arg := uint32(c.arg[0]), c.arg[2]
	v := c.vcpu(uint64(uint32(c.arg[1])))
	if v == nil {
		return errno(xenabi.ENOENT)
	}
	switch cmd {
	case xenabi.VCPUOpInitialise:
		return c.initialise(v, arg)
	case xenabi.VCPUOpUp:
		if !v.Initialised() {
			return errno(xenabi.EINVAL)
		}
		if !v.Up() {
			v.SetUp(true)
		}
		return 0
	case xenabi.VCPUOpDown:
		v.Down()
		return 0
	case xenabi.VCPUOpIsUp:
		if v.Up() {
			return 1
		}
		return 0
	case xenabi.VCPUOpGetRunstateInfo:
		return c.out(arg, v.Runstate(c.w))
	case xenabi.VCPUOpRegisterRunstateMemoryArea:
		return c.runstateArea(v, arg)
	case xenabi.VCPUOpRegisterVCPUTimeMemoryArea:
		return c.timeArea(v, arg)
	case xenabi.VCPUOpSetSingleshotTimer:
		return c.singleshot(v, arg)
	case xenabi.VCPUOpStopSingleshotTimer:
		if v != c.v {
			return errno(xenabi.EINVAL)
		}
		v.SetSingleshot(0)
		return 0
	case xenabi.VCPUOpSetPeriodicTimer:
		var a xenabi.VCPUSetPeriodicTimer
		if !c.read(arg, &a) {
			return errno(xenabi.EFAULT)
		}
		if a.PeriodNs < domain.MinPeriod || a.PeriodNs > math.MaxInt64/2 {
			return errno(xenabi.EINVAL)
		}
		c.periodic(v, int64(a.PeriodNs))
		return 0
	case xenabi.VCPUOpStopPeriodicTimer:
		c.periodic(v, 0)
		return 0
	case xenabi.VCPUOpRegisterVCPUInfo:
		return c.registerInfo(v, arg)
	case xenabi.VCPUOpSendNMI:
		if arg != 0 {
			return errno(xenabi.EINVAL)
		}
		c.d.NMI(v.ID)
		return 0
	case xenabi.VCPUOpGetPhysID: // only for a vcpu that stays on one CPU
		return errno(xenabi.EINVAL)
	}
	return c.unknown("vcpu_op", uint64(cmd))
}

func (c *call) periodic(v *domain.VCPU, ns int64) {
	if v == c.v {
		v.SetPeriodic(ns)
	} else {
		v.OrderPeriodic(ns)
	}
}

// singleshot: timeout_abs_ns, flags, at the same place in both widths.
func (c *call) singleshot(v *domain.VCPU, arg uint64) int64 {
	if v != c.v {
		return errno(xenabi.EINVAL)
	}
	b, ok := c.in(arg, 12)
	if !ok {
		return errno(xenabi.EFAULT)
	}
	at := deadline(binary.LittleEndian.Uint64(b))
	if binary.LittleEndian.Uint32(b[8:])&xenabi.VCPUSingleshotTimerFuture != 0 && at < c.d.Host.Clock.Now() {
		return errno(xenabi.ETIME)
	}
	v.SetSingleshot(at)
	return 0
}

// deadline makes a guest's time a timer's: 0 would be none.
func deadline(t uint64) int64 { return int64(min(max(t, 1), math.MaxInt64)) }

// translate finds n bytes that a guest registers by address: where they are, and
// the frame where they go on if that is another.
func (c *call) translate(a, n uint64) (first mm.GuestPhys, next mm.GFN, ok bool) {
	w := c.v.View()
	m, err := w.Translate(mm.GuestVirt(a), paging.Write)
	if err != nil {
		return 0, 0, false
	}
	next = mm.InvalidGFN
	if m.Left < n {
		m2, err := w.Translate(mm.GuestVirt(a+m.Left), paging.Write)
		if err != nil {
			return 0, 0, false
		}
		next = m2.Phys.Frame()
	} else if over := m.Phys + mm.GuestPhys(n) - 1; over.Frame() != m.Phys.Frame() {
		next = over.Frame() // within one large page
	}
	return m.Phys, next, true
}

// area reads the address in a struct vcpu_register_*_memory_area.
func (c *call) area(arg uint64) (uint64, bool) {
	var a xenabi.VCPURegisterRunstate
	ok := c.read(arg, &a)
	if c.w == xenabi.Guest32 { // a handle in the first word of a union
		a.Addr = uint64(uint32(a.Addr))
	}
	return a.Addr, ok
}

func (c *call) runstateArea(v *domain.VCPU, arg uint64) int64 {
	addr, ok := c.area(arg)
	if !ok {
		return errno(xenabi.EFAULT)
	}
	size := xenabi.SharedInfoOf(c.d.Events.Width()).RunstateSize
	at, next, ok := c.translate(addr, uint64(size))
	if !ok {
		return errno(xenabi.EFAULT)
	}
	return xenabi.Result(v.SetRunstateArea(at, next))
}

func (c *call) timeArea(v *domain.VCPU, arg uint64) int64 {
	addr, ok := c.area(arg)
	if !ok {
		return errno(xenabi.EFAULT)
	}
	at, _, ok := c.translate(addr, xenabi.TimeSize)
	switch {
	case !ok:
		return errno(xenabi.EFAULT)
	case v == c.v:
		return xenabi.Result(v.SetTimeArea(at))
	}
	return xenabi.Result(v.OrderTimeArea(at))
}

func (c *call) registerInfo(v *domain.VCPU, arg uint64) int64 {
	var a xenabi.VCPURegisterInfo
	if !c.read(arg, &a) {
		return errno(xenabi.EFAULT)
	}
	if err := c.d.Events.RegisterVCPUInfo(uint32(v.ID), mm.GFN(a.MFN), a.Offset); err != nil {
		return xenabi.Result(err)
	}
	v.InfoMoved()
	if v == c.v {
		v.UpdateTime(true)
	} else {
		v.OrderTime()
	}
	return 0
}
