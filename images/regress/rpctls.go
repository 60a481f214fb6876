package regress

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"nidus/images/builder"
	"nidus/rpc/mtls"
)

func rpcOverTLS() Case {
	return Case{Name: "rpc-over-tls", What: "xl drives a host over the network, as far as its key is known and its role allows; the host's address is by DHCP",
		Needs: []string{builder.Vmlinux, builder.Initrd}, Timeout: 4 * time.Minute, Run: xlOverTLS}
}

// rpcPort is the control plane's in these hosts.
const rpcPort = 5417

// person is one with a key for hosts of the network.
type person struct {
	t    *T
	name string
	at   string // the host
}

// xl runs xl as that person, and returns what it printed.
func (c *person) xl(args ...string) (string, error) {
	cmd := exec.CommandContext(c.t.ctx, c.t.Out("xl"), args...)
	cmd.Env = append(os.Environ(), "NIDUS_HOST=tls:"+c.at, "NIDUS_CERTS="+filepath.Join(c.t.dir, c.name))
	b, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s's out/xl %s: %w: %s", c.name, strings.Join(args, " "), err, b)
	}
	return string(b), err
}

// must runs xl, whose output has to match.
func (c *person) must(want string, args ...string) error {
	out, err := c.xl(args...)
	if err == nil && !regexp.MustCompile(want).MatchString(out) {
		err = fmt.Errorf("%s's out/xl %s printed %q, want %q", c.name, strings.Join(args, " "), out, want)
	}
	return err
}

// refused runs xl, which has to fail and say why.
func (c *person) refused(why string, args ...string) error {
	out, err := c.xl(args...)
	if err == nil || !regexp.MustCompile(why).MatchString(out) {
		return fmt.Errorf("%s's out/xl %s: %q, %v; want an error like %q", c.name, strings.Join(args, " "), out, err, why)
	}
	return nil
}

// newPerson makes a person's key.
func (t *T) newPerson(name, at string) (*person, string, error) {
	c := &person{t, name, at}
	if _, err := c.xl("cert", "init", name); err != nil {
		return nil, "", err
	}
	out, err := c.xl("cert", "show", "--json")
	if err != nil {
		return nil, "", err
	}
	key := regexp.MustCompile(`sha256:[0-9a-f]{64}`).FindString(out)
	if key == "" {
		return nil, "", fmt.Errorf("out/xl cert show --json: %q", out)
	}
	return c, key, nil
}

// hostKey writes certs/host.key into the case's folder and returns its fingerprint.
func (t *T) hostKey() (string, error) {
	key, err := mtls.NewKey()
	if err != nil {
		return "", err
	}
	text, err := mtls.KeyPEM(key)
	if err != nil {
		return "", err
	}
	i, _, err := mtls.HostIdentity(text, "host")
	return i.Fingerprint.String(), errors.Join(err, t.file("host.key", text))
}

// freePort finds a TCP port of this machine that nobody listens on.
func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

func xlOverTLS(t *T) error {
	if err := t.XL(); err != nil {
		return err
	}
	at, err := freePort()
	if err != nil {
		return err
	}
	anna, annaKey, err := t.newPerson("anna", at)
	if err != nil {
		return err
	}
	bob, bobKey, err := t.newPerson("bob", at)
	if err != nil {
		return err
	}
	eve, _, err := t.newPerson("eve", at)
	if err != nil {
		return err
	}
	key, err := t.hostKey()
	if err != nil {
		return err
	}
	if err := t.file("authorized", fmt.Appendf(nil, "admin %s anna\nread-only %s bob\n", annaKey, bobKey)); err != nil {
		return err
	}
	h, err := t.bootGuests(Boot{CPUs: 2, NoPrompt: true, Line: fmt.Sprintf("rpc=tls:%d", rpcPort), Modules: []string{certsModule, certsKeyModule},
		Args: []string{"-netdev", fmt.Sprintf("user,id=n,hostfwd=tcp:%s-:%d", at, rpcPort), "-device", "virtio-net-pci,netdev=n"}},
		[]string{builder.Vmlinux, builder.Initrd}, map[string][]byte{"good.cfg": linux("good", builder.Vmlinux, 1, "tick")})
	if err != nil {
		return err
	}
	if _, err := h.expect(`the host is 10\.0\.2\.15/24, by DHCP`, time.Minute); err != nil {
		return err
	}
	if err := h.prompt(20 * time.Second); err != nil {
		return err
	}
	if out, err := h.mustDo("xl dmesg"); err != nil || !contains(out, regexp.QuoteMeta(key)) {
		return fmt.Errorf("the log has no key %s: %v", key, err)
	}
	good := filepath.Join(t.dir, "good.cfg")
	// A host that nobody has trusted yet says its key, and learns nothing.
	if err := anna.refused(`not trusted yet.*`+key, "list"); err != nil {
		return err
	}
	for _, c := range []*person{anna, bob, eve} {
		if err := c.must(``, "cert", "trust", at, key); err != nil {
			return err
		}
	}
	for _, step := range []func() error{
		func() error { return anna.must(`addresses +: 10\.0\.2\.15/24`, "info") },
		func() error { return anna.must(``, "create", "-q", good) },
		func() error { return anna.must(`good +1 +256 +1`, "list") },
		func() error { return bob.must(`good +1 +256 +1`, "list") },
		func() error { return bob.refused(`bob may only look \(its role is read-only\)`, "destroy", "good") },
		func() error { return bob.refused(`bob may only look`, "create", "-q", good, `name="other"`) },
		func() error { return eve.refused(`does not know the key`, "list") },
		func() error { return anna.must(``, "destroy", "good") },
		// A new control plane listens again.
		func() error { return anna.must(``, "debug-keys", "k") },
		func() error { return anna.refused(`has ended|interrupted`, "create", "-q", good) },
		func() error { return anna.must(`Domain-0`, "list") },
		// What changes a client's rights holds at once.
		func() error { return anna.must(``, "cert", "revoke", "bob") },
		func() error { return bob.refused(`does not know the key`, "list") },
		func() error { return t.otherKey(anna) },
	} {
		if err := step(); err != nil {
			return err
		}
	}
	// Who asks for the host's end hears of it to the end.
	if err := anna.must(``, "cert", "trust", at, key); err != nil {
		return err
	}
	if err := anna.must(`the host powers off now`, "poweroff", "-F"); err != nil {
		return err
	}
	_, err = h.Wait(t.within(30 * time.Second))
	return err
}

// otherKey takes the host for another one, which then must not be told anything.
func (t *T) otherKey(c *person) error {
	if err := c.must(``, "cert", "trust", c.at, annaKey); err != nil {
		return err
	}
	return c.refused(`is not the host that is trusted`, "list")
}
