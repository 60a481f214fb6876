package client_test

import (
	"context"
	"net"
	"path/filepath"
	"testing"

	"nidus/rpc/authorized"
	"nidus/rpc/client"
	"nidus/rpc/control"
	"nidus/rpc/mtls"
	"nidus/rpc/mtls/mtlstest"
	"nidus/rpc/ring"
	"nidus/rpc/server"
)

// transports are what connections go over. Each returns the server's side, and what
// Dial takes.
var transports = map[string]func(testing.TB) (net.Listener, string, client.Option){
	"unix": func(t testing.TB) (net.Listener, string, client.Option) {
		l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
		if err != nil {
			t.Fatal(err)
		}
		return l, "unix:" + l.Addr().String(), client.WithName("test")
	},
	"ring": func(t testing.TB) (net.Listener, string, client.Option) {
		region := make([]byte, ring.Size(2, 256<<10)) // so large, it begins a page
		ours, theirs := ring.Bells()
		l, err := ring.Listen(region, ring.Options{Slots: 2, Doorbell: ours})
		if err != nil {
			t.Fatal(err)
		}
		return l, "ring:0", client.WithTransport("ring", func(ctx context.Context, _ string) (net.Conn, error) {
			return ring.Dial(ctx, region, ring.Options{Doorbell: theirs})
		})
	},
	"tls": func(t testing.TB) (net.Listener, string, client.Option) {
		host, us := mtlstest.Identity(t, "host"), mtlstest.Identity(t, "us")
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		list := authorized.New([]control.RemoteClient{{Name: "us", Fingerprint: us.Fingerprint, Role: control.RoleAdmin}})
		d := &mtls.Dialer{Identity: us, Trusted: func(string) (control.Fingerprint, bool, error) { return host.Fingerprint, true, nil }}
		return mtls.Listen(l, mtls.Options{Identity: host, Clients: list}), "tls:" + l.Addr().String(), client.WithTransport("tls", d.Dial)
	},
}

// over connects to a plane over one of them.
func over(t testing.TB, listen func(testing.TB) (net.Listener, string, client.Option), p control.Plane) *client.Client {
	t.Helper()
	l, target, opt := listen(t)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- server.New(p, server.Options{}).Serve(ctx, l) }()
	c, err := client.Dial(ctx, target, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return c
}
