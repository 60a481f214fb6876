package main

import (
	"bytes"
	"context"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"nidus/rpc/authorized"
	"nidus/rpc/control"
	"nidus/rpc/mtls"
	"nidus/rpc/mtls/mtlstest"
	"nidus/rpc/server"
)

// listed is a host with a list of clients.
type listed struct {
	plane
	*authorized.List
}

func (l listed) Clients(context.Context) ([]control.RemoteClient, error) {
	return l.List.Clients(), nil
}
func (l listed) AllowClient(_ context.Context, c control.RemoteClient) error { return l.Allow(c) }
func (l listed) RevokeClient(_ context.Context, name string) error           { return l.Revoke(name) }

// serveTLS serves a host over the network, and at a socket as it does to who is near.
func serveTLS(t *testing.T) (address, socket string, key control.Fingerprint) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address, socket = l.Addr().String(), filepath.Join(t.TempDir(), "sock")
	near, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	p, id := listed{List: &authorized.List{}}, mtlstest.Identity(t, "host")
	far := mtls.Listen(l, mtls.Options{Identity: id, Clients: p.List})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 2)
	for _, l := range []net.Listener{near, far} {
		go func() { done <- server.New(p, server.Options{}).Serve(ctx, l) }()
	}
	t.Cleanup(func() {
		cancel()
		for range 2 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	})
	return address, "unix:" + socket, id.Fingerprint
}

// A person's whole way: a key, the host's key, being allowed, working, being revoked.
// Each step before it is done is missed in one line.
func TestCert(t *testing.T) {
	address, socket, key := serveTLS(t)
	dir := filepath.Join(t.TempDir(), "new", "certs")
	t.Setenv("NIDUS_CERTS", dir)
	var ours string // fingerprint
	xl := func(status int, want string, args ...string) {
		t.Helper()
		var out bytes.Buffer
		for i := range args {
			args[i] = strings.ReplaceAll(args[i], "OURS", ours)
		}
		got := run(t.Context(), args, nil, &out, &out)
		if got != status || !strings.Contains(out.String(), strings.ReplaceAll(want, "OURS", ours)) {
			t.Errorf("xl %s: %d, %q; want %d, %q", strings.Join(args, " "), got, out.String(), status, want)
		}
		if status != 0 && strings.Count(out.String(), "\n") != 1 {
			t.Errorf("xl %s: not one line: %q", strings.Join(args, " "), out.String())
		}
		if m := regexp.MustCompile(`xl cert allow (\S+) anna\n`).FindStringSubmatch(out.String()); m != nil {
			ours = m[1]
		}
	}
	far := "tls:" + address
	xl(1, "xl info: this program has no key yet ("+dir+"/client.key); make one with: xl cert init", "-H", far, "info")
	xl(1, "has no key yet", "cert", "show")
	xl(1, "has no key yet", "cert", "init", "--renew")
	xl(1, "is no number of days", "cert", "init", "-d", "0")
	xl(1, "has the character", "cert", "init", "a b")
	xl(0, "fingerprint            : sha256:", "cert", "init", "anna")
	if st, err := os.Stat(filepath.Join(dir, "client.key")); err != nil || st.Mode().Perm() != 0o600 {
		t.Fatal(st, err)
	}
	xl(1, "client.key is there already", "cert", "init", "anna")
	xl(1, "is not trusted yet; its key is said to be "+key.String()+": ", "-H", far, "info")
	xl(1, "is no fingerprint", "cert", "trust", address, "sha256:12")
	xl(1, "is no address", "cert", "trust", "a b", key.String())
	xl(0, "is trusted", "cert", "trust", address, "sha256:"+strings.Repeat("aa", 32))
	xl(1, "is not the host that is trusted: its key is "+key.String(), "-H", far, "info")
	xl(0, "is trusted", "cert", "trust", address, key.String())
	xl(0, "trusts                 : "+address+" "+key.String()+"\n", "cert", "show")
	xl(1, "the host does not know the key OURS", "-H", far, "info")
	xl(1, "is neither a certificate's file here nor a fingerprint", "-H", socket, "cert", "allow", filepath.Join(dir, "none.crt"), "anna")
	xl(1, "it has no CERTIFICATE in PEM form", "-H", socket, "cert", "allow", filepath.Join(dir, "client.key"), "anna")
	xl(0, "", "-H", socket, "cert", "allow", "-r", "read-only", filepath.Join(dir, "client.crt"), "anna")
	xl(0, "read-only OURS anna\n", "-H", far, "cert", "list", "--authorized")
	xl(0, "far", "-H", far, "info")
	xl(1, "client anna may only look (its role is read-only), and the call /nidus.Remote/Revoke takes the role admin", "-H", far, "cert", "revoke", "anna")
	xl(0, "", "-H", socket, "cert", "allow", "OURS", "anna")
	xl(0, "certificate            : "+dir+"/client.crt", "cert", "init", "--renew", "-d", "1", "anna")
	xl(0, "anna                                     admin      OURS", "-H", far, "cert", "list") // the key is the same
	xl(1, `there is no client "bob"`, "-H", far, "cert", "revoke", "bob")
	xl(0, "", "-H", socket, "cert", "revoke", "anna")
	xl(1, "or no longer does", "-H", far, "info")
	xl(0, "", "cert", "distrust", address)
	xl(1, "no host at "+address+" is trusted", "cert", "distrust", address)
	xl(2, "an argument is missing", "cert", "trust", address)
	xl(1, "is no address", "-H", "tls:a b", "info")
	if err := os.Chmod(filepath.Join(dir, "client.key"), 0o644); err != nil {
		t.Fatal(err)
	}
	xl(1, "others may read the key", "-H", far, "info")
	if err := os.WriteFile(filepath.Join(dir, "hosts"), []byte("a\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	xl(1, "hosts:1: a line is ADDRESS FINGERPRINT", "cert", "trust", address, key.String())
}
