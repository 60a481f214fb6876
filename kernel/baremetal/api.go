//go:build tamago

package baremetal

import (
	"runtime"
	"sync/atomic"
	sys "syscall"
	"unsafe"

	"nidus/kernel/cpu"
	"nidus/mm"
)

// call makes one of the kernel's own calls.
//
//go:nosplit
func call(n, a, b, c, d uint64) uint64 {
	r, _, _ := sys.RawSyscall6(uintptr(n), uintptr(a), uintptr(b), uintptr(c), uintptr(d), 0, 0)
	return uint64(r)
}

// mapDevice maps physical memory that is no RAM of ours.
func mapDevice(pa, n, flags uint64) uint64 {
	lock(&memlock)
	defer unlock(&memlock)
	lo := pa &^ (page4K - 1)
	size := (pa + n + page4K - 1 - lo) &^ (page4K - 1)
	va := reserve(size, page4K)
	if va == 0 {
		return 0
	}
	for o := uint64(0); o < size; o += page4K {
		if !mapPage(va+o, lo+o, flags, page4K) {
			return 0
		}
	}
	return va + pa - lo
}

// FrameLists is the machine's free lists for Go code (mm.FrameLists): each method
// is a call of the kernel, which holds the lock with interrupts off.
type FrameLists struct{}

// Take implements mm.FrameLists.
func (FrameLists) Take(order uint, kind mm.FrameKind, zone mm.Zone) (mm.MFN, bool) {
	m := mm.MFN(call(callTake, uint64(order), uint64(kind), uint64(zone), 0))
	return m, m != mm.InvalidMFN
}

// Release implements mm.FrameLists.
func (FrameLists) Release(m mm.MFN, order uint, kind mm.FrameKind) {
	call(callRelease, uint64(m), uint64(order), uint64(kind), 0)
}

// Stats implements mm.FrameLists.
func (FrameLists) Stats() mm.FrameStats {
	s := new(mm.FrameStats) // on the heap: a goroutine's stack may move
	call(callFrameStats, addr(s), 0, 0, 0)
	return *s
}

// DirectPages is all RAM (mm.DirectMap).
type DirectPages struct{}

// Page implements mm.DirectMap.
func (DirectPages) Page(m mm.MFN) mm.Page {
	return mm.PageAt(Pointer(DirectMap + uint64(m)<<mm.PageShift))
}

// Port I/O for drivers.

func Out8(port uint16, v uint8)   { out8(port, v) }
func In8(port uint16) uint8       { return in8(port) }
func Out16(port uint16, v uint16) { out16(port, v) }
func In16(port uint16) uint16     { return in16(port) }
func Out32(port uint16, v uint32) { out32(port, v) }
func In32(port uint16) uint32     { return in32(port) }

// Affinity says on which CPUs the calling goroutine's thread runs; it is on one
// of them when Affinity returns. Preconditions: runtime.LockOSThread.
func Affinity(hard, soft uint64) bool { return call(callAffinity, hard, soft, 0, 0) == 0 }

// Spare makes the host's threads wait for another CPU of the host's for a moment before one takes
// that of the calling vcpu's thread (sched.Scheduler.Spare). Preconditions: EnterVCPU.
func Spare() { call(callSpare, 0, 0, 0, 0) }

// OnCPU runs f on a CPU.
func OnCPU(cpu int, f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		Affinity(1<<cpu, 1<<cpu)
		defer Affinity(^uint64(0), ^uint64(0))
		f()
	}()
	<-done
}

// Deadline sets the time (ns, 0: none) at which *word becomes 1 and the calling
// thread, if it is in a guest, leaves it. FutexWait forgets it; what the runtime
// lets the thread wait for otherwise does not.
// Preconditions: runtime.LockOSThread; the word lies outside Go's heap, or stays
// reachable.
func Deadline(at int64, word *uint32) { call(callDeadline, uint64(at), addr(word), 0, 0) }

// What the word of EnterVCPU says of a vcpu.
const (
	InGuest  = iota // or about to be, or just back: its thread may be held up
	InHost          // it may have what others wait for
	HostLate        // set by the scheduler in place of InHost: its domain is over its cap
)

// EnterVCPU makes the calling thread a vcpu's, in a group of sched (a domain) with
// its weight and cap. A cap holds up a thread that is in its guest, by the word at place;
// one in the host's code goes on, as it may have locks, and is to call Rest before it enters
// its guest if the word has become HostLate.
// Preconditions: runtime.LockOSThread, until the thread ends; place stays reachable until
// LeaveVCPU.
func EnterVCPU(group, weight, percent uint64, place *uint32) {
	call(callVCPU, group, weight, percent, addr(place))
}

// LeaveVCPU makes the calling thread one of the host's again, which ends as such: the runtime
// takes locks for that.
func LeaveVCPU() { call(callLeaveVCPU, 0, 0, 0, 0) }

// Rest lets a vcpu's thread wait for its domain's next budget, if it has none left.
func Rest() { call(callRest, 0, 0, 0, 0) }

// ResetGroup forgets a group whose threads have ended.
func ResetGroup(group uint64) { call(callResetGroup, group, 0, 0, 0) }

// Share changes the share and the affinity of a vcpu's thread.
func Share(tid, group, weight, percent, hard, soft uint64) {
	sys.RawSyscall6(callShare, uintptr(tid), uintptr(group), uintptr(weight), uintptr(percent), uintptr(hard), uintptr(soft))
}

// ThreadID names the calling goroutine's thread.
func ThreadID() uint64 { return uint64(sys.Gettid()) }

// ThreadTime tells how long a thread has run, in ns, where, and whether now.
func ThreadTime(tid uint64) (ns int64, cpu int, running bool) {
	if tid-1 >= MaxThreads {
		return 0, -1, false
	}
	t := &threads[tid-1]
	ns, running = atomic.LoadInt64(&t.runNS), t.state == threadRunning
	if running {
		ns += max(Nanotime()-atomic.LoadInt64(&t.since), 0)
	}
	return ns, int(t.cpu), running
}

// KickCPU makes a CPU take an interrupt; what runs there leaves its guest.
func KickCPU(cpu uint64) {
	f := cli()
	kick(pcpuOf(cpu))
	restore(f)
}

// KickSoon is KickCPU of *cpu in lateKick ns, if *kick and *running are not 0 then: what the guest there is to notice
// may wait until it leaves by itself. At once if the caller is a vcpu's thread, whose own guest would pay instead.
// Preconditions: the words lie outside Go's heap, and stay readable.
func KickSoon(kick, running *uint32, cpu *uint64) {
	call(callKickSoon, addr(kick), addr(running), addr(cpu), 0)
}

// FutexWait blocks while the word at p is v, until FutexWake or, if at is not 0,
// the time at. It counts as a system call: the collector doesn't wait for it.
func FutexWait(p *uint32, v uint32, at int64) {
	const wait = 128
	if at == 0 {
		sys.Syscall6(callWait, uintptr(unsafe.Pointer(p)), wait, uintptr(v), 0, 0, 0)
		return
	}
	d := at - Nanotime()
	if d <= 0 {
		return
	}
	ts := [2]int64{d / 1e9, d % 1e9}
	sys.Syscall6(callWait, uintptr(unsafe.Pointer(p)), wait, uintptr(v), uintptr(unsafe.Pointer(&ts)), 0, 0)
}

// FutexWake wakes one waiter.
func FutexWake(p *uint32) {
	const futex, wake = 202, 129
	sys.RawSyscall6(futex, uintptr(unsafe.Pointer(p)), wake, 1, 0, 0, 0)
}

// WriteConsole sends to the serial line, polled.
func WriteConsole(b []byte) {
	if len(b) > 0 {
		sys.Write(1, b)
	}
}

// Load32 and Store32 reach device registers mapped by MapMMIO.
//
//go:noinline
func Load32(va uint64) uint32 { return ld32(va) }

//go:noinline
func Store32(va uint64, v uint32) { st32(va, v) }

// Vectors that RouteISA may hand out.
const (
	FirstDeviceVector = vecFirstDevice
	LastDeviceVector  = vecLastDevice
	// HypercallVector is among them, and no device's: 32-bit PV guests use it.
	HypercallVector = vecHypercall
)

// CPU is the one that the caller runs on, or just ran on.
func CPU() int { return int(pcpuAt(cpuself()).id) }

// APICID returns a CPU's local APIC id; X2APIC tells which mode is in use.
func APICID(cpu int) uint32 { return uint32(pcpuOf(cpu).apicid) }
func X2APIC() bool          { return x2apic }

// Wall is the time of day in ns since 1970.
func Wall() int64 { return Nanotime() + atomic.LoadInt64(&wallOffset) }

// BusyTime is how long a CPU did something else than vcpus or nothing, in ns.
func BusyTime(cpu int) int64 {
	c := pcpuOf(cpu)
	busy := Nanotime() - atomic.LoadInt64(&c.Stats.IdleNS) - atomic.LoadInt64(&c.Stats.VCPUNS)
	// What runs now is in no sum yet. It may change meanwhile, by a little.
	if t := threadAt(c.cur); t.idle != 0 || t.kickWord != 0 {
		busy -= max(Nanotime()-atomic.LoadInt64(&t.since), 0)
	}
	return max(busy, 0)
}

// Waiting tells whether a thread waits for a CPU, whichever. If not, who yields goes on.
//
//go:nosplit
func Waiting() bool { return policy.Waiting() }

// Yield lets other threads run.
func Yield() {
	if !Waiting() {
		return
	}
	const schedYield = 24
	sys.RawSyscall(schedYield, 0, 0, 0)
}

// SlowStrings tells the Go runtime that this machine executes string instructions word by word,
// whatever CPUID says of them, as QEMU's TCG does: it clears memory by SSE then, and copies by words of 8 bytes.
//
//go:linkname SlowStrings runtime.nidusSlowStrings
func SlowStrings()

// EnableXSAVE lets the calling CPU switch x87, SSE and AVX state for guests. Go's
// own code never uses AVX: it looked before this, and is preempted with FXSAVE.
// Preconditions: called once on each CPU, by OnCPU.
func EnableXSAVE() {
	const osxsave, components = 1 << 18, 7
	if _, _, c, _ := cpu.CPUID(1, 0); c>>26&1 == 0 {
		return
	}
	a, _, _, _ := cpu.CPUID(0xd, 0)
	wrcr4(cpu.CR4() | osxsave)
	cpu.SetXCR0(uint64(a) & components)
}
