package mtls

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"

	"nidus/rpc/control"
)

// Port is where a host listens if nothing else is said. It is Nidus' own choice among
// those that IANA has given to nobody.
const Port = 5417

// dialTime is how long a host may take to answer.
const dialTime = 10 * time.Second

// Address completes HOST, HOST:PORT, or an address of IPv6 in brackets or without, with
// the default port. ErrBadArgument.
func Address(s string) (string, error) {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		if len(s) > 2 && s[0] == '[' && s[len(s)-1] == ']' {
			s = s[1 : len(s)-1]
		}
		host, port = s, strconv.Itoa(Port)
		if _, _, err := net.SplitHostPort(net.JoinHostPort(host, port)); err != nil || net.ParseIP(host) == nil && !plausible(host) {
			host = ""
		}
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || !plausible(host) && net.ParseIP(host) == nil {
		return "", control.Errorf(control.ErrBadArgument, "%.100q is no address; write HOST or HOST:PORT, an address of IPv6 in brackets", s)
	}
	return net.JoinHostPort(host, port), nil
}

// plausible tells whether a text can be a host's name: the resolver knows more.
func plausible(host string) bool {
	for _, r := range host {
		if !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '-' || r == '_') {
			return false
		}
	}
	return host != "" && len(host) <= 253
}

// Dialer connects to hosts.
type Dialer struct {
	Identity *Identity
	// Trusted returns the key that the host of an address, as Address returns it, has
	// to have; false: none is trusted yet.
	Trusted func(address string) (control.Fingerprint, bool, error)
	// Now is the clock that certificates are held against (time.Now).
	Now func() time.Time
}

// Dial connects; it is a client.DialFunc. Of its errors, those that have a kind are a
// line that says all: ErrDenied (a host or client that is not trusted, or whose
// certificate does not hold), ErrVersion (what answers is no Nidus host).
func (d *Dialer) Dial(ctx context.Context, target string) (net.Conn, error) {
	address, err := Address(target)
	if err != nil {
		return nil, err
	}
	pin, known, err := d.Trusted(address)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	var nd net.Dialer
	c, err := nd.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	end, _ := ctx.Deadline()
	c.SetDeadline(end)
	stop := context.AfterFunc(ctx, func() { c.Close() })
	t, err := d.handshake(ctx, c, address, pin, known)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		c.Close()
		return nil, d.explain(err, address)
	}
	c.SetDeadline(time.Time{})
	return t, nil
}

func (d *Dialer) handshake(ctx context.Context, c net.Conn, address string, pin control.Fingerprint, known bool) (*tls.Conn, error) {
	cfg := config(d.Identity)
	// No authority signs hosts' certificates, and no name in one matters:
	// VerifyConnection compares the key with the one that is trusted, before anything
	// of ours is told.
	cfg.InsecureSkipVerify = true
	cfg.VerifyConnection = func(s tls.ConnectionState) error {
		cert := s.PeerCertificates[0]
		switch f := fingerprint(cert); {
		case !known:
			return control.Errorf(control.ErrDenied, "the host at %s is not trusted yet; its key is said to be %v: if it is what the host's own log says, run: xl cert trust %s %v", address, f, address, f)
		case f != pin:
			return control.Errorf(control.ErrDenied, "what answers at %s is not the host that is trusted: its key is %v, not %v; if the host was given a new key, run: xl cert trust %s %v", address, f, pin, address, f)
		}
		now := time.Now
		if d.Now != nil {
			now = d.Now
		}
		return inTime(cert, now(), "the host's", "start the host again, which makes one")
	}
	t := tls.Client(c, cfg)
	if err := t.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	return t, readGreeting(t)
}

// explain says what an error of the handshake means.
func (d *Dialer) explain(err error, address string) error {
	var told *control.Error
	var plain tls.RecordHeaderError
	var alert tls.AlertError
	var op *net.OpError
	var timeout net.Error
	switch {
	case errors.As(err, &told):
		return told
	case errors.As(err, &plain):
		return control.Errorf(control.ErrVersion, "what answers at %s speaks no TLS: it is no Nidus host, or not its port", address)
	case errors.As(err, &alert), errors.As(err, &op) && op.Op == "remote error":
		return control.Errorf(control.ErrDenied, "the host at %s ended the handshake (%v): it is no Nidus host, or takes no such certificate as this one's, %v", address, err, d.Identity.Fingerprint)
	case errors.As(err, &timeout) && timeout.Timeout():
		return fmt.Errorf("it did not answer within %v", dialTime)
	case errors.Is(err, io.EOF), errors.Is(err, net.ErrClosed):
		return errors.New("the connection ended in the handshake; the host may be busy with too many others")
	}
	return err
}
