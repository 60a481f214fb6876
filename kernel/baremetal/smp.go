//go:build tamago

package baremetal

import (
	"runtime"
	"time"
	_ "unsafe" // for linkname
)

//go:linkname numCPUStartup runtime.numCPUStartup
var numCPUStartup int32

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
	h.cr3, h.target, h.arg = hostL4, apEntryPC(), addr(&cpus[i])
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
			if ncpu > i {
				numCPUStartup = int32(ncpu)
				return true
			}
		}
	}
	return false
}

// apBoot runs on an application processor, on its entry stack.
func apBoot() {
	c := pcpuAt(cpuself())
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
	armTimer(c, timerTarget(c), now)
	unlock(&klock)
}

// DropIdentity takes the low memory's identity map away, when no CPU will be
// started any more.
func DropIdentity() {
	call(callDropIdentity, 0, 0, 0, 0)
}

// NumCPU is how many CPUs are up.
func NumCPU() int { return int(ncpu) }

// Stats returns a CPU's counters.
func Stats(cpu int) CPUStats { return cpus[cpu].Stats }
