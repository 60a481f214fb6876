//go:build tamago

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"nidus/rpc/client"
	"nidus/rpc/control"
	"nidus/rpc/server"
)

// smallPlane is a control plane with a few calls.
type smallPlane struct {
	control.Plane
	began, cancelled chan struct{}
}

func (*smallPlane) Domain(_ context.Context, ref string) (control.DomainInfo, error) {
	if ref != "a" {
		return control.DomainInfo{}, control.Errorf(control.ErrNoDomain, "no domain %q", ref)
	}
	return control.DomainInfo{ID: 7, Name: "a", Uptime: time.Hour}, nil
}

func (p *smallPlane) Create(ctx context.Context, _ control.DomainConfig, _ control.CreateOptions) (control.DomID, error) {
	close(p.began)
	<-ctx.Done()
	close(p.cancelled)
	return 0, ctx.Err()
}

// calls makes some of the control plane's over a connection.
func calls() (string, error) {
	ours, theirs := net.Pipe()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	p := &smallPlane{began: make(chan struct{}), cancelled: make(chan struct{})}
	go server.New(p, server.Options{}).ServeConn(ctx, theirs)
	c, err := client.New(ctx, ours)
	if err != nil {
		return "", err
	}
	defer c.Close()
	if _, err := c.Domain(ctx, "b"); !errors.Is(err, control.ErrNoDomain) || err.Error() != `no domain "b"` {
		return "", fmt.Errorf("no domain: %v", err)
	}
	short, end := context.WithCancel(ctx)
	go func() {
		<-p.began
		end()
	}()
	if _, err := c.Create(short, control.DomainConfig{}, control.CreateOptions{}); !errors.Is(err, context.Canceled) {
		return "", fmt.Errorf("a cancelled call: %v", err)
	}
	<-p.cancelled
	const each, at = 500, 8
	begin := time.Now()
	var wg sync.WaitGroup
	faults := make(chan error, at)
	for range at {
		wg.Go(func() {
			for range each {
				if i, err := c.Domain(ctx, "a"); err != nil || i.ID != 7 || i.Uptime != time.Hour {
					faults <- fmt.Errorf("%+v: %w", i, err)
					return
				}
			}
		})
	}
	wg.Wait()
	select {
	case err := <-faults:
		return "", err
	default:
	}
	return fmt.Sprintf("%v a call, %d at a time", (time.Since(begin) / (each * at)).Round(100*time.Nanosecond), at), nil
}
