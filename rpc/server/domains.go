package server

import (
	"context"
	"io"
	"time"

	"nidus/rpc/api"
	"nidus/rpc/control"
	"nidus/rpc/wire"
)

// domains implements the service Domains.
type domains struct{ *session }

func (d domains) List(ctx context.Context, _ *api.ListDomainsRequest) (*api.ListDomainsResponse, error) {
	all, err := list[api.DomainInfo](d.plane.ListDomains(ctx))
	return &api.ListDomainsResponse{Domains: all}, err
}

func (d domains) Get(ctx context.Context, in *api.GetDomainRequest) (*api.DomainInfo, error) {
	return message[api.DomainInfo](d.plane.Domain(ctx, in.Ref))
}

// with does something to a domain that returns nothing.
func with(id uint32, do func(control.DomID) error) (*api.Done, error) {
	dom, err := wire.DomID(id)
	if err != nil {
		return nil, err
	}
	return done(do(dom))
}

func (d domains) GetConfig(ctx context.Context, in *api.DomainRequest) (*api.DomainConfig, error) {
	id, err := wire.DomID(in.Id)
	if err != nil {
		return nil, err
	}
	return message[api.DomainConfig](d.plane.DomainConfig(ctx, id))
}

func (d domains) Create(ctx context.Context, in *api.CreateRequest) (*api.CreateResponse, error) {
	cfg, err := wire.Decode[control.DomainConfig](in.Config)
	if err != nil {
		return nil, err
	}
	id, err := d.plane.Create(ctx, cfg, control.CreateOptions{Paused: in.Paused})
	return &api.CreateResponse{Id: uint32(id)}, err
}

// CreateWatched sends what there is to tell as fast as the client takes it, and no
// faster than anybody looks: Create never waits for it.
func (d domains) CreateWatched(in *api.CreateRequest, stream api.DRPCDomains_CreateWatchedStream) error {
	cfg, err := wire.Decode[control.DomainConfig](in.Config)
	if err != nil {
		return err
	}
	const pause = 100 * time.Millisecond
	latest, sent := make(chan control.Progress, 1), make(chan error, 1)
	go func() {
		var err error
		for p := range latest {
			if err == nil {
				err = stream.Send(&api.CreateProgress{Step: p.Step, Done: p.Done, Total: p.Total})
			}
		}
		sent <- err
	}()
	var last control.Progress
	var at time.Time
	id, err := func() (control.DomID, error) {
		defer close(latest) // a defect of Create too
		return d.plane.Create(control.WithProgress(stream.Context(), func(p control.Progress) {
			if p.Step == last.Step && time.Since(at) < pause {
				return
			}
			select {
			case latest <- p:
				last, at = p, time.Now()
			default:
			}
		}), cfg, control.CreateOptions{Paused: in.Paused})
	}()
	if sendErr := <-sent; err == nil {
		err = sendErr
	}
	if err != nil {
		return err
	}
	return stream.Send(&api.CreateProgress{Id: uint32(id)})
}

func (d domains) SetConfig(ctx context.Context, in *api.SetConfigRequest) (*api.Done, error) {
	cfg, err := wire.Decode[control.DomainConfig](in.Config)
	if err != nil {
		return nil, err
	}
	return with(in.Id, func(id control.DomID) error { return d.plane.SetConfig(ctx, id, cfg) })
}

func (d domains) Destroy(ctx context.Context, in *api.DomainRequest) (*api.Done, error) {
	return with(in.Id, func(id control.DomID) error { return d.plane.Destroy(ctx, id) })
}

func (d domains) Rename(ctx context.Context, in *api.RenameRequest) (*api.Done, error) {
	return with(in.Id, func(id control.DomID) error { return d.plane.Rename(ctx, id, in.Name) })
}

func (d domains) Pause(ctx context.Context, in *api.DomainRequest) (*api.Done, error) {
	return with(in.Id, func(id control.DomID) error { return d.plane.Pause(ctx, id) })
}

func (d domains) Unpause(ctx context.Context, in *api.DomainRequest) (*api.Done, error) {
	return with(in.Id, func(id control.DomID) error { return d.plane.Unpause(ctx, id) })
}

func (d domains) Shutdown(ctx context.Context, in *api.ShutdownRequest) (*api.Done, error) {
	return with(in.Id, func(id control.DomID) error {
		return d.plane.Shutdown(ctx, id, control.ShutdownOptions{Fallback: in.Fallback})
	})
}

func (d domains) Reboot(ctx context.Context, in *api.ShutdownRequest) (*api.Done, error) {
	return with(in.Id, func(id control.DomID) error {
		return d.plane.Reboot(ctx, id, control.ShutdownOptions{Fallback: in.Fallback})
	})
}

func (d domains) Sysrq(ctx context.Context, in *api.SysrqRequest) (*api.Done, error) {
	if in.Letter > 0xff {
		return nil, control.Errorf(control.ErrBadArgument, "%#x is no letter of a magic system request", in.Letter)
	}
	return with(in.Id, func(id control.DomID) error { return d.plane.Sysrq(ctx, id, byte(in.Letter)) })
}

func (d domains) Inject(ctx context.Context, in *api.TriggerRequest) (*api.Done, error) {
	if in.Trigger < 0 || in.Trigger > 0xff || in.Vcpu > control.MaxVCPUs {
		return nil, control.Errorf(control.ErrBadArgument, "there is no trigger %d, or no vcpu %d", in.Trigger, in.Vcpu)
	}
	return with(in.Id, func(id control.DomID) error {
		return d.plane.Trigger(ctx, id, control.Trigger(in.Trigger), int(in.Vcpu))
	})
}

func (d domains) VCPUList(ctx context.Context, in *api.DomainRequest) (*api.VCPUListResponse, error) {
	id, err := wire.DomID(in.Id)
	if err != nil {
		return nil, err
	}
	all, err := list[api.VCPUInfo](d.plane.VCPUList(ctx, id))
	return &api.VCPUListResponse{Vcpus: all}, err
}

func (d domains) VCPUPin(ctx context.Context, in *api.VCPUPinRequest) (*api.Done, error) {
	for _, s := range []*api.CPUSet{in.Hard, in.Soft} {
		if len(s.GetWords()) > control.MaxCPUs/64 {
			return nil, control.Errorf(control.ErrBadArgument, "a set of %d words; there are at most %d CPUs", len(s.Words), control.MaxCPUs)
		}
	}
	hard, err := wire.Decode[control.CPUSet](in.Hard)
	if err != nil {
		return nil, err
	}
	soft, err := wire.Decode[control.CPUSet](in.Soft)
	if err != nil {
		return nil, err
	}
	return with(in.Id, func(id control.DomID) error { return d.plane.VCPUPin(ctx, id, int(in.Vcpu), hard, soft) })
}

func (d domains) VCPUSet(ctx context.Context, in *api.VCPUSetRequest) (*api.Done, error) {
	return with(in.Id, func(id control.DomID) error { return d.plane.SetVCPUs(ctx, id, int(in.Vcpus)) })
}

func (d domains) GetSched(ctx context.Context, in *api.DomainRequest) (*api.SchedParams, error) {
	id, err := wire.DomID(in.Id)
	if err != nil {
		return nil, err
	}
	return message[api.SchedParams](d.plane.SchedCredit2(ctx, id))
}

func (d domains) SetSched(ctx context.Context, in *api.SetSchedRequest) (*api.Done, error) {
	p, err := wire.Decode[control.SchedParams](in.Params)
	if err != nil {
		return nil, err
	}
	return with(in.Id, func(id control.DomID) error { return d.plane.SetSchedCredit2(ctx, id, p) })
}

func (d domains) MemorySet(ctx context.Context, in *api.MemorySetRequest) (*api.Done, error) {
	return with(in.Id, func(id control.DomID) error { return d.plane.SetMemory(ctx, id, in.Bytes) })
}

func (d domains) MemoryMax(ctx context.Context, in *api.MemorySetRequest) (*api.Done, error) {
	return with(in.Id, func(id control.DomID) error { return d.plane.SetMaxMemory(ctx, id, in.Bytes) })
}

func (d domains) Save(ctx context.Context, in *api.SaveRequest) (*api.Done, error) {
	return with(in.Id, func(id control.DomID) error { return d.plane.Save(ctx, id, in.File, in.Keep) })
}

func (d domains) Restore(ctx context.Context, in *api.RestoreRequest) (*api.CreateResponse, error) {
	id, err := d.plane.Restore(ctx, in.File, control.CreateOptions{Paused: in.Paused})
	return &api.CreateResponse{Id: uint32(id)}, err
}

func (d domains) Events(_ *api.EventsRequest, stream api.DRPCDomains_EventsStream) error {
	events, err := d.plane.Events(stream.Context())
	if err != nil {
		return err
	}
	defer events.Close()
	if err := stream.Send(&api.Event{Kind: api.EventKind_EVENT_LISTENING}); err != nil {
		return err
	}
	for {
		e, err := events.Next(stream.Context())
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if err := stream.Send(wire.Encode[api.Event](e)); err != nil {
			return err
		}
	}
}
