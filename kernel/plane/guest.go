package plane

import (
	"context"
	"errors"

	"nidus/kernel/core"
	"nidus/kernel/xenabi"
	"nidus/kernel/xenstore"
	"nidus/rpc/control"
)

// What is done to a guest that runs.

// Pause implements control.Plane.
func (p *Plane) Pause(_ context.Context, id control.DomID) error {
	e, err := p.entry(id)
	if err == nil && e.Pause() {
		p.emit(control.EventPaused, e, 0)
	}
	return err
}

// Unpause implements control.Plane.
func (p *Plane) Unpause(_ context.Context, id control.DomID) error {
	e, err := p.entry(id)
	if err == nil && e.Unpause() {
		p.emit(control.EventUnpaused, e, 0)
	}
	return err
}

// Shutdown implements control.Plane.
func (p *Plane) Shutdown(_ context.Context, id control.DomID, opt control.ShutdownOptions) error {
	return p.ask(id, "poweroff", opt)
}

// Reboot implements control.Plane.
func (p *Plane) Reboot(_ context.Context, id control.DomID, opt control.ShutdownOptions) error {
	return p.ask(id, "reboot", opt)
}

// ask writes control/shutdown, if the guest listens to it.
func (p *Plane) ask(id control.DomID, what string, opt control.ShutdownOptions) error {
	e, err := p.entry(id)
	if err != nil {
		return err
	}
	if e.Ended() {
		return control.Errorf(control.ErrBadState, "domain %d has shut down already", id)
	}
	if e.Paused() {
		return control.Errorf(control.ErrBadState, "domain %d is paused and can't hear; unpause it first", id)
	}
	if listens(e, what) {
		return p.node(e, "control/shutdown", what)
	}
	// opt.Fallback is for guests with ACPI's buttons, which hardware-reduced ACPI
	// is without; so is Xen's, whose fallback does nothing to a PVH guest.
	hint := "the ACPI fallback (-F) is not for PV and PVH guests, which have no buttons"
	if opt.Fallback {
		hint = "-F can't help, a PV or PVH guest has no ACPI power or reset button"
	}
	return control.Errorf(control.ErrNoResponse, "the guest does not answer to control/shutdown: it has no Xen drivers, or they have not started yet; %s: use \"destroy %d\"", hint, id)
}

// listens tells whether the guest acts on control/shutdown: it says so for each
// word in a node (xenstore-paths.pandoc, control/feature-*). Until it has said
// anything, a PV guest, or one that takes event channels, counts as a guest with Xen's
// drivers, as for xl.
func listens(e *core.Entry, what string) bool {
	c := e.Host.Store.Open(0)
	defer c.Close()
	switch v, _ := c.Read(path(e.ID, "control/feature-"+what)); v {
	case "1":
		return true
	case "0":
		return false
	}
	if e.PV != nil {
		return true
	}
	irq, _ := e.Param(xenabi.HVMParamCallbackIRQ)
	return irq != 0
}

// node writes one of the domain's nodes.
func (p *Plane) node(e *core.Entry, name, value string) error {
	c := e.Host.Store.Open(0)
	defer c.Close()
	err := c.Write(path(e.ID, name), value)
	if errors.Is(err, xenstore.ENOENT) {
		return control.Errorf(control.ErrNoResponse, "domain %d has no %s in its xenstore", e.ID, name)
	}
	return err
}

// Sysrq implements control.Plane.
func (p *Plane) Sysrq(_ context.Context, id control.DomID, letter byte) error {
	e, err := p.entry(id)
	if err != nil {
		return err
	}
	if letter <= ' ' || letter >= 0x7f {
		return control.Errorf(control.ErrBadArgument, "%#02x is no letter of a magic system request; \"h\" makes the guest list those that it knows", letter)
	}
	return p.node(e, "control/sysrq", string(letter))
}

// Trigger implements control.Plane.
func (p *Plane) Trigger(_ context.Context, id control.DomID, t control.Trigger, vcpu int) error {
	e, err := p.entry(id)
	if err != nil {
		return err
	}
	if vcpu < 0 || vcpu >= len(e.VCPUs) {
		return control.Errorf(control.ErrBadArgument, "domain %d has vcpus 0 to %d", id, len(e.VCPUs)-1)
	}
	switch {
	case t == control.TriggerNMI:
		e.NMI(vcpu)
		return nil
	case t == control.TriggerInit && e.PV == nil: // a PV guest has no reset
		e.INIT(vcpu)
		return nil
	}
	kind := "PVH"
	if e.PV != nil {
		kind = "PV"
	}
	return control.Errorf(control.ErrNotYet, "trigger %v: a %s guest has no way to receive it; shutdown and reboot work", t, kind)
}

// VCPUList implements control.Plane.
func (p *Plane) VCPUList(_ context.Context, id control.DomID) ([]control.VCPUInfo, error) {
	if id == 0 {
		return p.cpuList(), nil
	}
	e, err := p.core.Domain(mmID(id))
	if err != nil {
		return nil, err
	}
	var all []control.VCPUInfo
	for _, v := range e.VCPUs {
		ns, cpu, running := v.CPUTime()
		s := v.Sched()
		all = append(all, control.VCPUInfo{
			ID: v.ID, Online: v.Up(), CPU: cpu, Running: running && !v.Blocked(), Blocked: v.Blocked(), Time: duration(ns),
			Hard: p.set(s.Hard), Soft: p.set(s.Soft),
		})
	}
	return all, nil
}

// cpuList shows the host's CPUs as domain 0's vcpus, each at its place.
func (p *Plane) cpuList() []control.VCPUInfo {
	var all []control.VCPUInfo
	for i, busy := range p.machine.BusyTimes() {
		set := control.CPUSet{1 << i}
		all = append(all, control.VCPUInfo{ID: i, Online: true, CPU: i, Running: true, Time: busy, Hard: set, Soft: set})
	}
	return all
}

func (p *Plane) set(m uint64) control.CPUSet { return control.CPUSet{m & (1<<p.core.CPUs - 1)} }

// VCPUPin implements control.Plane.
func (p *Plane) VCPUPin(_ context.Context, id control.DomID, vcpu int, hard, soft control.CPUSet) error {
	e, err := p.entry(id)
	if err != nil {
		return err
	}
	if vcpu != control.AllVCPUs && (vcpu < 0 || vcpu >= len(e.VCPUs)) {
		return control.Errorf(control.ErrBadArgument, "domain %d has vcpus 0 to %d", id, len(e.VCPUs)-1)
	}
	return p.core.Pin(e, vcpu, hard, soft)
}

// SchedCredit2 implements control.Plane.
func (p *Plane) SchedCredit2(_ context.Context, id control.DomID) (control.SchedParams, error) {
	if id == 0 {
		return control.SchedParams{Weight: control.DefaultWeight}, nil
	}
	e, err := p.core.Domain(mmID(id))
	if err != nil {
		return control.SchedParams{}, err
	}
	s := e.VCPUs[0].Sched()
	return control.SchedParams{Weight: s.Weight, CapPercent: s.Cap}, nil
}

// SetSchedCredit2 implements control.Plane.
func (p *Plane) SetSchedCredit2(_ context.Context, id control.DomID, n control.SchedParams) error {
	e, err := p.entry(id)
	if err != nil {
		return err
	}
	if err := n.Check(); err != nil {
		return err
	}
	e.SetShare(n)
	return nil
}
