package mtls

import (
	"bytes"
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"nidus/rpc/control"
)

// protocol is what both sides ask for in the handshake (ALPN, RFC 7301): what is meant
// for another server gets no further.
const protocol = "nidus"

// config is what both sides' handshakes have in common. No session is resumed: each
// connection proves its key, and asks the list.
func config(i *Identity) *tls.Config {
	return &tls.Config{
		Certificates: []tls.Certificate{i.cert}, MinVersion: tls.VersionTLS13, NextProtos: []string{protocol}, SessionTicketsDisabled: true,
		VerifyPeerCertificate: func(raw [][]byte, _ [][]*x509.Certificate) error { return onlyEd25519(raw) },
	}
}

var errKey = errors.New("a certificate that is not one with an Ed25519 key")

// onlyEd25519 spares us the signatures of others, which are larger. TLS proves then
// that the peer has the key.
func onlyEd25519(raw [][]byte) error {
	if len(raw) != 1 {
		return errKey
	}
	c, err := x509.ParseCertificate(raw[0])
	if err != nil {
		return err
	}
	if _, ok := c.PublicKey.(ed25519.PublicKey); !ok {
		return errKey
	}
	return nil
}

// inTime is nil while a certificate holds; whose says whose it is, and renew what its
// owner does.
func inTime(c *x509.Certificate, now time.Time, whose, renew string) error {
	const day = "2006-01-02 15:04"
	switch {
	case now.After(c.NotAfter):
		return control.Errorf(control.ErrDenied, "%s certificate has expired: it held until %s UTC, and it is %s here; %s", whose, c.NotAfter.UTC().Format(day), now.UTC().Format(day), renew)
	case now.Before(c.NotBefore):
		return control.Errorf(control.ErrDenied, "%s certificate holds from %s UTC on, and it is %s here: set the clock that is wrong, or %s", whose, c.NotBefore.UTC().Format(day), now.UTC().Format(day), renew)
	}
	return nil
}

// The first thing on a connection is the host's greeting: a line of the word nidus, a
// number, and a text. The number is 0, and then the control plane's protocol begins, or
// a control.Code: then the text says why there is no more. TLS itself would only say
// that it does not like the certificate.
const (
	greetingWord = "nidus"
	// maxGreeting is the line's longest length, in bytes.
	maxGreeting = 1024
)

func greeting(err error) []byte {
	if err == nil {
		return []byte(greetingWord + " 0 welcome\n")
	}
	text := strings.ReplaceAll(err.Error(), "\n", " ")
	line := fmt.Sprintf("%s %d %s", greetingWord, control.CodeOf(err), text)
	return append([]byte(line)[:min(len(line), maxGreeting-1)], '\n')
}

// readGreeting reads the line and no byte more; its refusal is the error.
func readGreeting(r io.Reader) error {
	line := make([]byte, 0, maxGreeting)
	for len(line) < maxGreeting {
		n, err := r.Read(line[len(line) : len(line)+1])
		if line = line[:len(line)+n]; n > 0 && line[len(line)-1] == '\n' {
			return parseGreeting(line[:len(line)-1])
		}
		if err != nil {
			return err
		}
	}
	return errGreeting
}

var errGreeting = control.Errorf(control.ErrVersion, "what answers there is no Nidus host, or one of another version: it says no greeting")

func parseGreeting(line []byte) error {
	word, rest, _ := bytes.Cut(line, []byte{' '})
	number, text, _ := bytes.Cut(rest, []byte{' '})
	code, err := strconv.ParseUint(string(number), 10, 16)
	switch {
	case string(word) != greetingWord || err != nil:
		return errGreeting
	case code == 0:
		return nil
	}
	return control.Errorf(control.Code(code), "%s", text)
}
