//go:build tamago

package machine

import (
	"time"

	"github.com/usbarmory/tamago/soc/intel/rtc"

	"nidus/kernel/baremetal"
	"nidus/kernel/boot"
	"nidus/kernel/boot/acpi"
)

// counter is a clock that ACPI told of.
type counter struct {
	read  func() uint64
	mask  uint64
	nanos func(ticks uint64) uint64
}

// Calibration compares the TSC with the HPET and the PM timer, over all the time
// between StartCalibration and Finish: the longer, the better.
type Calibration struct {
	hpet, pm       *counter
	hpet0, pm0     uint64
	hpetTSC, pmTSC uint64
}

// StartCalibration takes the first reading.
func (m *Machine) StartCalibration() *Calibration {
	c := &Calibration{hpet: m.hpetCounter(), pm: m.pmCounter()}
	if c.hpet != nil {
		c.hpet0, c.hpetTSC = pair(c.hpet)
	}
	if c.pm != nil {
		c.pm0, c.pmTSC = pair(c.pm)
	}
	return c
}

// pair reads a clock and the TSC at nearly the same moment: the best of several.
func pair(c *counter) (clock, tsc uint64) {
	best := ^uint64(0)
	for range 8 {
		a := baremetal.TSC()
		v := c.read()
		b := baremetal.TSC()
		if b-a < best {
			best, clock, tsc = b-a, v, a+(b-a)/2
		}
	}
	return clock, tsc
}

// Finish takes the second reading and sets the TSC's frequency, by the clock that
// clocksource= names unless others that agree give it the lie. The PM timer of 24
// bits wraps after 4.6 s: a longer wait leaves it out.
func (m *Machine) Finish(c *Calibration) {
	ev := baremetal.TSCEvidence()
	if c.hpet != nil {
		v, tsc := pair(c.hpet)
		ev.HPET.Add(tsc-c.hpetTSC, c.hpet.nanos((v-c.hpet0)&c.hpet.mask))
	}
	if c.pm != nil {
		v, tsc := pair(c.pm)
		if (tsc-c.pmTSC)/baremetal.TSCHz() < 4 {
			ev.PM.Add(tsc-c.pmTSC, c.pm.nanos((v-c.pm0)&c.pm.mask))
		}
	}
	choice := boot.ChooseTSC(&ev)
	if want := m.Options.Clocks(); want != nil && !choice.Prefer(want...) {
		m.Log("TSC: clocksource=%s is not there, or not to be believed", m.Options.ClockSource)
	}
	for src, why := range choice.Rejected {
		if why != boot.NotRejected {
			m.Log("TSC: %v says %d Hz: %v", boot.ClockSource(src), choice.Measured[src], why)
		}
	}
	if choice.Hz != 0 {
		baremetal.SetTSCHz(choice.Hz)
	}
	m.Log("TSC: %.3f MHz by %v, %d agree", float64(baremetal.TSCHz())/1e6, choice.Source, choice.Agree)
}

// CheckTSC decides whether guests may read the time-stamp counters: not if tsc= says
// so, or, unless it says stable, if a reading on one CPU lies outside two readings
// around it. That finds counters that are further apart than a thread takes to
// move, which those of a reset or a hot-plugged processor are by far.
func (m *Machine) CheckTSC() bool {
	switch m.Options.TSC {
	case "unstable", "skewed":
		m.Log("TSC: tsc=%s: guests get an emulated one by default", m.Options.TSC)
		return false
	}
	for cpu := range baremetal.NumCPU() {
		for range 3 {
			var here uint64
			before := baremetal.TSC()
			baremetal.OnCPU(cpu, func() { here = baremetal.TSC() })
			after := baremetal.TSC()
			if here-before <= after-before {
				continue
			}
			m.Log("TSC: CPU %d read %d between %d and %d: the counters disagree", cpu, here, before, after)
			if m.Options.TSC == "stable:socket" {
				m.Log("TSC: tsc=stable:socket: they are trusted")
				return true
			}
			return false
		}
	}
	return true
}

func (m *Machine) hpetCounter() *counter {
	h := m.ACPI.HPET
	if h == nil {
		return nil
	}
	const capability, config, mainCounter = 0, 0x10, 0xf0
	base := baremetal.MapMMIO(h.Base, 0x400)
	if base == 0 {
		return nil
	}
	period := uint64(baremetal.Load32(base + capability + 4)) // fs
	if period == 0 || period > 100_000_000 {                  // IA-PC HPET 1.0a, 2.3.4
		m.Log("HPET: its period of %d fs is out of bounds", period)
		return nil
	}
	baremetal.Store32(base+config, baremetal.Load32(base+config)|1)
	return &counter{
		read:  func() uint64 { return uint64(baremetal.Load32(base + mainCounter)) },
		mask:  0xffffffff,
		nanos: func(t uint64) uint64 { return t * (period / 1000) / 1000 },
	}
}

func (m *Machine) pmCounter() *counter {
	f := m.ACPI.FADT
	if f == nil || !f.PMTimer.Exists() || f.PMTimer.Space != acpi.SpaceIO {
		return nil
	}
	mask := uint64(0xffffff)
	if f.PMTimer32() {
		mask = 0xffffffff
	}
	port := uint16(f.PMTimer.Addr)
	return &counter{
		read:  func() uint64 { return uint64(baremetal.In32(port)) },
		mask:  mask,
		nanos: func(t uint64) uint64 { return t * 1e9 / acpi.PMTimerHz },
	}
}

// SetWallClock reads the battery-backed clock.
func (m *Machine) SetWallClock() {
	r := rtc.RTC{Location: time.UTC}
	for range 1000 { // an update takes up to 2 ms
		t, err := r.Now()
		if err == nil {
			baremetal.SetWall(t.UnixNano())
			return
		}
		time.Sleep(100 * time.Microsecond)
	}
	m.Log("RTC: it is always being updated; the time of day is not known")
}
