// Package plane is the control plane that is built in: domain 0's toolstack. It
// does what control.Plane asks for, acts on domains that end, and starts those
// named at boot. All that must outlive it is in package core: it can be dropped at
// any moment and made again (see New).
package plane

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"

	"nidus/kernel/console"
	"nidus/kernel/core"
	"nidus/mm"
	"nidus/rpc/control"
)

// Machine is what the control plane asks of the host besides domains.
type Machine interface {
	// Info describes the host; the plane fills in what it knows better.
	Info() control.HostInfo
	// PowerOff and Reboot end the host. They return only if that failed.
	PowerOff() error
	Reboot() error
	// CPUList describes each CPU of the host, by number.
	CPUList() []control.CPUInfo
	// Used is the memory that the hypervisor itself uses, in bytes.
	Used() uint64
	// BusyTimes is, by CPU, how long it did something else than guests or nothing.
	BusyTimes() []time.Duration
	// DebugKey does what one of Xen's debug keys does; false: none such.
	DebugKey(key byte) bool
}

// Plane implements control.Plane.
type Plane struct {
	control.NotYet // devices, save and restore

	core    *core.Core
	machine Machine
	log     *console.Log
	ctx     context.Context

	mu      sync.Mutex
	streams map[*stream]bool
	watched map[*core.Entry]bool
	end     *endLog // nil: the host goes on
}

var _ control.Plane = (*Plane)(nil)

// New makes a control plane that works until ctx ends, over a core that may have
// domains already.
func New(ctx context.Context, c *core.Core, m Machine) *Plane {
	p := &Plane{
		core: c, machine: m, log: c.Host.Log, ctx: ctx,
		streams: map[*stream]bool{}, watched: map[*core.Entry]bool{},
	}
	c.OnCreate(p.watch) // first: a domain that comes now is in one of both
	for _, e := range c.Domains() {
		p.watch(e)
	}
	if c.Ending() != nil { // the one before died in the midst of it
		p.goOnEnding()
	}
	return p
}

// entry finds a domain that is not domain 0.
func (p *Plane) entry(id control.DomID) (*core.Entry, error) {
	if id == 0 {
		return nil, control.Errorf(control.ErrBadArgument, "domain 0 is the hypervisor itself; that can't be done to it")
	}
	return p.core.Domain(mm.DomID(id))
}

// schedulerName is what guests' tools know for one with weights and caps.
const schedulerName = "credit2"

// HostInfo implements control.Plane.
func (p *Plane) HostInfo(context.Context) (control.HostInfo, error) {
	i := p.machine.Info()
	i.FreeMemoryBytes = p.core.FreeMemory()
	i.XenMajor, i.XenMinor, i.XenExtra = core.ABIMajor, core.ABIMinor, ".nidus"
	if p.core.Host.PV != nil {
		i.VirtCaps = append(i.VirtCaps, "pv")
	}
	if p.core.Host.Virt != nil {
		i.VirtCaps = append(i.VirtCaps, "hvm", "hap")
	}
	i.XenCaps = strings.Fields(p.core.Host.Capabilities())
	i.Scheduler = schedulerName
	i.PageSizeBytes = mm.PageSize
	i.Uptime = p.now()
	return i, nil
}

func (p *Plane) now() time.Duration { return time.Duration(p.core.Host.Clock.Now()) }

// Dmesg implements control.Plane.
func (p *Plane) Dmesg(_ context.Context, clear bool) ([]byte, error) {
	if clear {
		return p.log.Take(), nil
	}
	return p.log.Bytes(), nil
}

// DebugKeys implements control.Plane.
func (p *Plane) DebugKeys(_ context.Context, keys string) error {
	for i := range len(keys) {
		if !p.machine.DebugKey(keys[i]) {
			return control.Errorf(control.ErrBadArgument, "debug key %q does nothing here; h lists those that do", keys[i])
		}
	}
	return nil
}

// ListDomains implements control.Plane.
func (p *Plane) ListDomains(context.Context) ([]control.DomainInfo, error) {
	p.core.Pass(p.ctx, "list")
	all := []control.DomainInfo{p.domain0()}
	for _, e := range p.core.Domains() {
		all = append(all, info(e))
	}
	return all, nil
}

// domain0 is the embedded one: the hypervisor's own memory and time.
func (p *Plane) domain0() control.DomainInfo {
	var busy time.Duration
	for _, t := range p.machine.BusyTimes() {
		busy += t
	}
	return control.DomainInfo{
		Name: "Domain-0", State: control.StateRunning, MemoryBytes: p.machine.Used(), MaxMemoryBytes: p.machine.Used(),
		VCPUs: p.core.CPUs, MaxVCPUs: p.core.CPUs, CPUTime: busy, Uptime: p.now(),
	}
}

func info(e *core.Entry) control.DomainInfo {
	c := e.Config()
	i := control.DomainInfo{
		ID: control.DomID(e.ID), Name: c.Name, UUID: control.UUID(e.UUID), Type: c.Type,
		MemoryBytes: e.Space.TotPages() * mm.PageSize, MaxMemoryBytes: c.MaxMemoryBytes, MaxVCPUs: len(e.VCPUs),
		Uptime: time.Duration(e.Host.Clock.Now() - e.Created),
	}
	blocked := true
	for _, v := range e.VCPUs {
		ns, _, running := v.CPUTime()
		i.CPUTime += time.Duration(ns)
		if v.Up() {
			i.VCPUs++
			blocked = blocked && v.Blocked()
			if running && !v.Blocked() {
				i.State |= control.StateRunning
			}
		}
	}
	if blocked {
		i.State |= control.StateBlocked
	}
	if e.Paused() {
		i.State |= control.StatePaused
	}
	switch {
	case e.Ended():
		i.State = i.State&control.StatePaused | control.StateShutdown
		i.Reason = control.ShutdownReason(e.Reason())
	case i.State&control.StatePaused != 0:
		i.State &^= control.StateRunning
	}
	return i
}

// Domain implements control.Plane.
func (p *Plane) Domain(_ context.Context, ref string) (control.DomainInfo, error) {
	if n, err := strconv.ParseUint(ref, 10, 16); err == nil {
		if n == 0 {
			return p.domain0(), nil
		}
		e, err := p.core.Domain(mm.DomID(n))
		if err != nil {
			return control.DomainInfo{}, err
		}
		return info(e), nil
	}
	if ref == "Domain-0" {
		return p.domain0(), nil
	}
	if e := p.core.Lookup(ref); e != nil {
		return info(e), nil
	}
	return control.DomainInfo{}, control.Errorf(control.ErrNoDomain, "there is no domain %q; \"list\" shows those that there are", ref)
}

// DomainConfig implements control.Plane.
func (p *Plane) DomainConfig(_ context.Context, id control.DomID) (control.DomainConfig, error) {
	if id == 0 {
		d := p.domain0()
		return control.DomainConfig{
			Type: d.Type, Name: d.Name, MemoryBytes: d.MemoryBytes, MaxMemoryBytes: d.MaxMemoryBytes,
			VCPUs: d.VCPUs, MaxVCPUs: d.MaxVCPUs, Sched: control.SchedParams{Weight: control.DefaultWeight},
		}, nil
	}
	e, err := p.entry(id)
	if err != nil {
		return control.DomainConfig{}, err
	}
	return e.Config(), nil
}

// Create implements control.Plane.
func (p *Plane) Create(ctx context.Context, cfg control.DomainConfig, opt control.CreateOptions) (control.DomID, error) {
	ctx, cancel := p.bound(ctx)
	defer cancel()
	id, err := p.core.Create(ctx, cfg, opt)
	if err != nil {
		return 0, err
	}
	p.core.Pass(ctx, "create: domain started")
	e, err := p.core.Domain(id)
	if err != nil {
		return 0, err
	}
	p.core.Watch(e)
	p.core.Pass(ctx, "create: domain watched")
	p.emit(control.EventCreated, e, 0)
	return control.DomID(id), nil
}

// SetConfig implements control.Plane.
func (p *Plane) SetConfig(ctx context.Context, id control.DomID, cfg control.DomainConfig) error {
	e, err := p.entry(id)
	if err != nil {
		return err
	}
	ctx, cancel := p.bound(ctx)
	defer cancel()
	return p.core.SetConfig(ctx, e, cfg)
}

// bound makes a context that also ends with the control plane.
func (p *Plane) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(p.ctx, cancel)
	return ctx, func() { stop(); cancel() }
}

// Destroy implements control.Plane.
func (p *Plane) Destroy(_ context.Context, id control.DomID) error {
	e, err := p.entry(id)
	if err != nil {
		return err
	}
	p.core.Pass(p.ctx, "destroy: begins")
	if err := p.core.Destroy(e.ID); err != nil {
		return err
	}
	p.core.Pass(p.ctx, "destroy: done")
	p.emit(control.EventDestroyed, e, 0)
	return nil
}

// Rename implements control.Plane.
func (p *Plane) Rename(_ context.Context, id control.DomID, name string) error {
	e, err := p.entry(id)
	if err != nil {
		return err
	}
	if p.core.Lookup(name) == e {
		return nil
	}
	if name == "Domain-0" {
		return control.Errorf(control.ErrExists, "Domain-0 is the name of domain 0")
	}
	if err := p.core.Rename(e.ID, name); err != nil {
		return err
	}
	p.emit(control.EventRenamed, e, 0)
	return nil
}

// Modules implements control.Plane.
func (p *Plane) Modules(context.Context) ([]control.Module, error) {
	var all []control.Module
	for _, m := range p.core.Modules {
		all = append(all, control.Module{Name: m.Name, Args: m.Args, Size: int64(len(m.Data))})
	}
	return all, nil
}

// ReadModule implements control.Plane.
func (p *Plane) ReadModule(_ context.Context, name string, b []byte, offset int64) (int, error) {
	const most = 1 << 20 // of a file that is read anew each time
	m, err := p.core.ModuleUpTo(name, most)
	if err != nil {
		return 0, err
	}
	if offset < 0 {
		return 0, control.Errorf(control.ErrBadArgument, "offset %d", offset)
	}
	if offset >= int64(len(m.Data)) {
		return 0, io.EOF
	}
	n := copy(b, m.Data[offset:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

// path is a node of a domain.
func path(id mm.DomID, node string) string { return fmt.Sprintf("/local/domain/%d/%s", id, node) }
