//go:build !tamago

package svm

import "nidus/kernel/virt"

// processor stands in for the hardware in the host's tests. Without one this
// host has no SVM.
type processor interface {
	enter(*context)
	cpu() uint64
	writeMSR(msr uint32, v uint64)
	setTSCAux(v uint64)
	clearBuffers()
}

var simulated processor

func identify() identity { return identity{} }

func mxcsrMask() uint32 { return 0xffff }

//go:nosplit
func interruptsOff() uint64 { return simulated.cpu() }

//go:nosplit
func interruptsOn() {}

//go:nosplit
func enter(c *context) { simulated.enter(c) }

//go:nosplit
func writeMSR(msr uint32, v uint64) { simulated.writeMSR(msr, v) }

//go:nosplit
func setTSCAux(v uint64) { simulated.setTSCAux(v) }

//go:nosplit
func clearBuffers() { simulated.clearBuffers() }

// Enable implements virt.Machine.
func (m *Machine) Enable() error { return ErrNoSVM }

// Disable implements virt.Machine.
func (m *Machine) Disable() {}

// NewVCPU implements virt.Machine.
func (m *Machine) NewVCPU(cfg virt.Config) (virt.VCPU, error) { return m.newVCPU(cfg) }

// Run implements virt.VCPU.
func (v *vcpu) Run(e *virt.Exit) { v.finish(v.loop(), e) }
