package mtls

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"nidus/rpc/control"
)

// Store is the folder of a client's key and of the hosts that it trusts. Its files are
// client.key, which only its owner may read, client.crt, and hosts, a line
// ADDRESS FINGERPRINT for each.
type Store struct{ Dir string }

const (
	keyFile   = "client.key"
	certFile  = "client.crt"
	hostsFile = "hosts"
	// maxHosts is the longest file of hosts, in bytes.
	maxHosts = 1 << 20
)

// DefaultStore is the folder that the environment's NIDUS_CERTS names, or else nidus in
// the person's folder for configurations ($XDG_CONFIG_HOME, ~/.config).
func DefaultStore() (Store, error) {
	if dir := os.Getenv("NIDUS_CERTS"); dir != "" {
		return Store{dir}, nil
	}
	dir, err := os.UserConfigDir()
	if err != nil {
		return Store{}, control.Errorf(control.ErrBadArgument, "there is no place for keys (%v); name one in the environment's NIDUS_CERTS", err)
	}
	return Store{filepath.Join(dir, "nidus")}, nil
}

func (s Store) path(file string) string { return filepath.Join(s.Dir, file) }

// CertificateFile is where the certificate is.
func (s Store) CertificateFile() string { return s.path(certFile) }

// Init makes a key, unless there is one, and a certificate for it. A key that is there
// is kept, and with renew gets a new certificate; without, that is ErrExists.
func (s Store) Init(name string, from, until time.Time, renew bool) (*Identity, error) {
	if _, err := os.Stat(s.path(keyFile)); err == nil && !renew {
		return nil, control.Errorf(control.ErrExists, "%s is there already: \"xl cert show\" shows it, \"xl cert init --renew\" gives it a new certificate", s.path(keyFile))
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	key, err := s.key()
	switch {
	case errors.Is(err, fs.ErrNotExist) && renew:
		return nil, errNoKey(s.path(keyFile))
	case errors.Is(err, fs.ErrNotExist):
		if key, err = NewKey(); err != nil {
			return nil, err
		}
		text, err := KeyPEM(key)
		if err != nil {
			return nil, err
		}
		if err := s.write(keyFile, text, 0o600); err != nil {
			return nil, err
		}
	case err != nil:
		return nil, err
	}
	i, err := Certify(key, name, from, until)
	if err != nil {
		return nil, err
	}
	return i, s.write(certFile, i.CertificatePEM(), 0o644)
}

func errNoKey(file string) error {
	return control.Errorf(control.ErrNoFile, "this program has no key yet (%s); make one with: xl cert init", file)
}

// key reads the key, which must be nobody else's.
func (s Store) key() (ed25519.PrivateKey, error) {
	st, err := os.Stat(s.path(keyFile))
	if err != nil {
		return nil, err
	}
	if st.Mode().Perm()&0o077 != 0 {
		return nil, control.Errorf(control.ErrDenied, "others may read the key %s: if nobody has, chmod 600 %s; else remove it, and make another with: xl cert init", s.path(keyFile), s.path(keyFile))
	}
	text, err := os.ReadFile(s.path(keyFile))
	if err != nil {
		return nil, err
	}
	k, err := ParseKey(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.path(keyFile), err)
	}
	return k, nil
}

// Identity returns what Init made. ErrNoFile if it made nothing yet.
func (s Store) Identity() (*Identity, error) {
	key, err := s.key()
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errNoKey(s.path(keyFile))
	}
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(s.path(certFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, control.Errorf(control.ErrNoFile, "the key has no certificate (%s); make one with: xl cert init --renew", s.path(certFile))
	}
	if err != nil {
		return nil, err
	}
	c, err := certificate(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.path(certFile), err)
	}
	i, err := identity(key, c.Raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w; make a certificate with: xl cert init --renew", s.path(certFile), err)
	}
	return i, nil
}

// Hosts returns the keys of the hosts that are trusted, by address.
func (s Store) Hosts() (map[string]control.Fingerprint, error) {
	text, err := os.ReadFile(s.path(hostsFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return parseHosts(s.path(hostsFile), text)
}

func parseHosts(name string, text []byte) (map[string]control.Fingerprint, error) {
	hosts := map[string]control.Fingerprint{}
	bad := func(line int, format string, args ...any) error {
		return &control.Error{Code: control.ErrBadConfig, Msg: fmt.Sprintf("%s:%d: %s", name, line, fmt.Sprintf(format, args...)), File: name, Line: line}
	}
	if len(text) > maxHosts {
		return nil, bad(1, "it has %d bytes, more than a list of hosts can have", len(text))
	}
	n := 0
	for line := range bytes.Lines(text) {
		n++
		words := strings.Fields(string(line))
		if len(words) == 0 || words[0][0] == '#' {
			continue
		}
		if len(words) != 2 {
			return nil, bad(n, "a line is ADDRESS FINGERPRINT, and this one has %d words", len(words))
		}
		f, err := control.ParseFingerprint(words[1])
		if err != nil {
			return nil, bad(n, "%v", err)
		}
		address, err := Address(words[0])
		if err != nil {
			return nil, bad(n, "%v", err)
		}
		if _, twice := hosts[address]; twice {
			return nil, bad(n, "%s is there twice", address)
		}
		hosts[address] = f
	}
	return hosts, nil
}

func formatHosts(hosts map[string]control.Fingerprint) []byte {
	var b bytes.Buffer
	for _, address := range slices.Sorted(maps.Keys(hosts)) {
		fmt.Fprintf(&b, "%s %v\n", address, hosts[address])
	}
	return b.Bytes()
}

// Trusted is a Dialer's.
func (s Store) Trusted(address string) (control.Fingerprint, bool, error) {
	hosts, err := s.Hosts()
	f, ok := hosts[address]
	return f, ok, err
}

// Trust makes a key that of the host at an address, from now on.
func (s Store) Trust(host string, f control.Fingerprint) error {
	return s.change(host, func(hosts map[string]control.Fingerprint, address string) error {
		hosts[address] = f
		return nil
	})
}

// Distrust takes that back. ErrBadArgument if no key is known.
func (s Store) Distrust(host string) error {
	return s.change(host, func(hosts map[string]control.Fingerprint, address string) error {
		if _, ok := hosts[address]; !ok {
			return control.Errorf(control.ErrBadArgument, "no host at %s is trusted; \"xl cert show\" lists those that are", address)
		}
		delete(hosts, address)
		return nil
	})
}

func (s Store) change(host string, do func(map[string]control.Fingerprint, string) error) error {
	address, err := Address(host)
	if err != nil {
		return err
	}
	hosts, err := s.Hosts()
	if err != nil {
		return err
	}
	if hosts == nil {
		hosts = map[string]control.Fingerprint{}
	}
	if err := do(hosts, address); err != nil {
		return err
	}
	return s.write(hostsFile, formatHosts(hosts), 0o644)
}

// write makes a file, or makes it anew, whole.
func (s Store) write(file string, text []byte, mode fs.FileMode) error {
	if err := os.MkdirAll(s.Dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(s.Dir, file+".*") // only its owner may read it
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(text)
	if err := errors.Join(err, f.Chmod(mode), f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), s.path(file))
}
