package client_test

import (
	"context"
	"net"
	"path/filepath"
	"testing"

	"nidus/rpc/client"
	"nidus/rpc/control"
	"nidus/rpc/server"
)

// A small call, one after the other and many in flight, over a Unix-domain socket.
func BenchmarkCall(b *testing.B) {
	l, err := net.Listen("unix", filepath.Join(b.TempDir(), "s"))
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go server.New(&nothing{}, server.Options{}).Serve(ctx, l)
	c, err := client.Dial(ctx, "unix:"+l.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	b.Run("one", func(b *testing.B) {
		for b.Loop() {
			if err := c.Pause(ctx, 1); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("many", func(b *testing.B) {
		b.SetParallelism(8)
		b.RunParallel(func(p *testing.PB) {
			for p.Next() {
				if err := c.Pause(ctx, 1); err != nil {
					b.Error(err)
				}
			}
		})
	})
}

// nothing does nothing.
type nothing struct{ control.Plane }

func (nothing) Pause(context.Context, control.DomID) error { return nil }
