package server

import (
	"context"
	"io"

	"nidus/rpc/api"
)

// store implements the service Xenstore.
type store struct{ *session }

func (s store) Read(ctx context.Context, in *api.PathRequest) (*api.ReadResponse, error) {
	v, err := s.plane.XenstoreRead(ctx, in.Path)
	return &api.ReadResponse{Value: v}, err
}

func (s store) Write(ctx context.Context, in *api.WriteRequest) (*api.Done, error) {
	return done(s.plane.XenstoreWrite(ctx, in.Path, in.Value))
}

func (s store) List(ctx context.Context, in *api.PathRequest) (*api.NamesResponse, error) {
	all, err := s.plane.XenstoreList(ctx, in.Path)
	return &api.NamesResponse{Names: all}, err
}

func (s store) Remove(ctx context.Context, in *api.PathRequest) (*api.Done, error) {
	return done(s.plane.XenstoreRemove(ctx, in.Path))
}

func (s store) Perms(ctx context.Context, in *api.PathRequest) (*api.PermsMessage, error) {
	all, err := s.plane.XenstorePerms(ctx, in.Path)
	return &api.PermsMessage{Perms: all}, err
}

func (s store) SetPerms(ctx context.Context, in *api.SetPermsRequest) (*api.Done, error) {
	return done(s.plane.XenstoreSetPerms(ctx, in.Path, in.Perms))
}

func (s store) Watch(in *api.PathRequest, stream api.DRPCXenstore_WatchStream) error {
	w, err := s.plane.XenstoreWatch(stream.Context(), in.Path)
	if err != nil {
		return err
	}
	defer w.Close()
	for {
		path, err := w.Next(stream.Context())
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if err := stream.Send(&api.Changed{Path: path}); err != nil {
			return err
		}
	}
}
