package server_test

import (
	"context"
	"net"
	"testing"
	"time"

	"nidus/rpc/client"
	"nidus/rpc/control"
	"nidus/rpc/server"
)

// ending is a control plane of a host that ends as soon as it is asked to.
type ending struct {
	control.Plane // nil: nothing else is asked for
}

func (ending) PowerOff(context.Context, control.HostEndOptions) (control.HostEndStream, error) {
	return lastStep{}, nil
}

type lastStep struct{}

func (lastStep) Next(context.Context) (control.HostEndStep, error) {
	return control.HostEndStep{Kind: control.HostEndNow, Text: "now"}, nil
}

func (lastStep) Close() error { return nil }

// HostEnds waits for who has asked for the end, and for nobody else.
func TestHostEnds(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := server.New(ending{}, server.Options{})
	go s.Serve(t.Context(), l)
	dial := func() *client.Client {
		c, err := client.Dial(t.Context(), "tcp:"+l.Addr().String(), client.WithTransport("tcp", func(_ context.Context, at string) (net.Conn, error) { return net.Dial("tcp", at) }))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	other := dial()
	defer other.Close()
	s.HostEnds()
	c := dial()
	steps, err := c.PowerOff(t.Context(), control.HostEndOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	if s, err := steps.Next(t.Context()); err != nil || s.Kind != control.HostEndNow {
		t.Errorf("%+v, %v", s, err)
	}
	go func() { s.HostEnds(); close(ended) }()
	select {
	case <-ended:
		t.Error("the host ends before the client that asked for it has gone")
	case <-time.After(50 * time.Millisecond):
	}
	steps.Close()
	c.Close()
	select {
	case <-ended:
	case <-time.After(5 * time.Second):
		t.Error("the client has gone, and the host does not end")
	}
}
