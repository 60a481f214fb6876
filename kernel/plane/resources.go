package plane

import (
	"context"
	"fmt"
	"strconv"

	"nidus/kernel/core"
	"nidus/mm"
	"nidus/rpc/control"
)

// CPUs implements control.Plane.
func (p *Plane) CPUs(context.Context) ([]control.CPUInfo, error) { return p.machine.CPUList(), nil }

// Memory implements control.Plane.
func (p *Plane) Memory(context.Context) (control.MemoryInfo, error) {
	return control.MemoryInfo{
		TotalBytes: p.machine.Info().TotalMemoryBytes, FreeBytes: p.core.FreeMemory(),
		GuestBytes: p.core.Host.Memory.Stats().Kinds[mm.FrameGuest] * mm.PageSize, HypervisorBytes: p.machine.Used(),
	}, nil
}

// Scheduler implements control.Plane.
func (p *Plane) Scheduler(context.Context) (control.SchedulerInfo, error) {
	return control.SchedulerInfo{
		Name: schedulerName, DefaultWeight: control.DefaultWeight, MaxWeight: control.MaxWeight,
		MaxCapPercent: control.MaxCapPercent, VCPUs: p.core.VCPUs(),
	}, nil
}

// SetMemory implements control.Plane.
func (p *Plane) SetMemory(_ context.Context, id control.DomID, bytes uint64) error {
	e, err := p.entry(id)
	if err != nil {
		return err
	}
	err = e.SetMemory(bytes, func() error {
		return p.node(e, "memory/target", strconv.FormatUint(bytes>>10, 10))
	})
	return p.changed(control.EventMemory, e, err)
}

// SetMaxMemory implements control.Plane.
func (p *Plane) SetMaxMemory(_ context.Context, id control.DomID, bytes uint64) error {
	e, err := p.entry(id)
	if err != nil {
		return err
	}
	return p.changed(control.EventMaxMemory, e, e.SetMaxMemory(bytes))
}

// SetVCPUs implements control.Plane.
func (p *Plane) SetVCPUs(_ context.Context, id control.DomID, n int) error {
	e, err := p.entry(id)
	if err != nil {
		return err
	}
	return p.changed(control.EventVCPUs, e, e.SetVCPUs(n, func() error { return p.availability(e, n) }))
}

// changed tells of a change, unless it failed.
func (p *Plane) changed(kind control.EventKind, e *core.Entry, err error) error {
	if err == nil {
		p.emit(kind, e, 0)
	}
	return err
}

// availability says to the guest which vcpus it is to have online. A node changes
// only if its value does: a guest acts on every change.
func (p *Plane) availability(e *core.Entry, n int) error {
	c := e.Host.Store.Open(0)
	defer c.Close()
	for i := range e.VCPUs {
		want, at := "offline", path(e.ID, fmt.Sprintf("cpu/%d/availability", i))
		if i < n {
			want = "online"
		}
		if now, err := c.Read(at); err == nil && now == want {
			continue
		}
		if err := c.Write(at, want); err != nil {
			return storeError(err)
		}
	}
	return nil
}
