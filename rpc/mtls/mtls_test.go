package mtls_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/xtaci/smux"
	"storj.io/drpc/drpcconn"

	"nidus/rpc/api"
	"nidus/rpc/authorized"
	"nidus/rpc/client"
	"nidus/rpc/control"
	"nidus/rpc/mtls"
	"nidus/rpc/mtls/mtlstest"
	"nidus/rpc/server"
	"nidus/rpc/wire"
)

// plane is a host whose list of clients is real.
type plane struct {
	control.Plane // nil: nothing else is asked for
	list          *authorized.List
	cleared       bool
}

func (p *plane) HostInfo(context.Context) (control.HostInfo, error) {
	return control.HostInfo{Hostname: "far"}, nil
}
func (p *plane) Destroy(context.Context, control.DomID) error { return nil }
func (p *plane) Dmesg(_ context.Context, clear bool) ([]byte, error) {
	p.cleared = p.cleared || clear
	return []byte("log"), nil
}
func (p *plane) ConsoleAttach(context.Context, control.DomID, control.ConsoleOptions) (control.Console, error) {
	return nil, control.ErrNoDomain
}
func (p *plane) Clients(context.Context) ([]control.RemoteClient, error) {
	return p.list.Clients(), nil
}
func (p *plane) AllowClient(_ context.Context, c control.RemoteClient) error {
	return p.list.Allow(c)
}
func (p *plane) RevokeClient(_ context.Context, name string) error { return p.list.Revoke(name) }

// host is one that serves over loopback.
type host struct {
	*mtls.Identity
	plane   *plane
	address string

	mu  sync.Mutex
	log []string
}

// start serves a host; the options' Identity, Clients and Log are its own.
func start(t *testing.T, id *mtls.Identity, opt mtls.Options) *host {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := &host{Identity: id, plane: &plane{list: &authorized.List{}}, address: l.Addr().String()}
	opt.Identity, opt.Clients, opt.Log = id, h.plane.list, func(format string, args ...any) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.log = append(h.log, fmt.Sprintf(format, args...))
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- server.New(h.plane, server.Options{Name: "host"}).Serve(ctx, mtls.Listen(l, opt)) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return h
}

func (h *host) logged(text string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return strings.Contains(strings.Join(h.log, "\n"), text)
}

// allow puts a client on the list.
func (h *host) allow(t *testing.T, name string, id *mtls.Identity, role control.Role) {
	t.Helper()
	if err := h.plane.list.Allow(control.RemoteClient{Name: name, Fingerprint: id.Fingerprint, Role: role}); err != nil {
		t.Fatal(err)
	}
}

// dial connects a client that trusts a key.
func dial(t *testing.T, address string, id *mtls.Identity, pin *control.Fingerprint) (*client.Client, error) {
	t.Helper()
	d := &mtls.Dialer{Identity: id, Trusted: func(a string) (control.Fingerprint, bool, error) {
		if a != address {
			t.Errorf("the key of %q is looked for, not of %q", a, address)
		}
		if pin == nil {
			return control.Fingerprint{}, false, nil
		}
		return *pin, true, nil
	}}
	c, err := client.Dial(t.Context(), "tls:"+address, client.WithTransport("tls", d.Dial))
	if err == nil {
		t.Cleanup(func() { c.Close() })
	}
	return c, err
}

// wants compares an error's kind, and what its one line says.
func wants(t *testing.T, err error, kind control.Code, text string) {
	t.Helper()
	if err == nil || control.CodeOf(err) != kind || !strings.Contains(err.Error(), text) || strings.Contains(err.Error(), "\n") {
		t.Errorf("error %v, of kind %v; want %v with %q", err, control.CodeOf(err), kind, text)
	}
}

// Who is not trusted, on either side, gets no further, and reads why.
func TestRefusals(t *testing.T) {
	past, soon := time.Now().Add(-48*time.Hour), time.Now().Add(time.Hour)
	h := start(t, mtlstest.Identity(t, "host"), mtls.Options{})
	old := start(t, mtlstest.Between(t, "old host", past, past.Add(time.Hour)), mtls.Options{})
	good, stranger, other := mtlstest.Identity(t, "good"), mtlstest.Identity(t, "stranger"), mtlstest.Identity(t, "other")
	expired, early := mtlstest.Between(t, "expired", past, past.Add(time.Hour)), mtlstest.Between(t, "early", soon, soon.Add(time.Hour))
	for name, id := range map[string]*mtls.Identity{"good": good, "expired": expired, "early": early} {
		h.allow(t, name, id, control.RoleAdmin)
	}
	if c, err := dial(t, h.address, good, &h.Fingerprint); err != nil {
		t.Fatal(err)
	} else if i, err := c.HostInfo(t.Context()); err != nil || i.Hostname != "far" {
		t.Fatal(i, err)
	}
	for name, c := range map[string]struct {
		host *host
		id   *mtls.Identity
		pin  *control.Fingerprint
		text string
	}{
		"stranger":     {h, stranger, &h.Fingerprint, "does not know the key " + stranger.Fingerprint.String() + ", or no longer does; who administers it allows it with: xl cert allow "},
		"expired":      {h, expired, &h.Fingerprint, "the client's certificate has expired: it held until "},
		"early":        {h, early, &h.Fingerprint, "the client's certificate holds from "},
		"no pin":       {h, good, nil, "is not trusted yet; its key is said to be " + h.Fingerprint.String()},
		"another host": {h, good, &other.Fingerprint, "is not the host that is trusted: its key is " + h.Fingerprint.String() + ", not " + other.Fingerprint.String()},
		"old host":     {old, good, &old.Fingerprint, "the host's certificate has expired"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := dial(t, c.host.address, c.id, c.pin)
			wants(t, err, control.ErrDenied, c.text)
		})
	}
	if !h.logged("refused: the host does not know the key " + stranger.Fingerprint.String()) {
		t.Error("the host's log has no word of the stranger:", h.log)
	}
}

// A client that is revoked, or gets another role, loses its connections at once.
func TestRevoked(t *testing.T) {
	h := start(t, mtlstest.Identity(t, "host"), mtls.Options{})
	a, b := mtlstest.Identity(t, "a"), mtlstest.Identity(t, "b")
	h.allow(t, "a", a, control.RoleAdmin)
	h.allow(t, "b", b, control.RoleAdmin)
	ca, err := dial(t, h.address, a, &h.Fingerprint)
	if err != nil {
		t.Fatal(err)
	}
	cb, err := dial(t, h.address, b, &h.Fingerprint)
	if err != nil {
		t.Fatal(err)
	}
	if err := ca.RevokeClient(t.Context(), "b"); err != nil {
		t.Fatal(err)
	}
	_, err = cb.HostInfo(t.Context())
	wants(t, err, control.ErrDisconnected, "has ended")
	_, err = dial(t, h.address, b, &h.Fingerprint)
	wants(t, err, control.ErrDenied, "or no longer does")
	if _, err := ca.HostInfo(t.Context()); err != nil {
		t.Error("the other's connection went too:", err)
	}
	h.allow(t, "a", a, control.RoleReadOnly)
	_, err = ca.HostInfo(t.Context())
	wants(t, err, control.ErrDisconnected, "has ended")
}

// Who may only look is refused what changes something, by name.
func TestReadOnly(t *testing.T) {
	h := start(t, mtlstest.Identity(t, "host"), mtls.Options{})
	id := mtlstest.Identity(t, "looker")
	h.allow(t, "looker", id, control.RoleReadOnly)
	c, err := dial(t, h.address, id, &h.Fingerprint)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.HostInfo(t.Context()); err != nil {
		t.Error(err)
	}
	if log, err := c.Dmesg(t.Context(), false); err != nil || string(log) != "log" {
		t.Error(log, err)
	}
	_, clear := c.Dmesg(t.Context(), true)
	_, console := c.ConsoleAttach(t.Context(), 1, control.ConsoleOptions{})
	for what, err := range map[string]error{
		"emptying the log":                  clear,
		"the call /nidus.Consoles/Attach":   console,
		"the call /nidus.Domains/Destroy":   c.Destroy(t.Context(), 1),
		"the call /nidus.Remote/Allow":      c.AllowClient(t.Context(), control.RemoteClient{Name: "looker", Fingerprint: id.Fingerprint, Role: control.RoleAdmin}),
		"the call /nidus.Remote/Revoke":     c.RevokeClient(t.Context(), "looker"),
		"the call /nidus.Files/Discard":     c.Discard(t.Context(), "x"),
		"the call /nidus.Xenstore/SetPerms": c.XenstoreSetPerms(t.Context(), "/", nil),
	} {
		wants(t, err, control.ErrDenied, "client looker may only look (its role is read-only), and "+what+" takes the role admin")
	}
	if h.plane.cleared {
		t.Error("the log was emptied")
	}
}

// The calls that only look are no more than these: one that is added is a decision.
func TestReadOnlyCalls(t *testing.T) {
	for name := range api.ReadOnly {
		_, call, _ := strings.Cut(strings.TrimPrefix(name, "/nidus."), "/")
		switch call {
		case "Info", "CPUs", "Memory", "Scheduler", "Dmesg", "Log", "List", "Get", "GetConfig", "VCPUList", "GetSched", "Events", "Read", "Perms", "Watch", "Modules", "Clients":
		default:
			t.Errorf("%s is marked as one that changes nothing", name)
		}
	}
}

// A client of another major is told so, through TLS too.
func TestOtherMajor(t *testing.T) {
	h := start(t, mtlstest.Identity(t, "host"), mtls.Options{})
	id := mtlstest.Identity(t, "a")
	h.allow(t, "a", id, control.RoleAdmin)
	d := &mtls.Dialer{Identity: id, Trusted: func(string) (control.Fingerprint, bool, error) { return h.Fingerprint, true, nil }}
	conn, err := d.Dial(t.Context(), h.address)
	if err != nil {
		t.Fatal(err)
	}
	mux, err := smux.Client(conn, wire.Mux())
	if err != nil {
		t.Fatal(err)
	}
	defer mux.Close()
	stream, err := mux.OpenStream()
	if err != nil {
		t.Fatal(err)
	}
	_, err = api.NewDRPCSessionClient(drpcconn.New(stream)).Hello(t.Context(), &api.HelloRequest{Major: api.Major + 1})
	err = wire.DecodeError(t.Context(), err)
	wants(t, err, control.ErrVersion, "use a client of Nidus' own version")
}

// A peer that speaks no TLS is told what does; a host that doesn't is no host.
func TestPlain(t *testing.T) {
	h := start(t, mtlstest.Identity(t, "host"), mtls.Options{})
	c, err := net.Dial("tcp", h.address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "GET / HTTP/1.0\r\n\r\n")
	line, err := bufio.NewReader(c).ReadString('\n')
	if !strings.Contains(line, "this port speaks TLS; connect with: xl -H tls:") {
		t.Errorf("%q, %v", line, err)
	}

	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			fmt.Fprintf(c, "220 mail.example ESMTP\r\n")
			c.Close()
		}
	}()
	_, err = dial(t, l.Addr().String(), mtlstest.Identity(t, "a"), &h.Fingerprint)
	wants(t, err, control.ErrVersion, "speaks no TLS: it is no Nidus host")
}

// Clients with old versions, other protocols, other keys or no certificate are refused
// in the handshake or right behind it, and never served.
func TestForeignTLS(t *testing.T) {
	h := start(t, mtlstest.Identity(t, "host"), mtls.Options{})
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, ec.Public(), ec)
	if err != nil {
		t.Fatal(err)
	}
	p256 := tls.Certificate{Certificate: [][]byte{der}, PrivateKey: ec}
	for name, cfg := range map[string]*tls.Config{
		"no certificate": {NextProtos: []string{"nidus"}},
		"TLS 1.2":        {NextProtos: []string{"nidus"}, MaxVersion: tls.VersionTLS12, Certificates: []tls.Certificate{p256}},
		"P-256":          {NextProtos: []string{"nidus"}, Certificates: []tls.Certificate{p256}},
		"HTTP":           {NextProtos: []string{"h2"}, Certificates: []tls.Certificate{p256}},
	} {
		t.Run(name, func(t *testing.T) {
			cfg.InsecureSkipVerify = true // it is the host that is tested
			c, err := tls.Dial("tcp", h.address, cfg)
			if err != nil {
				return
			}
			defer c.Close()
			if b, err := io.ReadAll(c); err == nil || len(b) > 0 {
				t.Errorf("it was told %q", b)
			}
		})
	}
}

// What stalls in the handshake is ended in time, and keeps nobody out.
func TestStall(t *testing.T) {
	h := start(t, mtlstest.Identity(t, "host"), mtls.Options{Handshakes: 4, HandshakeTime: 300 * time.Millisecond})
	id := mtlstest.Identity(t, "a")
	h.allow(t, "a", id, control.RoleAdmin)
	var stalled []net.Conn
	for range 20 {
		c, err := net.Dial("tcp", h.address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		stalled = append(stalled, c)
	}
	if _, err := dial(t, h.address, id, &h.Fingerprint); err != nil {
		t.Errorf("behind %d that stall: %v", len(stalled), err)
	}
	for i, c := range stalled {
		c.SetDeadline(time.Now().Add(10 * time.Second))
		var timeout net.Error
		if _, err := c.Read(make([]byte, 1)); err == nil || errors.As(err, &timeout) && timeout.Timeout() {
			t.Errorf("connection %d is still there: %v", i, err)
		}
	}
}

// The quota counts handshakes only: it is the oldest that one more ends.
func TestQuotaEndsTheOldest(t *testing.T) {
	h := start(t, mtlstest.Identity(t, "host"), mtls.Options{Handshakes: 2, HandshakeTime: time.Hour})
	id := mtlstest.Identity(t, "a")
	h.allow(t, "a", id, control.RoleAdmin)
	var all []*client.Client
	for range 5 { // in their sessions, and so not counted
		c, err := dial(t, h.address, id, &h.Fingerprint)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, c)
	}
	first, err := net.Dial("tcp", h.address)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	for range 2 {
		c, err := net.Dial("tcp", h.address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	first.SetDeadline(time.Now().Add(10 * time.Second))
	var timeout net.Error
	if _, err := first.Read(make([]byte, 1)); err == nil || errors.As(err, &timeout) && timeout.Timeout() {
		t.Errorf("the oldest is still there: %v", err)
	}
	for _, c := range all {
		if _, err := c.HostInfo(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// A connection that is through its handshake is not in flight, even if nobody has
// accepted it yet.
func TestThroughIsNotInFlight(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	host, id := mtlstest.Identity(t, "host"), mtlstest.Identity(t, "a")
	list := authorized.New([]control.RemoteClient{{Name: "a", Fingerprint: id.Fingerprint}})
	l := mtls.Listen(inner, mtls.Options{Identity: host, Clients: list, Handshakes: 1, HandshakeTime: time.Hour})
	defer l.Close()
	d := &mtls.Dialer{Identity: id, Trusted: func(string) (control.Fingerprint, bool, error) { return host.Fingerprint, true, nil }}
	through, err := d.Dial(t.Context(), inner.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer through.Close()
	var stalled [2]net.Conn
	for i := range stalled {
		if stalled[i], err = net.Dial("tcp", inner.Addr().String()); err != nil {
			t.Fatal(err)
		}
		defer stalled[i].Close()
	}
	stalled[0].Read(make([]byte, 1)) // until the second ended the first
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if who := c.(*mtls.Conn).Client(); who.Name != "a" || who.Role != control.RoleReadOnly {
		t.Errorf("it is %v", who)
	}
	if _, err := c.Write([]byte("x")); err != nil {
		t.Error(err)
	}
	if _, err := io.ReadFull(through, make([]byte, 1)); err != nil {
		t.Error(err)
	}
}

// Close ends handshakes and waits for them; connections that were accepted stay.
func TestClose(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := mtls.Listen(inner, mtls.Options{Identity: mtlstest.Identity(t, "host"), Clients: &authorized.List{}, HandshakeTime: time.Hour})
	c, err := net.Dial("tcp", inner.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

func TestAddress(t *testing.T) {
	for in, want := range map[string]string{
		"host": "host:5417", "host:1": "host:1", "10.0.0.1": "10.0.0.1:5417", "::1": "[::1]:5417", "[::1]": "[::1]:5417", "[::1]:70": "[::1]:70", "a-b.c_d.:9": "a-b.c_d.:9",
		"": "", ":1": "", "host:": "", "host:0": "", "host:65536": "", "host:-1": "", "host:x": "", "a b": "", "a/b": "", "[::1": "", "[]": "", "[]:1": "", "host:1:2": "", "ho\nst": "", strings.Repeat("x", 254): "",
	} {
		got, err := mtls.Address(in)
		if got != want || (err == nil) != (want != "") || err != nil && control.CodeOf(err) != control.ErrBadArgument {
			t.Errorf("%q: %q, %v; want %q", in, got, err, want)
		}
	}
}
