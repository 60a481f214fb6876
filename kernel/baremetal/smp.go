//go:build tamago

package baremetal

import (
	"runtime"
	"sync/atomic"
	"time"
	_ "unsafe" // for linkname
)

//go:linkname numCPUStartup runtime.numCPUStartup
var numCPUStartup int32

// pcpu.start, which the CPU itself and the one that starts it set by
// compare-and-swap.
const (
	startWanted = iota
	startUp
	startGivenUp
)

// StartCPU starts the CPU with an APIC id (Intel SDM volume 3, 8.4.4: INIT,
// STARTUP) with its code at the page trampoline below 1 MiB. It tells whether
// the CPU came up within a second.
func StartCPU(apicid uint32, trampoline uint64) bool {
	i := ncpu
	if i >= MaxCPUs {
		return false
	}
	h := handoverAt()
	for k := uint64(0); k < h.trampLen; k++ {
		st8(DirectMap+trampoline+k, ld8(DirectMap+h.tramp+k))
	}
	call(callCPUInit, i, uint64(apicid), 0, 0)
	c := pcpuOf(i)
	atomic.StoreUint32(&c.start, startWanted)
	h.cr3, h.target, h.arg = hostL4, apEntryPC(), addr(c)
	send := func(command uint32) {
		f := cli()
		ipi(uint64(apicid), command)
		restore(f)
	}
	send(icrINIT)
	time.Sleep(10 * time.Millisecond)
	for range 2 {
		send(icrStartup | uint32(trampoline>>12))
		for t := Nanotime() + 5e8; Nanotime() < t; runtime.Gosched() {
			if atomic.LoadUint64(&ncpu) > i {
				break
			}
		}
		if atomic.LoadUint64(&ncpu) > i {
			break
		}
	}
	// One that comes only now must find neither its block nor the next CPU's.
	if atomic.CompareAndSwapUint32(&c.start, startWanted, startGivenUp) {
		send(icrINIT)
		time.Sleep(10 * time.Millisecond)
		return false
	}
	for atomic.LoadUint64(&ncpu) == i {
		runtime.Gosched()
	}
	numCPUStartup = int32(ncpu)
	return true
}

// apBoot runs on an application processor, on its entry stack.
func apBoot() {
	c := pcpuAt(cpuself())
	for !atomic.CompareAndSwapUint32(&c.start, startWanted, startUp) {
		halt() // too late; interrupts are off
	}
	loadTables(addr(&c.gdtr), addr(&idtr))
	cpuFeatures()
	apicInitCPU(c)
	lock(&klock)
	c.cur = c.idle
	threadAt(c.idle).since = Nanotime()
	c.online = 1
	ncpu = c.id + 1
	now := Nanotime()
	policy.CPUOnline(int(c.id), now)
	pick(c, now)
	unlockAndArm(c, now)
}

// DropIdentity takes the low memory's identity map away, when no CPU will be
// started any more.
func DropIdentity() {
	call(callDropIdentity, 0, 0, 0, 0)
}

// NumCPU is how many CPUs are up.
func NumCPU() int { return int(ncpu) }

// Stats returns a CPU's counters.
func Stats(cpu int) CPUStats { return pcpuOf(cpu).Stats }
