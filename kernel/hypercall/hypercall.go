// Package hypercall carries out what guests ask the hypervisor for. It reads the
// registers and the memory of the calling vcpu, and leaves the result there; how
// the vcpu goes on is the Outcome, for the personality's exit loop.
//
// The ABI is Xen's public headers, as package xenabi has them: xen.h (numbers,
// multicall, console_io), arch-x86/xen-x86_64.h and xen-x86_32.h (registers),
// version.h, memory.h, event_channel.h, grant_table.h, hvm/hvm_op.h, vcpu.h,
// hvm/hvm_vcpu.h, sched.h.
//
// Each call does a bounded amount of work. What is left then, the guest asks for
// by itself: the registers name the rest, and the instruction is not skipped.
package hypercall

import (
	"nidus/kernel/console"
	"nidus/kernel/domain"
	"nidus/kernel/evtchn"
	"nidus/kernel/gnttab"
	"nidus/kernel/virt"
	"nidus/kernel/xenabi"
	"nidus/mm"
)

// Kind says how a vcpu goes on after a hypercall.
type Kind uint8

// The kinds of Outcome.
const (
	// Done: skip the instruction.
	Done Kind = iota
	// Repeat: don't skip it. The registers say what the rest is, so that the
	// guest makes the call for that, once interrupts had their chance.
	Repeat
	// Block: skip, then wait for an event, as after HLT with interrupts on.
	// What is pending already ends the wait.
	Block
	// Poll: skip, then wait for an event or the time At, and in any case call
	// End.
	Poll
	// Yield: skip, and let somebody else run.
	Yield
)

// Outcome is what the exit loop does after a hypercall.
type Outcome struct {
	Kind Kind
	At   int64 // Poll: system time in ns; 0: no limit
}

// End takes back what a Poll has set up, after the wait.
func (o Outcome) End(v *domain.VCPU) {
	if o.Kind == Poll {
		v.Domain.Events.EndPoll(v.ID)
	}
}

// handler does one hypercall and returns its result. It may end the call with
// another Outcome than Done.
type handler func(c *call) int64

// Table says which hypercalls a personality has, by number.
type Table [xenabi.HypercallArch7 + 1]handler

// call is a vcpu's hypercall. There is one for each vcpu, made at its first
// call, so that the hot ones allocate nothing.
type call struct {
	v       *domain.VCPU
	d       *domain.Domain
	table   *Table
	w       xenabi.Width
	nr      uint64
	arg     [6]uint64
	outcome Outcome
	nested  bool // by multicall
	left    bool // iret: the registers are not the caller's any more

	logged uint64 // a bit for each number that was logged as unknown
	ports  [evtchn.MaxPollPorts]uint32
	gfns   [memBatch]mm.GFN
	buf    [1024]byte
	grants gnttab.Caller
	codec  xenabi.Codec
	ext    xenabi.MMUExtOp
	frames pvFrames // of a PV guest
}

// Handle does the hypercall of a PVH or HVM guest's vcpu, which exited at VMCALL
// or VMMCALL. It runs on the vcpu's goroutine.
func Handle(v *domain.VCPU) Outcome { return hvm.handle(v) }

func (t *Table) handle(v *domain.VCPU) Outcome {
	r := v.HV.Regs()
	bits := v.Bits()
	if v.HV.Get(virt.CR0)&virt.CR0PE == 0 || bits == 16 || v.CPL() != 0 {
		eperm := errno(xenabi.EPERM)
		if r.RAX = uint64(eperm); bits != 64 {
			r.RAX = uint64(uint32(eperm))
		}
		return Outcome{}
	}
	w := xenabi.Guest64
	if bits != 64 {
		w = xenabi.Guest32
	}
	return t.call(v, w)
}

// call does the hypercall that the registers name, for a caller that may make it.
func (t *Table) call(v *domain.VCPU, w xenabi.Width) Outcome {
	c, ok := v.Hypercall.(*call)
	if !ok {
		c = &call{v: v, d: v.Domain}
		v.Hypercall = c
	}
	c.table, c.w = t, w
	r := v.HV.Regs()
	c.outcome, c.nested, c.left = Outcome{}, false, false
	if w == xenabi.Guest64 {
		c.nr = r.RAX
		c.arg = [6]uint64{r.RDI, r.RSI, r.RDX, r.R10, r.R8, r.R9}
	} else {
		c.nr = uint64(uint32(r.RAX))
		c.arg = [6]uint64{uint64(uint32(r.RBX)), uint64(uint32(r.RCX)), uint64(uint32(r.RDX)),
			uint64(uint32(r.RSI)), uint64(uint32(r.RDI)), uint64(uint32(r.RBP))}
	}
	res := c.do()
	switch {
	case c.left:
	case c.outcome.Kind == Repeat && w == xenabi.Guest64:
		r.RDI, r.RSI, r.RDX, r.R10, r.R8, r.R9 = c.arg[0], c.arg[1], c.arg[2], c.arg[3], c.arg[4], c.arg[5]
	case c.outcome.Kind == Repeat:
		for i, p := range [6]*uint64{&r.RBX, &r.RCX, &r.RDX, &r.RSI, &r.RDI, &r.RBP} {
			*p = uint64(uint32(c.arg[i]))
		}
	case w == xenabi.Guest64:
		r.RAX = uint64(res)
	default:
		r.RAX = uint64(uint32(res))
	}
	return c.outcome
}

// do calls the handler.
func (c *call) do() int64 {
	if c.nr < uint64(len(c.table)) {
		if h := c.table[c.nr]; h != nil {
			return h(c)
		}
	}
	return c.unknown("hypercall", c.nr)
}

// errno is an error, or 0 for none, as a result.
func errno(e xenabi.Errno) int64 { return -int64(e) }

// unknown logs, once for each domain, that there is no such call.
func (c *call) unknown(what string, n uint64) int64 {
	// Not more than once for each vcpu does it even come to the log's lock.
	if what == "hypercall" && n < 64 {
		if c.logged>>n&1 != 0 {
			return errno(xenabi.ENOSYS)
		}
		c.logged |= 1 << n
	}
	c.d.Host.Log.GuestOncef(c.d.ID, what, n, console.LevelInfo, "%s %d is not implemented", what, n)
	return errno(xenabi.ENOSYS)
}

// LatchWidth makes the layout of shared_info the one of the code that runs on v:
// when the hypercall page is written, and when the callback is set.
func LatchWidth(v *domain.VCPU) {
	w := xenabi.Guest32
	if v.Bits() == 64 {
		w = xenabi.Guest64
	}
	// The width is one of the two, so there is no error.
	_ = v.Domain.LatchWidth(w)
}
