package plane

import (
	"context"
	"errors"

	"nidus/kernel/core"
	"nidus/kernel/xenstore"
	"nidus/rpc/control"
)

// What is done to a guest that runs.

// Pause implements control.Plane.
func (p *Plane) Pause(_ context.Context, id control.DomID) error {
	e, err := p.entry(id)
	if err == nil {
		e.Pause()
	}
	return err
}

// Unpause implements control.Plane.
func (p *Plane) Unpause(_ context.Context, id control.DomID) error {
	e, err := p.entry(id)
	if err == nil {
		e.Unpause()
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

// ask writes control/shutdown, which the guest watches if it has said so by
// control/feature-*; a guest that has not may still do it.
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
	return p.node(e, "control/shutdown", what)
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
	return p.node(e, "control/sysrq", string(rune(letter)))
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
	switch t {
	case control.TriggerNMI:
		e.NMI(vcpu)
		return nil
	case control.TriggerInit:
		e.INIT(vcpu)
		return nil
	}
	return control.Errorf(control.ErrNotYet, "trigger %v: a PVH guest has no way to receive it; shutdown and reboot work", t)
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
	for i := range p.core.CPUs {
		set := control.CPUSet{1 << i}
		all = append(all, control.VCPUInfo{ID: i, Online: true, CPU: i, Running: true, Hard: set, Soft: set})
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
	for _, v := range e.VCPUs {
		if vcpu != control.AllVCPUs && v.ID != vcpu {
			continue
		}
		s := v.Sched()
		if hard != nil {
			if s.Hard, err = core.Mask(hard, p.core.CPUs); err != nil {
				return err
			}
		}
		if soft != nil {
			if s.Soft, err = core.Mask(soft, p.core.CPUs); err != nil {
				return err
			}
		}
		v.SetSched(s)
	}
	return nil
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
	for _, v := range e.VCPUs {
		s := v.Sched()
		s.Weight, s.Cap = n.Weight, n.CapPercent
		v.SetSched(s)
	}
	return nil
}
