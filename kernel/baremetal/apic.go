//go:build tamago

package baremetal

import (
	"nidus/kernel/cpu"
	"nidus/kernel/trace"
)

// The local APIC of each CPU, through its registers (xAPIC) or MSRs (x2APIC):
// Intel SDM volume 3, chapter 10.

// Vectors of our own; the highest wins.
const (
	vecDebug        = 1
	vecBreakpoint   = 3
	vecOverflow     = 4
	vecNMI          = 2
	vecDoubleFault  = 8
	vecPageFault    = 14
	vecHypercall    = 0x82 // of 32-bit PV guests
	vecMachineCheck = 18
	vecSpurious     = 0xff
	vecKick         = 0xfe
	vecTimer        = 0xfd
	vecFlush        = 0xfc
	vecIdle         = 0xfb // no interrupt: the idle thread's call
	vecLastDevice   = 0xef
	vecFirstDevice  = 0x30
)

const (
	apicID      = 0x20
	apicVersion = 0x30
	apicTPR     = 0x80
	apicEOI     = 0xb0
	apicSVR     = 0xf0
	apicICRLow  = 0x300
	apicICRHigh = 0x310
	apicTimer   = 0x320
	apicLINT0   = 0x350
	apicLINT1   = 0x360
	apicCount   = 0x380
	apicCurrent = 0x390
	apicDivide  = 0x3e0

	msrAPICBase    = 0x1b
	msrX2APIC      = 0x800
	msrTSCDeadline = 0x6e0

	icrINIT    = 0x4500
	icrStartup = 0x4600
	icrNMI     = 0x4400
	icrFixed   = 0x4000
	icrPending = 1 << 12

	apicOn = 1<<8 | vecSpurious // in apicSVR

	lvtMasked      = 1 << 16
	lvtPeriodic    = 1 << 17
	lvtTSCDeadline = 2 << 17
	lvtNMI         = 4 << 8
)

var (
	x2apic      bool
	tscDeadline bool
	apicBase    uint64 = MMIOBase + 0xfee00000
	apicHz      uint64 // of the timer's input, undivided

	// losesIRQs: QEMU's TCG, under which a VMRUN with a virtual interrupt can make
	// a CPU forget that its APIC has an interrupt, until the next one comes
	// (docs/exit.md). Interrupts and timers are also so slow there that idle CPUs poll (idle.go).
	losesIRQs bool
)

// Times in ns, where interrupts get lost: the timer repeats, so that the next
// one comes.
const (
	repeatMin  = 20e3  // not faster than it can be answered
	repeatMax  = 100e6 // while a thread runs, which may be in a guest
	repeatIdle = 500e3 // while a CPU polls, which has its own look at the time
	counterMax = 1e9   // of the counter's 32 bits
)

func apicRead(reg uint64) uint32 {
	if x2apic {
		return uint32(cpu.ReadMSR(uint32(msrX2APIC + reg>>4)))
	}
	return ld32(apicBase + reg)
}

func apicWrite(reg uint64, v uint32) {
	if x2apic {
		cpu.WriteMSR(uint32(msrX2APIC+reg>>4), uint64(v))
		return
	}
	st32(apicBase+reg, v)
}

// ipi sends to one CPU. Preconditions: interrupts off (the two halves of the
// register are one command).
func ipi(dest uint64, command uint32) {
	if x2apic {
		cpu.WriteMSR(msrX2APIC+apicICRLow>>4, dest<<32|uint64(command))
		return
	}
	if !losesIRQs { // TCG's APIC delivers at once, and each access takes QEMU's own lock
		for ld32(apicBase+apicICRLow)&icrPending != 0 {
			pause()
		}
	}
	me := pcpuAt(cpuself())
	if high := uint32(dest) << 24; me.icrHigh != high {
		st32(apicBase+apicICRHigh, high)
		me.icrHigh = high
	}
	st32(apicBase+apicICRLow, command)
}

func kick(c *pcpu) {
	c.Stats.Kicks++
	trace.Add(pcpuAt(cpuself()).id, trace.Kick, 0, c.id)
	ipi(c.apicid, icrFixed|vecKick)
}

// apicInit chooses the mode for all CPUs: the first one's.
func apicInit() {
	_, _, c, _ := cpu.CPUID(1, 0)
	x2apic = c>>21&1 != 0
	tscDeadline = c>>24&1 != 0
	losesIRQs = cpu.UnderTCG()
}

// apicInitCPU turns this CPU's APIC on.
func apicInitCPU(c *pcpu) {
	const enable, extended = 1 << 11, 1 << 10
	base := cpu.ReadMSR(msrAPICBase)
	if x2apic {
		cpu.WriteMSR(msrAPICBase, base|enable|extended)
	} else {
		cpu.WriteMSR(msrAPICBase, base|enable)
	}
	c.apicid = uint64(apicRead(apicID))
	if !x2apic {
		c.apicid >>= 24
	}
	apicWrite(apicTPR, 0)
	apicWrite(apicSVR, apicOn)
	apicWrite(apicLINT0, lvtMasked)
	if c.id == 0 {
		apicWrite(apicLINT1, lvtNMI)
	} else {
		apicWrite(apicLINT1, lvtMasked)
	}
	const divideBy16 = 3
	apicWrite(apicDivide, divideBy16)
	if apicHz == 0 && !tscDeadline {
		apicWrite(apicTimer, lvtMasked)
		t0 := rdtsc()
		apicWrite(apicCount, 0xffffffff)
		for rdtsc()-t0 < tscHz/100 {
			pause()
		}
		n := 0xffffffff - uint64(apicRead(apicCurrent))
		apicHz = n * 100
	}
	switch {
	case tscDeadline:
		apicWrite(apicTimer, vecTimer|lvtTSCDeadline)
	case losesIRQs:
		apicWrite(apicTimer, vecTimer|lvtPeriodic)
	default:
		apicWrite(apicTimer, vecTimer)
	}
}

// lookAgain makes QEMU look whether this CPU's APIC has an interrupt: for a CPU that
// sleeps now, and may have forgotten one.
func lookAgain() { apicWrite(apicSVR, apicOn) }

// armTimer makes the timer of this CPU, c, fire at the time at (ns), or never (0), or
// before: a timer that is set for an earlier time stays, because a CPU that goes to sleep
// and wakes again a thousand times before it fires would set it twice as often, and the
// interrupt sets it to what is wanted then. Preconditions: interrupts off.
func armTimer(c *pcpu, at, now int64) {
	if losesIRQs {
		if c.cur != c.idle && (at == 0 || at > now+repeatMax) {
			at = now + repeatMax // a guest that nothing else would interrupt
		}
		if at != 0 {
			at = max(at, now+repeatMin)
		}
	}
	if at == c.armed || c.armed > now && (at == 0 || at >= c.armed) {
		return
	}
	c.armed = at
	if at != 0 {
		at = min(max(at, now), now+maxWait) // farther than this: wake, look again
	}
	if tscDeadline {
		if at == 0 {
			cpu.WriteMSR(msrTSCDeadline, 0)
			return
		}
		cpu.WriteMSR(msrTSCDeadline, tscAt(at))
		return
	}
	if at == 0 {
		apicWrite(apicCount, 0)
		return
	}
	c.period = min(max(at-now, 1000), counterMax) // as above
	n := uint64(c.period) * apicHz / 1e9
	apicWrite(apicCount, uint32(max(n, 1)))
}
