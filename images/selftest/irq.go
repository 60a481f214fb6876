//go:build tamago

package main

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"nidus/kernel/baremetal"
	"nidus/kernel/machine"
)

// levelIRQ has the HPET assert a level-triggered line and serves it late: one
// interrupt must come, not as many as the CPU can take, and another one the next
// time. The HPET's registers: IA-PC HPET 1.0a, section 2.3.
func levelIRQ(m *machine.Machine) (string, error) {
	const (
		capability, config, status, counter = 0x00, 0x10, 0x20, 0xf0
		timer1                              = 0x120 // configuration, GSIs above it; comparator at 8

		levelType, enabled, wide32 = 1 << 1, 1 << 2, 1 << 8
		route                      = 9
	)
	if m.ACPI.HPET == nil {
		return "", errors.New("no HPET")
	}
	base := baremetal.MapMMIO(m.ACPI.HPET.Base, 0x400)
	period := time.Duration(baremetal.Load32(base+capability+4)) / 1e6 // ns
	gsis := baremetal.Load32(base + timer1 + 4)
	gsi := uint32(23)
	for ; gsi >= 16 && gsis>>gsi&1 == 0; gsi-- {
	}
	if gsi < 16 || base == 0 || period == 0 {
		return "", fmt.Errorf("the HPET's second timer has no line of its own: %#x", gsis)
	}
	v, err := m.RouteGSI(gsi, false, true)
	if err != nil {
		return "", err
	}
	var seen atomic.Uint32
	serve, served := make(chan struct{}), make(chan struct{})
	go func() {
		for n := uint32(0); ; {
			n = baremetal.WaitIRQ(v, n)
			seen.Store(n)
			<-serve
			baremetal.Store32(base+timer1, 0)
			baremetal.Store32(base+status, 1<<1)
			served <- struct{}{}
		}
	}()
	const rounds, unserved = 3, 20 * time.Millisecond
	for r := range uint32(rounds) {
		baremetal.Store32(base+config, 1)
		at := baremetal.Load32(base+counter) + uint32(time.Millisecond/period)
		baremetal.Store32(base+timer1, gsi<<route|wide32|levelType)
		baremetal.Store32(base+timer1+8, at)
		baremetal.Store32(base+timer1, gsi<<route|wide32|levelType|enabled)
		for end := time.Now().Add(10 * time.Second); seen.Load() == r; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				return "", fmt.Errorf("GSI %d, vector %#x: interrupt %d did not come", gsi, v, r+1)
			}
		}
		time.Sleep(unserved)
		if n := baremetal.IRQCount(v); n != r+1 {
			return "", fmt.Errorf("GSI %d: %d interrupts before the first was served, not 1", gsi, n-r)
		}
		serve <- struct{}{}
		<-served
	}
	return fmt.Sprintf("GSI %d, %d times, each served %v late", gsi, rounds, unserved), nil
}
