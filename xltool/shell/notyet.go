package shell

import (
	"context"
	"fmt"
	"strings"

	"nidus/rpc/control"
	"nidus/xltool/xlcfg"
)

// notYet are xl's other subcommands, by what is missing.
var notYet = []struct{ reason, names string }{
	{"nothing can be migrated", "migrate migrate-receive remus"},
	{"no memory is shared", "sharing"},
	{"there are no CPU pools", "cpupool-create cpupool-list cpupool-destroy cpupool-rename cpupool-cpu-add cpupool-cpu-remove cpupool-migrate cpupool-numa-split"},
	{"credit2 is the scheduler", "sched-credit sched-rtds"},
	{"there are no graphics, input devices and sound", "vncviewer vdispl-attach vdispl-list vdispl-detach vsnd-attach vsnd-list vsnd-detach vkb-attach vkb-list vkb-detach"},
	{"no machine is emulated (HVM)", "button-press qemu-monitor-command usbctrl-attach usbctrl-detach usbdev-attach usbdev-detach usb-list"},
	{"no device of the host is passed through", "pci-assignable-list pci-assignable-add pci-assignable-remove"},
	{"there is no TPM", "vtpm-attach vtpm-list vtpm-detach"},
	{"there are no channels", "channel-list"},
	{"there is no security policy", "getenforce setenforce loadpolicy"},
	{"cache and memory bandwidth aren't shared out", "psr-hwinfo psr-cmt-attach psr-cmt-detach psr-cmt-show psr-cat-set psr-cat-show psr-mba-set psr-mba-show"},
	{"the boot command line sets them", "set-parameters"},
	{`"list -v" shows UUIDs`, "vm-list"},
	{"memory is not claimed in advance", "claims"},
	{"no memory of a guest is written to a file", "dump-core"},
	{"a guest asks for it itself", "soft-reset"},
	{"no domain serves other domains", "devd"},
}

// whyNotYet returns why a subcommand of xl is not there, or "".
func whyNotYet(name string) string {
	for _, g := range notYet {
		for n := range strings.FieldsSeq(g.names) {
			if n == name {
				return g.reason
			}
		}
	}
	return ""
}

func stateCommands() []*command {
	return []*command{
		{name: "save", args: "DOM FILE", summary: "write a domain's state into a file (not yet)", min: 2, max: 3, kinds: []argKind{argDomain, argOther}, run: save,
			options: []option{{short: "c", help: "let the domain run on"}, {short: "p", help: "leave the domain paused"}}},
		{name: "restore", args: "FILE", summary: "make a domain from such a file (not yet)", min: 1, max: 2, run: restore,
			options: []option{{short: "p", help: "leave it paused"}, {short: "c", help: "attach to its console"}, {short: "e", help: "accepted as xl's"}}},
		{name: "config-update", args: "DOM FILE [KEY=VALUE...]", summary: "change what a domain is made of at its next restart", min: 2, max: -1, kinds: []argKind{argDomain, argModule, argKey}, run: configUpdate},
	}
}

func save(ctx context.Context, c *call) error {
	d, err := c.domain(ctx, c.args[0])
	if err != nil {
		return err
	}
	return c.Plane.Save(ctx, d.ID, c.args[1], c.opt("c", "p"))
}

func restore(ctx context.Context, c *call) error {
	_, err := c.Plane.Restore(ctx, c.args[len(c.args)-1], control.CreateOptions{Paused: c.opt("p")})
	return err
}

func configUpdate(ctx context.Context, c *call) error {
	d, err := c.domain(ctx, c.args[0])
	if err != nil {
		return err
	}
	src, err := c.readFile(ctx, c.args[1])
	if err != nil {
		return err
	}
	cfg, warnings, err := xlcfg.Load(c.args[1], src, c.args[2:]...)
	for _, w := range warnings {
		fmt.Fprintln(c.Stderr, printable(w.String()))
	}
	if err != nil {
		return err
	}
	if cfg.Name != d.Name {
		fmt.Fprintf(c.Stderr, "%s: warning: the domain keeps its name, %s; \"rename\" changes that\n", printable(c.args[1]), printable(d.Name))
	}
	discard, err := c.upload(ctx, cfg)
	if err != nil {
		return err
	}
	defer discard()
	b := c.progress("Checking the configuration of " + d.Name)
	defer b.stop()
	return c.Plane.SetConfig(ctx, d.ID, *cfg)
}
