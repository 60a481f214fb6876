package client

import (
	"context"
	"io"

	"google.golang.org/protobuf/proto"

	"nidus/rpc/api"
	"nidus/rpc/control"
	"nidus/rpc/wire"
)

// What a call returns becomes a value of package control here. The methods are
// documented in control.Plane.

// value decodes an answer.
func value[T any](m proto.Message, err error) (T, error) {
	if err != nil {
		var none T
		return none, err
	}
	return wire.Decode[T](m)
}

// values decodes an answer's list.
func values[T, M any](all []*M, err error) ([]T, error) {
	if err != nil {
		return nil, err
	}
	return wire.List[T](all)
}

// only drops an answer that says nothing.
func only(_ *api.Done, err error) error { return err }

// HostInfo implements control.Plane.
func (c *Client) HostInfo(ctx context.Context) (control.HostInfo, error) {
	return value[control.HostInfo](c.host.Info(ctx, &api.InfoRequest{}))
}

// CPUs implements control.Plane.
func (c *Client) CPUs(ctx context.Context) ([]control.CPUInfo, error) {
	r, err := c.host.CPUs(ctx, &api.CPUsRequest{})
	return values[control.CPUInfo](r.GetCpus(), err)
}

// Memory implements control.Plane.
func (c *Client) Memory(ctx context.Context) (control.MemoryInfo, error) {
	return value[control.MemoryInfo](c.host.Memory(ctx, &api.MemoryRequest{}))
}

// Scheduler implements control.Plane.
func (c *Client) Scheduler(ctx context.Context) (control.SchedulerInfo, error) {
	return value[control.SchedulerInfo](c.host.Scheduler(ctx, &api.SchedulerRequest{}))
}

// Dmesg implements control.Plane.
func (c *Client) Dmesg(ctx context.Context, clear bool) ([]byte, error) {
	r, err := c.host.Dmesg(ctx, &api.DmesgRequest{Clear: clear})
	return r.GetLog(), err
}

// DebugKeys implements control.Plane.
func (c *Client) DebugKeys(ctx context.Context, keys string) error {
	return only(c.host.DebugKeys(ctx, &api.DebugKeysRequest{Keys: keys}))
}

// DeviceList implements control.Plane.
func (c *Client) DeviceList(ctx context.Context, id control.DomID, kind control.DeviceKind) ([]control.DeviceInfo, error) {
	r, err := c.devices.List(ctx, &api.DeviceListRequest{Id: uint32(id), Kind: api.DeviceKind(kind)})
	return values[control.DeviceInfo](r.GetDevices(), err)
}

// DeviceAttach implements control.Plane.
func (c *Client) DeviceAttach(ctx context.Context, id control.DomID, kind control.DeviceKind, spec string) (control.DeviceInfo, error) {
	return value[control.DeviceInfo](c.devices.Attach(ctx, &api.DeviceAttachRequest{Id: uint32(id), Kind: api.DeviceKind(kind), Spec: spec}))
}

// DeviceDetach implements control.Plane.
func (c *Client) DeviceDetach(ctx context.Context, id control.DomID, kind control.DeviceKind, ref string, force bool) error {
	return only(c.devices.Detach(ctx, &api.DeviceDetachRequest{Id: uint32(id), Kind: api.DeviceKind(kind), Ref: ref, Force: force}))
}

// CDChange implements control.Plane.
func (c *Client) CDChange(ctx context.Context, id control.DomID, ref, target string) (control.DeviceInfo, error) {
	return value[control.DeviceInfo](c.devices.ChangeCD(ctx, &api.CDChangeRequest{Id: uint32(id), Ref: ref, Target: target}))
}

// XenstoreRead implements control.Plane.
func (c *Client) XenstoreRead(ctx context.Context, path string) ([]byte, error) {
	r, err := c.store.Read(ctx, &api.PathRequest{Path: path})
	return r.GetValue(), err
}

// XenstoreWrite implements control.Plane.
func (c *Client) XenstoreWrite(ctx context.Context, path string, value []byte) error {
	return only(c.store.Write(ctx, &api.WriteRequest{Path: path, Value: value}))
}

// XenstoreList implements control.Plane.
func (c *Client) XenstoreList(ctx context.Context, path string) ([]string, error) {
	r, err := c.store.List(ctx, &api.PathRequest{Path: path})
	return r.GetNames(), err
}

// XenstoreRemove implements control.Plane.
func (c *Client) XenstoreRemove(ctx context.Context, path string) error {
	return only(c.store.Remove(ctx, &api.PathRequest{Path: path}))
}

// XenstorePerms implements control.Plane.
func (c *Client) XenstorePerms(ctx context.Context, path string) ([]string, error) {
	r, err := c.store.Perms(ctx, &api.PathRequest{Path: path})
	return r.GetPerms(), err
}

// XenstoreSetPerms implements control.Plane.
func (c *Client) XenstoreSetPerms(ctx context.Context, path string, perms []string) error {
	return only(c.store.SetPerms(ctx, &api.SetPermsRequest{Path: path, Perms: perms}))
}

// Clients implements control.Plane.
func (c *Client) Clients(ctx context.Context) ([]control.RemoteClient, error) {
	r, err := c.remote.Clients(ctx, &api.ClientsRequest{})
	return values[control.RemoteClient](r.GetClients(), err)
}

// AllowClient implements control.Plane.
func (c *Client) AllowClient(ctx context.Context, r control.RemoteClient) error {
	return only(c.remote.Allow(ctx, wire.Encode[api.RemoteClient](r)))
}

// RevokeClient implements control.Plane.
func (c *Client) RevokeClient(ctx context.Context, name string) error {
	return only(c.remote.Revoke(ctx, &api.RevokeRequest{Name: name}))
}

// Modules implements control.Plane.
func (c *Client) Modules(ctx context.Context) ([]control.Module, error) {
	r, err := c.files.Modules(ctx, &api.ModulesRequest{})
	return values[control.Module](r.GetModules(), err)
}

// ReadModule implements control.Plane, by as many calls as p needs.
func (c *Client) ReadModule(ctx context.Context, name string, p []byte, offset int64) (int, error) {
	for done := 0; ; {
		r, err := c.files.Read(ctx, &api.ReadFileRequest{Name: name, Offset: offset + int64(done), Length: uint32(min(len(p)-done, wire.MaxRead))})
		if err != nil {
			return done, err
		}
		n := copy(p[done:], r.Data)
		switch done += n; {
		case r.Eof:
			return done, io.EOF
		case done == len(p):
			return done, nil
		case n == 0:
			return done, io.ErrNoProgress
		}
	}
}

// Upload implements control.Plane. The file goes with the connection, if no Discard
// comes before, as soon as no domain needs it.
func (c *Client) Upload(ctx context.Context, name string, sum control.FileSum, r io.Reader) (string, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s, err := c.files.Upload(ctx)
	if err != nil {
		return "", err
	}
	if err := s.Send(&api.UploadChunk{Name: name, Size: sum.Size, Sha256: sum.SHA256[:]}); err == nil {
		b := make([]byte, wire.Chunk)
		for left := sum.Size; left > 0; {
			n, err := io.ReadFull(r, b[:min(left, wire.Chunk)])
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			if err != nil {
				return "", err
			}
			if left -= int64(n); s.Send(&api.UploadChunk{Data: b[:n]}) != nil {
				break // the answer says why
			}
		}
	}
	answer, err := s.CloseAndRecv()
	return answer.GetFile(), wire.DecodeError(ctx, err)
}

// FindUploaded implements control.Plane; as with Upload, the file goes with the
// connection.
func (c *Client) FindUploaded(ctx context.Context, sum control.FileSum) (string, error) {
	if c.server.Minor < 1 {
		return "", control.Errorf(control.ErrNoFile, "the control plane can't look for files")
	}
	r, err := c.files.FindUploaded(ctx, &api.FindUploadedRequest{Size: sum.Size, Sha256: sum.SHA256[:]})
	return r.GetFile(), err
}

// Discard implements control.Plane, for what this connection uploaded.
func (c *Client) Discard(ctx context.Context, file string) error {
	return only(c.files.Discard(ctx, &api.DiscardRequest{File: file}))
}
