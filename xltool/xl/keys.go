package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"nidus/rpc/control"
	"nidus/rpc/mtls"
	"nidus/xltool/shell"
)

// dialTLS connects over the network, with this program's key.
func dialTLS(ctx context.Context, target string) (net.Conn, error) {
	s, err := mtls.DefaultStore()
	if err != nil {
		return nil, err
	}
	i, err := s.Identity()
	if err != nil {
		return nil, err
	}
	return (&mtls.Dialer{Identity: i, Trusted: s.Trusted}).Dial(ctx, target)
}

// keys implements shell.Keys in the folder mtls.DefaultStore.
type keys struct{}

// early is how much sooner than now a certificate begins to hold: the host's clock may
// be behind.
const early = time.Hour

// Make implements shell.Keys.
func (keys) Make(name string, valid time.Duration, renew bool) (shell.Key, error) {
	s, err := mtls.DefaultStore()
	if err != nil {
		return shell.Key{}, err
	}
	now := time.Now()
	i, err := s.Init(name, now.Add(-early), now.Add(valid), renew)
	if err != nil {
		return shell.Key{}, err
	}
	return shown(s, i), nil
}

// Key implements shell.Keys.
func (keys) Key() (shell.Key, error) {
	s, err := mtls.DefaultStore()
	if err != nil {
		return shell.Key{}, err
	}
	i, err := s.Identity()
	if err != nil {
		return shell.Key{}, err
	}
	return shown(s, i), nil
}

func shown(s mtls.Store, i *mtls.Identity) shell.Key {
	return shell.Key{Name: i.Name, Fingerprint: i.Fingerprint, Certificate: s.CertificateFile(), Until: i.Until}
}

// maxCertificate is the longest file of a certificate, in bytes.
const maxCertificate = 64 << 10

// Certificate implements shell.Keys.
func (keys) Certificate(file string) (control.Fingerprint, error) {
	f, err := os.Open(file)
	if err != nil {
		return control.Fingerprint{}, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxCertificate))
	if err != nil {
		return control.Fingerprint{}, err
	}
	fp, _, err := mtls.ParseCertificate(text)
	if err != nil {
		return fp, fmt.Errorf("%s: %w", filepath.Clean(file), err)
	}
	return fp, nil
}

// Trust implements shell.Keys.
func (keys) Trust(host string, f control.Fingerprint) (string, error) {
	address, err := mtls.Address(host)
	if err != nil {
		return "", err
	}
	s, err := mtls.DefaultStore()
	if err != nil {
		return "", err
	}
	return address, s.Trust(address, f)
}

// Distrust implements shell.Keys.
func (keys) Distrust(host string) error {
	s, err := mtls.DefaultStore()
	if err != nil {
		return err
	}
	return s.Distrust(host)
}

// Trusted implements shell.Keys.
func (keys) Trusted() ([]shell.TrustedHost, error) {
	s, err := mtls.DefaultStore()
	if err != nil {
		return nil, err
	}
	hosts, err := s.Hosts()
	var all []shell.TrustedHost
	for _, address := range slices.Sorted(maps.Keys(hosts)) {
		all = append(all, shell.TrustedHost{Address: address, Fingerprint: hosts[address]})
	}
	return all, err
}
