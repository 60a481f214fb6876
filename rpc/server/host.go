package server

import (
	"context"
	"io"

	"google.golang.org/protobuf/proto"

	"nidus/rpc/api"
	"nidus/rpc/control"
	"nidus/rpc/wire"
)

// done is the answer to calls that return nothing.
func done(err error) (*api.Done, error) { return &api.Done{}, err }

// message is an answer of one message.
func message[M any](v any, err error) (*M, error) {
	if err != nil {
		return nil, err
	}
	return wire.Encode[M](v), nil
}

// list is an answer's list of messages.
func list[M, T any](all []T, err error) ([]*M, error) {
	if err != nil {
		return nil, err
	}
	return wire.List[*M](all)
}

// host implements the service Host.
type host struct{ *session }

func (h host) Info(ctx context.Context, _ *api.InfoRequest) (*api.HostInfo, error) {
	return message[api.HostInfo](h.plane.HostInfo(ctx))
}

func (h host) CPUs(ctx context.Context, _ *api.CPUsRequest) (*api.CPUsResponse, error) {
	all, err := list[api.CPUInfo](h.plane.CPUs(ctx))
	return &api.CPUsResponse{Cpus: all}, err
}

func (h host) Memory(ctx context.Context, _ *api.MemoryRequest) (*api.MemoryInfo, error) {
	return message[api.MemoryInfo](h.plane.Memory(ctx))
}

func (h host) Scheduler(ctx context.Context, _ *api.SchedulerRequest) (*api.SchedulerInfo, error) {
	return message[api.SchedulerInfo](h.plane.Scheduler(ctx))
}

func (h host) Dmesg(ctx context.Context, in *api.DmesgRequest) (*api.DmesgResponse, error) {
	if in.Clear {
		if err := h.may("emptying the log", true); err != nil {
			return nil, err
		}
	}
	log, err := h.plane.Dmesg(ctx, in.Clear)
	return &api.DmesgResponse{Log: log[max(0, len(log)-wire.MaxDmesg):]}, err
}

func (h host) Log(in *api.LogRequest, stream api.DRPCHost_LogStream) error {
	r, err := h.plane.Log(stream.Context(), in.History)
	if err != nil {
		return err
	}
	defer r.Close()
	if err := stream.Send(&api.LogChunk{}); err != nil {
		return err
	}
	for b := make([]byte, wire.Chunk); ; {
		n, err := r.Read(b)
		if n > 0 {
			if err := stream.Send(&api.LogChunk{Data: b[:n]}); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (h host) DebugKeys(ctx context.Context, in *api.DebugKeysRequest) (*api.Done, error) {
	return done(h.plane.DebugKeys(ctx, in.Keys))
}

func (h host) PowerOff(in *api.PowerOffRequest, stream api.DRPCHost_PowerOffStream) error {
	return h.end(in, stream, h.plane.PowerOff)
}

func (h host) Reboot(in *api.HostRebootRequest, stream api.DRPCHost_RebootStream) error {
	return h.end(in, stream, h.plane.HostReboot)
}

// end sends the steps of the host's end.
func (h host) end(in proto.Message, stream interface {
	Context() context.Context
	Send(*api.HostEndStep) error
}, do func(context.Context, control.HostEndOptions) (control.HostEndStream, error)) error {
	h.hears.Do(h.s.ends.RLock)
	opt, err := wire.Decode[control.HostEndOptions](in)
	if err != nil {
		return err
	}
	steps, err := do(stream.Context(), opt)
	if err != nil {
		return err
	}
	defer steps.Close()
	for {
		s, err := steps.Next(stream.Context())
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if err := stream.Send(wire.Encode[api.HostEndStep](s)); err != nil || s.Kind == control.HostEndNow {
			return err
		}
	}
}

// remote implements the service Remote.
type remote struct{ *session }

func (r remote) Clients(ctx context.Context, _ *api.ClientsRequest) (*api.ClientsResponse, error) {
	all, err := list[api.RemoteClient](r.plane.Clients(ctx))
	return &api.ClientsResponse{Clients: all}, err
}

func (r remote) Allow(ctx context.Context, in *api.RemoteClient) (*api.Done, error) {
	c, err := wire.Decode[control.RemoteClient](in)
	if err != nil {
		return nil, err
	}
	return done(r.plane.AllowClient(ctx, c))
}

func (r remote) Revoke(ctx context.Context, in *api.RevokeRequest) (*api.Done, error) {
	return done(r.plane.RevokeClient(ctx, in.Name))
}

// devices implements the service Devices.
type devices struct{ *session }

func (d devices) List(ctx context.Context, in *api.DeviceListRequest) (*api.DeviceListResponse, error) {
	id, kind, err := device(in.Id, in.Kind)
	if err != nil {
		return nil, err
	}
	all, err := list[api.DeviceInfo](d.plane.DeviceList(ctx, id, kind))
	return &api.DeviceListResponse{Devices: all}, err
}

func (d devices) Attach(ctx context.Context, in *api.DeviceAttachRequest) (*api.DeviceInfo, error) {
	id, kind, err := device(in.Id, in.Kind)
	if err != nil {
		return nil, err
	}
	return message[api.DeviceInfo](d.plane.DeviceAttach(ctx, id, kind, in.Spec))
}

func (d devices) Detach(ctx context.Context, in *api.DeviceDetachRequest) (*api.Done, error) {
	id, kind, err := device(in.Id, in.Kind)
	if err != nil {
		return nil, err
	}
	return done(d.plane.DeviceDetach(ctx, id, kind, in.Ref, in.Force))
}

func (d devices) ChangeCD(ctx context.Context, in *api.CDChangeRequest) (*api.DeviceInfo, error) {
	id, err := wire.DomID(in.Id)
	if err != nil {
		return nil, err
	}
	return message[api.DeviceInfo](d.plane.CDChange(ctx, id, in.Ref, in.Target))
}

func device(id uint32, kind api.DeviceKind) (control.DomID, control.DeviceKind, error) {
	if kind < api.DeviceKind_DEVICE_BLOCK || kind > 0xff {
		return 0, 0, control.Errorf(control.ErrBadArgument, "%d is no kind of devices", kind)
	}
	dom, err := wire.DomID(id)
	return dom, control.DeviceKind(kind), err
}
