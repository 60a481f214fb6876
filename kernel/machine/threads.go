//go:build tamago

package machine

import (
	"nidus/kernel/baremetal"
	"nidus/kernel/domain"
)

// Threads implements domain.Threads with the seam's threads.
type Threads struct{}

// Wait implements domain.Threads.
func (Threads) Wait(word *uint32, v uint32, at int64) { baremetal.FutexWait(word, v, at) }

// Wake implements domain.Threads.
func (Threads) Wake(word *uint32) { baremetal.FutexWake(word) }

// Deadline implements domain.Threads.
func (Threads) Deadline(at int64, word *uint32) { baremetal.Deadline(at, word) }

// What the word says is the same for both: an index that is not 0 does not compile.
var _ = [1]int{}[domain.InGuest-baremetal.InGuest+domain.InHost-baremetal.InHost+domain.HostLate-baremetal.HostLate]

// Enter implements domain.Threads.
func (t Threads) Enter(s domain.Sched, place *uint32) uint64 {
	baremetal.EnterVCPU(uint64(s.Group), uint64(s.Weight), uint64(s.Cap), place)
	baremetal.Affinity(s.Hard&s.Possible, s.Soft)
	if s.Spared {
		baremetal.Spare()
	}
	return baremetal.ThreadID()
}

// Leave implements domain.Threads.
func (Threads) Leave() { baremetal.LeaveVCPU() }

// Rest implements domain.Threads.
func (Threads) Rest() { baremetal.Rest() }

// Self implements domain.Threads.
func (Threads) Self() uint64 { return baremetal.ThreadID() }

// Update implements domain.Threads.
func (Threads) Update(thread uint64, s domain.Sched) {
	baremetal.Share(thread, uint64(s.Group), uint64(s.Weight), uint64(s.Cap), s.Hard&s.Possible, s.Soft)
}

// CPUTime implements domain.Threads.
func (Threads) CPUTime(thread uint64) (ns int64, cpu int, running bool) {
	return baremetal.ThreadTime(thread)
}

// Forget implements domain.Threads.
func (Threads) Forget(group uint16) { baremetal.ResetGroup(uint64(group)) }

// Notify implements domain.Threads.
func (Threads) Notify(cpu uint64) { baremetal.KickCPU(cpu) }

// NotifySoon implements domain.Threads.
func (Threads) NotifySoon(kick, running *uint32, cpu *uint64) { baremetal.KickSoon(kick, running, cpu) }

// Clock implements domain.Clock.
type Clock struct{}

// Now implements domain.Clock.
func (Clock) Now() int64 { return baremetal.Nanotime() }

// Wall implements domain.Clock.
func (Clock) Wall() int64 { return baremetal.Wall() }

// TSC implements domain.Clock.
func (Clock) TSC() uint64 { return baremetal.TSC() }

// TSCKHz implements domain.Clock.
func (Clock) TSCKHz() uint32 { return uint32((baremetal.TSCHz() + 500) / 1000) }

// Yield implements domain.Threads.
func (Threads) Yield() { baremetal.Yield() }
