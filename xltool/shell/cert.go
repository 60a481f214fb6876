package shell

import (
	"context"
	"os"
	"strconv"
	"time"

	"nidus/rpc/authorized"
	"nidus/rpc/control"
)

// Keys are what this program proves to hosts of the network, and which of them it
// trusts.
type Keys interface {
	// Make makes a key, and a certificate that holds for a time; with renew a
	// certificate for the key that is there.
	Make(name string, valid time.Duration, renew bool) (Key, error)
	// Key returns what Make made.
	Key() (Key, error)
	// Certificate reads the key's fingerprint out of a certificate's file.
	Certificate(file string) (control.Fingerprint, error)
	// Trust makes a key a host's, and returns the address that goes with it.
	Trust(host string, f control.Fingerprint) (address string, err error)
	// Distrust takes that back.
	Distrust(host string) error
	// Trusted lists the hosts that are trusted, by address.
	Trusted() ([]TrustedHost, error)
}

// Key is this program's own.
type Key struct {
	Name        string              `json:"name"`
	Fingerprint control.Fingerprint `json:"fingerprint"`
	// Certificate is its file, which holds until a time.
	Certificate string    `json:"certificate"`
	Until       time.Time `json:"until"`
}

// TrustedHost is a host of the network with the key that it has to have.
type TrustedHost struct {
	Address     string              `json:"address"`
	Fingerprint control.Fingerprint `json:"fingerprint"`
}

// certPrefix begins the names of these commands: "cert list" is another way to write
// cert-list.
const certPrefix = "cert-"

// Days that a certificate holds.
const (
	certDays    = 730
	maxCertDays = 36500
)

func certCommands() []*command {
	return []*command{
		{name: "cert-init", args: "[NAME]", summary: "make this program's key for hosts of the network", max: 1, offline: true, run: withKeys(certInit),
			options: []option{{short: "d", long: "days", value: "DAYS", help: "how long the certificate holds (730)"}, {long: "renew", help: "make a new certificate for the key that is there"}}},
		{name: "cert-show", summary: "show this program's key, and the hosts that it trusts", offline: true, run: withKeys(certShow), options: []option{jsonOption}},
		{name: "cert-trust", args: "HOST[:PORT] FINGERPRINT", summary: "trust a host of the network that has that key", min: 2, max: 2, offline: true, run: withKeys(certTrust)},
		{name: "cert-distrust", args: "HOST[:PORT]", summary: "take cert-trust back", min: 1, max: 1, offline: true,
			run: withKeys(func(_ context.Context, c *call) error { return c.Keys.Distrust(c.args[0]) })},
		{name: "cert-allow", args: "FILE|FINGERPRINT NAME", summary: "let the owner of a key connect to the host over the network", min: 2, max: 2, kinds: []argKind{argModule, argOther}, run: certAllow,
			options: []option{{short: "r", long: "role", value: "ROLE", help: "what it may do: admin (everything, which is the default) or read-only"}}},
		{name: "cert-list", summary: "list who may connect to the host over the network", run: certList,
			options: []option{{long: "authorized", help: "as the file certs/authorized, which the host reads when it starts"}, jsonOption}},
		{name: "cert-revoke", args: "NAME", summary: "end what cert-allow began, and the client's connections", min: 1, max: 1,
			run: func(ctx context.Context, c *call) error { return c.Plane.RevokeClient(ctx, c.args[0]) }},
	}
}

// withKeys is for commands that need Keys, which the host's own shell has none of.
func withKeys(run func(context.Context, *call) error) func(context.Context, *call) error {
	return func(ctx context.Context, c *call) error {
		if c.Keys == nil {
			return control.Errorf(control.ErrBadState, "the host's own shell needs no key and trusts no other host; run it where you connect from, and then cert-allow here")
		}
		return run(ctx, c)
	}
}

func certInit(_ context.Context, c *call) error {
	days := certDays
	if v, ok := c.optValue("d", "days"); ok {
		n, err := strconv.Atoi(v)
		if err != nil || n < 1 || n > maxCertDays {
			return control.Errorf(control.ErrBadArgument, "%q is no number of days; use 1 to %d", v, maxCertDays)
		}
		days = n
	}
	name := "xl"
	if h, err := os.Hostname(); err == nil && h != "" {
		name = h
	}
	if len(c.args) == 1 {
		name = c.args[0]
	}
	if err := (control.RemoteClient{Name: name, Fingerprint: control.Fingerprint{1}}).Check(); err != nil {
		return err
	}
	k, err := c.Keys.Make(name, time.Duration(days)*24*time.Hour, c.opt("renew"))
	if err != nil {
		return err
	}
	c.printKey(k)
	c.printf("On the host: xl cert allow %v %s\n", k.Fingerprint, k.Name)
	return nil
}

func (c *call) printKey(k Key) {
	c.printFields([]field{
		{"name", printable(k.Name)}, {"fingerprint", k.Fingerprint}, {"certificate", k.Certificate}, {"holds until", k.Until.UTC().Format("2006-01-02 15:04 MST")},
	})
}

func certShow(_ context.Context, c *call) error {
	k, err := c.Keys.Key()
	if err != nil {
		return err
	}
	hosts, err := c.Keys.Trusted()
	if err != nil {
		return err
	}
	if c.opt("json") {
		return c.printJSON(struct {
			Key
			Hosts []TrustedHost `json:"hosts"`
		}{k, append([]TrustedHost{}, hosts...)})
	}
	c.printKey(k)
	for _, h := range hosts {
		c.printFields([]field{{"trusts", h.Address + " " + h.Fingerprint.String()}})
	}
	return nil
}

func certTrust(_ context.Context, c *call) error {
	f, err := control.ParseFingerprint(c.args[1])
	if err != nil {
		return err
	}
	address, err := c.Keys.Trust(c.args[0], f)
	if err == nil {
		c.printf("The host at %s is trusted: xl -H tls:%s list\n", address, address)
	}
	return err
}

func certAllow(ctx context.Context, c *call) error {
	role := control.RoleAdmin
	if v, ok := c.optValue("r", "role"); ok {
		var err error
		if role, err = control.ParseRole(v); err != nil {
			return err
		}
	}
	f, err := control.ParseFingerprint(c.args[0])
	if err != nil && c.Keys != nil {
		if file, ferr := c.Keys.Certificate(c.args[0]); ferr == nil || !os.IsNotExist(ferr) {
			f, err = file, ferr
		} else {
			err = control.Errorf(control.ErrNoFile, "%s is neither a certificate's file here nor a fingerprint, such as \"xl cert show\" prints", c.args[0])
		}
	}
	if err != nil {
		return err
	}
	r := control.RemoteClient{Name: c.args[1], Fingerprint: f, Role: role}
	if err := r.Check(); err != nil {
		return err
	}
	return c.Plane.AllowClient(ctx, r)
}

func certList(ctx context.Context, c *call) error {
	all, err := c.Plane.Clients(ctx)
	if err != nil {
		return err
	}
	switch {
	case c.opt("json"):
		return c.printJSON(append([]control.RemoteClient{}, all...))
	case c.opt("authorized"):
		c.printf("%s", authorized.Format(all))
		return nil
	}
	c.printf("%-40s %-10s %s\n", "Name", "Role", "Fingerprint")
	for _, r := range all {
		c.printf("%-40s %-10v %v\n", printable(r.Name), r.Role, r.Fingerprint)
	}
	return nil
}
