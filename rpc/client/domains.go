package client

import (
	"context"

	"google.golang.org/protobuf/proto"

	"nidus/rpc/api"
	"nidus/rpc/control"
	"nidus/rpc/wire"
)

// ListDomains implements control.Plane.
func (c *Client) ListDomains(ctx context.Context) ([]control.DomainInfo, error) {
	r, err := c.domains.List(ctx, &api.ListDomainsRequest{})
	return values[control.DomainInfo](r.GetDomains(), err)
}

// Domain implements control.Plane.
func (c *Client) Domain(ctx context.Context, ref string) (control.DomainInfo, error) {
	return value[control.DomainInfo](c.domains.Get(ctx, &api.GetDomainRequest{Ref: ref}))
}

func request(id control.DomID) *api.DomainRequest { return &api.DomainRequest{Id: uint32(id)} }

// DomainConfig implements control.Plane.
func (c *Client) DomainConfig(ctx context.Context, id control.DomID) (control.DomainConfig, error) {
	return value[control.DomainConfig](c.domains.GetConfig(ctx, request(id)))
}

// check refuses numbers that the schema has no place for, and no host a meaning.
func check(cfg *control.DomainConfig) error {
	for _, n := range []int{cfg.VCPUs, cfg.MaxVCPUs, cfg.MaxEventChannels, cfg.MaxGrantFrames, cfg.MaxMaptrackFrames, cfg.MaxGrantVersion} {
		if n < 0 || n > 1<<31-1 {
			return control.Errorf(control.ErrBadConfig, "%s: %d is out of range for a number of vcpus, or a quota", cfg.Name, n)
		}
	}
	for _, l := range append(cfg.HardAffinity[:len(cfg.HardAffinity):len(cfg.HardAffinity)], cfg.SoftAffinity...) {
		for _, t := range l {
			if t.First < 0 || t.First >= control.MaxCPUs || t.Last < 0 || t.Last >= control.MaxCPUs {
				return control.Errorf(control.ErrBadConfig, "%s: CPUs %d to %d; they count from 0 to %d", cfg.Name, t.First, t.Last, control.MaxCPUs-1)
			}
		}
	}
	return checkShare(cfg.Sched)
}

func checkShare(p control.SchedParams) error {
	if p.Weight != int(int32(p.Weight)) || p.CapPercent != int(int32(p.CapPercent)) {
		return p.Check()
	}
	return nil
}

// Create implements control.Plane.
func (c *Client) Create(ctx context.Context, cfg control.DomainConfig, opt control.CreateOptions) (control.DomID, error) {
	if err := check(&cfg); err != nil {
		return 0, err
	}
	in := &api.CreateRequest{Config: wire.Encode[api.DomainConfig](cfg), Paused: opt.Paused}
	if tell := control.ProgressOf(ctx); tell != nil && c.server.Minor >= 1 {
		return c.createWatched(ctx, in, tell)
	}
	r, err := c.domains.Create(ctx, in)
	return control.DomID(r.GetId()), err
}

func (c *Client) createWatched(ctx context.Context, in *api.CreateRequest, tell func(control.Progress)) (control.DomID, error) {
	if n := proto.Size(in); n > c.max {
		return 0, tooBig(n, c.max)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s, err := c.domains.CreateWatched(ctx, in)
	if err != nil {
		return 0, wire.DecodeError(ctx, err)
	}
	defer s.Close()
	for {
		m, err := s.Recv()
		switch {
		case err != nil:
			return 0, wire.DecodeError(ctx, err)
		case m.Id != 0:
			id, err := wire.DomID(m.Id)
			return id, err
		}
		tell(control.Progress{Step: m.Step, Done: m.Done, Total: m.Total})
	}
}

// SetConfig implements control.Plane.
func (c *Client) SetConfig(ctx context.Context, id control.DomID, cfg control.DomainConfig) error {
	if err := check(&cfg); err != nil {
		return err
	}
	return only(c.domains.SetConfig(ctx, &api.SetConfigRequest{Id: uint32(id), Config: wire.Encode[api.DomainConfig](cfg)}))
}

// Destroy implements control.Plane.
func (c *Client) Destroy(ctx context.Context, id control.DomID) error {
	return only(c.domains.Destroy(ctx, request(id)))
}

// Rename implements control.Plane.
func (c *Client) Rename(ctx context.Context, id control.DomID, name string) error {
	return only(c.domains.Rename(ctx, &api.RenameRequest{Id: uint32(id), Name: name}))
}

// Pause implements control.Plane.
func (c *Client) Pause(ctx context.Context, id control.DomID) error {
	return only(c.domains.Pause(ctx, request(id)))
}

// Unpause implements control.Plane.
func (c *Client) Unpause(ctx context.Context, id control.DomID) error {
	return only(c.domains.Unpause(ctx, request(id)))
}

// Shutdown implements control.Plane.
func (c *Client) Shutdown(ctx context.Context, id control.DomID, opt control.ShutdownOptions) error {
	return only(c.domains.Shutdown(ctx, &api.ShutdownRequest{Id: uint32(id), Fallback: opt.Fallback}))
}

// Reboot implements control.Plane.
func (c *Client) Reboot(ctx context.Context, id control.DomID, opt control.ShutdownOptions) error {
	return only(c.domains.Reboot(ctx, &api.ShutdownRequest{Id: uint32(id), Fallback: opt.Fallback}))
}

// Sysrq implements control.Plane.
func (c *Client) Sysrq(ctx context.Context, id control.DomID, letter byte) error {
	return only(c.domains.Sysrq(ctx, &api.SysrqRequest{Id: uint32(id), Letter: uint32(letter)}))
}

// Trigger implements control.Plane.
func (c *Client) Trigger(ctx context.Context, id control.DomID, t control.Trigger, vcpu int) error {
	if vcpu < 0 || vcpu > control.MaxVCPUs {
		return control.Errorf(control.ErrBadArgument, "there is no vcpu %d", vcpu)
	}
	return only(c.domains.Inject(ctx, &api.TriggerRequest{Id: uint32(id), Trigger: api.Trigger(t), Vcpu: uint32(vcpu)}))
}

// VCPUList implements control.Plane.
func (c *Client) VCPUList(ctx context.Context, id control.DomID) ([]control.VCPUInfo, error) {
	r, err := c.domains.VCPUList(ctx, request(id))
	return values[control.VCPUInfo](r.GetVcpus(), err)
}

// VCPUPin implements control.Plane.
func (c *Client) VCPUPin(ctx context.Context, id control.DomID, vcpu int, hard, soft control.CPUSet) error {
	if vcpu < control.AllVCPUs || vcpu > control.MaxVCPUs {
		return control.Errorf(control.ErrBadArgument, "there is no vcpu %d", vcpu)
	}
	set := func(s control.CPUSet) *api.CPUSet {
		if s == nil {
			return nil
		}
		return &api.CPUSet{Words: s}
	}
	return only(c.domains.VCPUPin(ctx, &api.VCPUPinRequest{Id: uint32(id), Vcpu: int32(vcpu), Hard: set(hard), Soft: set(soft)}))
}

// SetVCPUs implements control.Plane.
func (c *Client) SetVCPUs(ctx context.Context, id control.DomID, n int) error {
	if n < 1 || n > control.MaxVCPUs {
		return control.Errorf(control.ErrBadArgument, "%d vcpus: a domain has 1 to %d", n, control.MaxVCPUs)
	}
	return only(c.domains.VCPUSet(ctx, &api.VCPUSetRequest{Id: uint32(id), Vcpus: uint32(n)}))
}

// SchedCredit2 implements control.Plane.
func (c *Client) SchedCredit2(ctx context.Context, id control.DomID) (control.SchedParams, error) {
	return value[control.SchedParams](c.domains.GetSched(ctx, request(id)))
}

// SetSchedCredit2 implements control.Plane.
func (c *Client) SetSchedCredit2(ctx context.Context, id control.DomID, p control.SchedParams) error {
	if err := checkShare(p); err != nil {
		return err
	}
	return only(c.domains.SetSched(ctx, &api.SetSchedRequest{Id: uint32(id), Params: wire.Encode[api.SchedParams](p)}))
}

// SetMemory implements control.Plane.
func (c *Client) SetMemory(ctx context.Context, id control.DomID, bytes uint64) error {
	return only(c.domains.MemorySet(ctx, &api.MemorySetRequest{Id: uint32(id), Bytes: bytes}))
}

// SetMaxMemory implements control.Plane.
func (c *Client) SetMaxMemory(ctx context.Context, id control.DomID, bytes uint64) error {
	return only(c.domains.MemoryMax(ctx, &api.MemorySetRequest{Id: uint32(id), Bytes: bytes}))
}

// Save implements control.Plane.
func (c *Client) Save(ctx context.Context, id control.DomID, file string, keep bool) error {
	return only(c.domains.Save(ctx, &api.SaveRequest{Id: uint32(id), File: file, Keep: keep}))
}

// Restore implements control.Plane.
func (c *Client) Restore(ctx context.Context, file string, opt control.CreateOptions) (control.DomID, error) {
	r, err := c.domains.Restore(ctx, &api.RestoreRequest{File: file, Paused: opt.Paused})
	return control.DomID(r.GetId()), err
}
