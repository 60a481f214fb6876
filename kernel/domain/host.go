// Package domain is what a domain and a vcpu are: their memory, event channels,
// grants, clocks and states, how they start, stop, block and end. It knows no
// personality: what a vcpu does between two entries into its guest is a
// function that the personality gives to Start.
//
// The ABI is Xen's public headers: xen.h (shared_info, vcpu_info), sched.h
// (shutdown reasons), vcpu.h (runstates, timers).
package domain

import (
	"nidus/kernel/console"
	"nidus/kernel/evtchn"
	"nidus/kernel/gnttab"
	"nidus/kernel/machine/mca"
	"nidus/kernel/virt"
	"nidus/kernel/xenstore"
	"nidus/mm"
)

// Host is the machine as domains use it. All of it is safe for concurrent use.
type Host struct {
	Memory *mm.Pool
	Virt   virt.Machine
	Hub    *evtchn.Hub
	// Dom0 holds the hypervisor's ends of the guests' console and store.
	Dom0   *evtchn.Domain
	Store  *xenstore.Store
	Grants gnttab.Tables // of the domains
	Log    *console.Log
	Clock  Clock
	Thread Threads
	// PV is what PV domains need; nil: there can be none.
	PV *PVHost
	// LargestPage is the order of the largest page that nested tables may
	// have: 9 or 18.
	LargestPage uint
	// TSCReliable says that the time-stamp counters of all CPUs agree and keep
	// their rate, so that guests may read them.
	TSCReliable bool
	// MachineCheck looks at what the CPUs have recorded after a machine check
	// that came while a domain ran, and says whether that domain can go on. It
	// doesn't come back if the host can't. Nil on a host without.
	MachineCheck func(running mm.DomID) mca.Verdict
}

// Kinds of guests in xen_version's list (version.h, XENVER_capabilities).
const (
	capabilitiesPV  = "xen-3.0-x86_64 xen-3.0-x86_32p "
	capabilitiesHVM = "hvm-3.0-x86_32 hvm-3.0-x86_32p hvm-3.0-x86_64 "
)

// Capabilities names the kinds of guests that there can be on this machine, with a space
// behind each.
func (h *Host) Capabilities() string {
	kinds := ""
	if h.PV != nil {
		kinds += capabilitiesPV
	}
	if h.Virt != nil {
		kinds += capabilitiesHVM
	}
	return kinds
}

// Clock is the host's time.
type Clock interface {
	// Now is the time since boot in ns: Xen's system time.
	Now() int64
	// Wall is the time of day in ns since 1970.
	Wall() int64
	// TSC and TSCKHz are the time-stamp counter and its rate.
	TSC() uint64
	TSCKHz() uint32
}

// What the word of Threads.Enter says of a vcpu.
const (
	InGuest  = iota // or about to be, or just back
	InHost          // in the host's code, where it may have locks
	HostLate        // set by the scheduler in place of InHost: the domain is over its cap
)

// Threads is how a vcpu's goroutine waits, and what it tells the scheduler.
type Threads interface {
	// Wait blocks while *word is v, until Wake, or the time at (0: none).
	Wait(word *uint32, v uint32, at int64)
	Wake(word *uint32)
	// Deadline makes *word 1 at the time at (0: never) and takes the calling
	// thread out of its guest. Wait forgets it.
	Deadline(at int64, word *uint32)
	// Enter makes the calling goroutine's thread, which stays its own, a
	// vcpu's, and returns its number. A cap holds the thread up only while *place is
	// InGuest.
	Enter(s Sched, place *uint32) (thread uint64)
	// Leave ends what Enter began, before the thread ends; *place may go then.
	Leave()
	// Rest waits for the domain's next budget, if it is over its cap.
	Rest()
	// Yield lets other threads run.
	Yield()
	// Self is the calling goroutine's thread.
	Self() uint64
	// Update changes what Enter was told, for another thread.
	Update(thread uint64, s Sched)
	// CPUTime is how long a thread has run, in ns, where, and whether now.
	CPUTime(thread uint64) (ns int64, cpu int, running bool)
	// Forget drops a group whose threads have ended.
	Forget(group uint16)
	// Notify makes a CPU take an interrupt.
	Notify(cpu uint64)
	// NotifySoon is virt.Config's.
	NotifySoon(kick, running *uint32, cpu *uint64)
}

// Sched is a vcpu's share of the machine: see package sched.
type Sched struct {
	Group      uint16 // of package sched: one for each domain
	Weight     int    // credit2: 1 to 65535
	Cap        int    // percent of a CPU for the whole domain; 0: none
	Hard, Soft uint64 // CPUs
	Possible   uint64 // CPUs that it can run on at all: Hard and Soft choose among them
	Spared     bool   // the host's threads interrupt it only after they have waited for a moment
}

// Format returns the layout of nested tables that the machine uses. Where it uses none there
// are only PV domains, whose tables are empty.
func (h *Host) Format() *mm.Format {
	if h.Virt != nil && h.Virt.Features().Nested == virt.FormatEPT {
		return mm.EPT
	}
	return mm.NPT
}
