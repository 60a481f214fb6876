package plane

import (
	"context"
	"errors"
	"io"

	"nidus/kernel/xenstore"
	"nidus/rpc/control"
)

// as0 does something with xenstore as domain 0.
func (p *Plane) as0(do func(c *xenstore.Conn) error) error {
	c := p.core.Host.Store.Open(0)
	defer c.Close()
	return storeError(do(c))
}

// storeError gives an error of xenstore its kind.
func storeError(err error) error {
	var e xenstore.Errno
	if !errors.As(err, &e) {
		return err
	}
	code := control.ErrInternal
	switch e {
	case xenstore.ENOENT:
		code = control.ErrNoNode
	case xenstore.EINVAL, xenstore.EISDIR:
		code = control.ErrBadArgument
	case xenstore.E2BIG:
		code = control.ErrTooBig
	case xenstore.ENOSPC, xenstore.ENOMEM:
		code = control.ErrQuota
	case xenstore.EACCES, xenstore.EPERM, xenstore.EROFS:
		code = control.ErrDenied
	case xenstore.EEXIST:
		code = control.ErrExists
	}
	return control.Errorf(code, "%v", err)
}

// XenstoreRead implements control.Plane.
func (p *Plane) XenstoreRead(_ context.Context, path string) (value []byte, err error) {
	err = p.as0(func(c *xenstore.Conn) error {
		s, err := c.Read(path)
		value = []byte(s)
		return err
	})
	return value, err
}

// XenstoreWrite implements control.Plane.
func (p *Plane) XenstoreWrite(_ context.Context, path string, value []byte) error {
	return p.as0(func(c *xenstore.Conn) error { return c.Write(path, string(value)) })
}

// XenstoreList implements control.Plane.
func (p *Plane) XenstoreList(_ context.Context, path string) (names []string, err error) {
	err = p.as0(func(c *xenstore.Conn) (err error) {
		names, err = c.List(path)
		return err
	})
	return names, err
}

// XenstoreRemove implements control.Plane.
func (p *Plane) XenstoreRemove(_ context.Context, path string) error {
	return p.as0(func(c *xenstore.Conn) error { return c.Rm(path) })
}

// XenstorePerms implements control.Plane.
func (p *Plane) XenstorePerms(_ context.Context, path string) (perms []string, err error) {
	err = p.as0(func(c *xenstore.Conn) error {
		all, err := c.Perms(path)
		for _, one := range all {
			perms = append(perms, one.String())
		}
		return err
	})
	return perms, err
}

// XenstoreSetPerms implements control.Plane.
func (p *Plane) XenstoreSetPerms(_ context.Context, path string, perms []string) error {
	if len(perms) == 0 {
		return control.Errorf(control.ErrBadArgument, "%s: no permissions; the first names the owner, as in n0", path)
	}
	return p.as0(func(c *xenstore.Conn) error {
		var all []xenstore.Perm
		for _, s := range perms {
			one, err := xenstore.ParsePerm(s)
			if err != nil {
				return err
			}
			all = append(all, one)
		}
		return c.SetPerms(path, all...)
	})
}

// watchStream is a watch with a connection of its own.
type watchStream struct {
	c      *xenstore.Conn
	w      *xenstore.Watch
	ctx    context.Context
	cancel context.CancelFunc
}

// XenstoreWatch implements control.Plane.
func (p *Plane) XenstoreWatch(ctx context.Context, path string) (control.WatchStream, error) {
	s := &watchStream{c: p.core.Host.Store.Open(0)}
	var err error
	if s.w, err = s.c.Watch(path); err != nil {
		s.c.Close()
		return nil, storeError(err)
	}
	s.ctx, s.cancel = p.bound(ctx)
	context.AfterFunc(s.ctx, s.c.Close)
	return s, nil
}

// Next implements control.WatchStream.
func (s *watchStream) Next(ctx context.Context) (string, error) {
	both, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)()
	path, err := s.w.Next(both)
	switch {
	case err == nil:
		return path, nil
	case ctx.Err() != nil:
		return "", ctx.Err()
	}
	return "", io.EOF
}

// Close implements control.WatchStream.
func (s *watchStream) Close() error {
	s.cancel()
	return nil
}
