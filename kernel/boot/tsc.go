package boot

import "math/bits"

// ClockSource is something that tells the TSC's frequency.
type ClockSource uint8

// The sources: three clocks to measure against, then what the processor or the
// hypervisor below says. A lower number is preferred where nothing else decides.
const (
	ClockNone       ClockSource = iota
	ClockHPET                   // HPET main counter
	ClockPM                     // ACPI PM timer
	ClockPIT                    // 8254 channel 2
	ClockHypervisor             // CPUID leaf 0x40000010: TSC in kHz
	ClockCPUID15                // CPUID leaf 0x15: TSC by the crystal's ratio (SDM volume 2A)
	ClockCPUID16                // CPUID leaf 0x16: base frequency in MHz, rounded
	numClockSources
)

// String names the source.
func (c ClockSource) String() string {
	switch c {
	case ClockHPET:
		return "HPET"
	case ClockPM:
		return "PM timer"
	case ClockPIT:
		return "PIT"
	case ClockHypervisor:
		return "CPUID 0x40000010"
	case ClockCPUID15:
		return "CPUID 0x15"
	case ClockCPUID16:
		return "CPUID 0x16"
	}
	return "none"
}

// MaxSamples is the most samples of a clock that are looked at.
const MaxSamples = 16

// Sample is one measurement: how far the TSC and a clock went meanwhile.
type Sample struct {
	Ticks uint64 // of the TSC
	Nanos uint64 // of the clock
}

// ClockSamples are the measurements against one clock. An absent clock has none.
type ClockSamples struct {
	N       int
	Samples [MaxSamples]Sample
}

// Add appends a sample; there is no room after MaxSamples.
func (c *ClockSamples) Add(ticks, nanos uint64) {
	if c.N >= 0 && c.N < MaxSamples {
		c.Samples[c.N] = Sample{ticks, nanos}
		c.N++
	}
}

// TSCEvidence is everything that says how fast the TSC runs. A zero field is
// absent.
type TSCEvidence struct {
	HPET, PM, PIT ClockSamples
	// CPUID15 is leaf 0x15: EAX denominator, EBX numerator, ECX crystal in Hz.
	CPUID15 struct{ Denominator, Numerator, CrystalHz uint32 }
	// CPUID16MHz is leaf 0x16, EAX[15:0].
	CPUID16MHz uint32
	// HypervisorKHz is leaf 0x40000010, EAX.
	HypervisorKHz uint32
}

// Rejection is why a source was not believed.
type Rejection uint8

// The reasons.
const (
	NotRejected       Rejection = iota // believed, or absent
	RejectImplausible                  // no sample gave 1 MHz to 20 GHz
	RejectNoisy                        // the samples differ too much among themselves
	RejectDisagrees                    // more sources that agree say otherwise
	RejectUnconfirmed                  // nothing agrees with it, another one is preferred
)

// String says the reason.
func (r Rejection) String() string {
	switch r {
	case NotRejected:
		return "accepted or absent"
	case RejectImplausible:
		return "no sample between 1 MHz and 20 GHz: the clock stands still or jumps"
	case RejectNoisy:
		return "its samples differ too much among themselves"
	case RejectDisagrees:
		return "differs by more than 1 % from sources that agree"
	case RejectUnconfirmed:
		return "no other source agrees with it"
	}
	return "unknown reason"
}

// TSCChoice is the frequency that was chosen.
type TSCChoice struct {
	Hz     uint64      // 0 if there was no evidence at all
	Source ClockSource // whose figure Hz is
	Agree  int         // how many sources agree with it, itself included
	// Measured holds each source's own figure in Hz, by ClockSource; 0 if it
	// had none.
	Measured [numClockSources]uint64
	// Rejected says why a source was not believed, by ClockSource.
	Rejected [numClockSources]Rejection
}

const (
	minTSC = 1_000_000
	maxTSC = 20_000_000_000
)

// ChooseTSC decides the TSC's frequency. The sources that agree within 1 % form
// a group; the largest group wins, so one clock that lies is outvoted by two
// others. Within the group an exact figure (hypervisor, CPUID 0x15) is taken if
// it is within 0.1 % of the best clock, else that clock's median. If no two
// agree, the most preferred clock stands alone and Agree is 1.
//
// It does not allocate: it runs before the Go runtime.
func ChooseTSC(ev *TSCEvidence) TSCChoice {
	var c TSCChoice
	c.Measured[ClockHPET], c.Rejected[ClockHPET] = medianHz(&ev.HPET)
	c.Measured[ClockPM], c.Rejected[ClockPM] = medianHz(&ev.PM)
	c.Measured[ClockPIT], c.Rejected[ClockPIT] = medianHz(&ev.PIT)
	if l := &ev.CPUID15; l.Denominator != 0 && l.Numerator != 0 && l.CrystalHz != 0 {
		c.hint(ClockCPUID15, mulDiv(uint64(l.CrystalHz), uint64(l.Numerator), uint64(l.Denominator)))
	}
	c.hint(ClockCPUID16, uint64(ev.CPUID16MHz&0xffff)*1_000_000)
	c.hint(ClockHypervisor, uint64(ev.HypervisorKHz)*1000)

	// The centre of the largest group. The first wins a tie.
	centre, most := ClockNone, 0
	for i := ClockHPET; i < numClockSources; i++ {
		votes := 0
		for j := ClockHPET; j < numClockSources; j++ {
			if c.usable(i) && c.usable(j) && within(c.Measured[i], c.Measured[j], 100) {
				votes++
			}
		}
		if votes > most {
			centre, most = i, votes
		}
	}
	if centre == ClockNone {
		return c
	}
	c.Agree = most
	for i := ClockHPET; i < numClockSources; i++ {
		if !c.usable(i) || within(c.Measured[centre], c.Measured[i], 100) {
			continue
		}
		c.Rejected[i] = RejectDisagrees
		if most == 1 {
			c.Rejected[i] = RejectUnconfirmed
		}
	}
	c.pick()
	return c
}

// pick takes the best figure of those that are left.
func (c *TSCChoice) pick() {
	best := ClockNone
	for i := ClockHPET; i < numClockSources && best == ClockNone; i++ {
		if c.usable(i) {
			best = i
		}
	}
	if best <= ClockPIT {
		for i := ClockHypervisor; i <= ClockCPUID15; i++ {
			if c.usable(i) && within(c.Measured[i], c.Measured[best], 1000) {
				best = i
				break
			}
		}
	}
	c.Source, c.Hz = best, c.Measured[best]
}

// Prefer takes the figure of the first source of list that has one, unless others
// that agree say otherwise. It tells whether there was such a source.
func (c *TSCChoice) Prefer(list ...ClockSource) bool {
	for _, s := range list {
		if s >= numClockSources || c.Measured[s] == 0 || c.Rejected[s] != NotRejected && c.Rejected[s] != RejectUnconfirmed {
			continue
		}
		if c.Rejected[s] == RejectUnconfirmed {
			c.Rejected[c.Source], c.Rejected[s] = RejectUnconfirmed, NotRejected
		}
		c.Source, c.Hz = s, c.Measured[s]
		return true
	}
	return false
}

// hint takes what a source says of itself.
func (c *TSCChoice) hint(s ClockSource, hz uint64) {
	if hz == 0 {
		return
	}
	if hz < minTSC || hz > maxTSC {
		c.Rejected[s] = RejectImplausible
		return
	}
	c.Measured[s] = hz
}

// usable reports whether a source has a figure that was not rejected.
func (c *TSCChoice) usable(s ClockSource) bool {
	return c.Measured[s] != 0 && c.Rejected[s] == NotRejected
}

// medianHz returns the median of a clock's samples. The clock is too noisy if
// half of the samples are more than 0.5 % from it: a few that an SMI or a busy
// host disturbed don't matter, a clock that jumps does.
func medianHz(s *ClockSamples) (uint64, Rejection) {
	var hz [MaxSamples]uint64
	n := 0
	for i := 0; i < s.N && i < MaxSamples; i++ {
		v := mulDiv(s.Samples[i].Ticks, 1_000_000_000, s.Samples[i].Nanos)
		if v >= minTSC && v <= maxTSC {
			hz[n] = v
			n++
		}
	}
	if n == 0 {
		if s.N > 0 {
			return 0, RejectImplausible
		}
		return 0, NotRejected
	}
	m := median(&hz, n)
	for i := 0; i < n; i++ {
		hz[i] = max(hz[i], m) - min(hz[i], m)
	}
	if median(&hz, n) > m/200 {
		return m, RejectNoisy
	}
	return m, NotRejected
}

// median sorts the first n > 0 values and returns the middle one, or the mean of
// the middle two. Values are at most maxTSC.
func median(v *[MaxSamples]uint64, n int) uint64 {
	for i := 1; i < n && i < MaxSamples; i++ {
		for j := i; j > 0 && v[j-1] > v[j]; j-- {
			v[j-1], v[j] = v[j], v[j-1]
		}
	}
	return (v[(n-1)/2] + v[n/2]) / 2
}

// mulDiv returns a*b/d rounded, or 0 if that is not a number of 64 bits.
func mulDiv(a, b, d uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	lo, carry := bits.Add64(lo, d/2, 0)
	hi += carry
	if hi >= d {
		return 0 // also d == 0
	}
	q, _ := bits.Div64(hi, lo, d)
	return q
}

// within reports whether a and b differ by at most 1/part of the smaller. Both
// are at most maxTSC.
func within(a, b, part uint64) bool {
	lo, hi := min(a, b), max(a, b)
	return (hi-lo)*part <= lo
}
