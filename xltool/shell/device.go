package shell

import (
	"context"
	"strings"

	"nidus/rpc/control"
	"nidus/xltool/xlcfg"
)

// checked is what a parser of specifications says, without what it parsed.
func checked[T any](parse func(string) (T, error)) func(string) error {
	return func(spec string) error {
		_, err := parse(spec)
		return err
	}
}

func deviceCommands() []*command {
	force := option{long: "force", help: "don't wait for the guest's consent"}
	kinds := []argKind{argDomain, argOther}
	var out []*command
	for _, d := range []struct {
		kind      control.DeviceKind
		what      string
		spec, ref string
		min       int
		check     func(string) error
		head      string
	}{
		{control.DeviceBlock, "disk", "DISK...", "VDEV", 2, checked(xlcfg.ParseDisk), "Vdev"},
		{control.DeviceNetwork, "network interface", "[KEY=VALUE...]", "DEVID|MAC", 1, checked(xlcfg.ParseVIF), "Idx"},
		{control.DevicePCI, "PCI device", "PCI...", "PCI", 2, checked(xlcfg.ParsePCI), "Vdev"},
	} {
		name := d.kind.String()
		out = append(out,
			&command{name: name + "-attach", args: "DOM " + d.spec, summary: "give a domain a " + d.what + ", written as in a configuration", min: d.min, max: -1, kinds: kinds,
				run: func(ctx context.Context, c *call) error {
					spec := strings.Join(c.args[1:], ",")
					if err := d.check(spec); err != nil {
						return err
					}
					dom, err := c.domain(ctx, c.args[0])
					if err != nil {
						return err
					}
					up := uploads{call: c}
					defer up.discard(ctx)
					if d.kind == control.DeviceBlock {
						if spec, err = up.disk(ctx, spec); err != nil {
							return err
						}
					}
					_, err = c.Plane.DeviceAttach(ctx, dom.ID, d.kind, spec)
					return err
				}},
			&command{name: name + "-detach", args: "DOM " + d.ref, summary: "take a " + d.what + " from a domain", min: 2, max: 2, kinds: kinds, options: []option{force},
				run: func(ctx context.Context, c *call) error {
					dom, err := c.domain(ctx, c.args[0])
					if err != nil {
						return err
					}
					return c.Plane.DeviceDetach(ctx, dom.ID, d.kind, c.args[1], c.opt("force"))
				}},
			&command{name: name + "-list", args: "DOM...", summary: "list the " + d.what + "s of domains", min: 1, max: -1, kinds: kinds[:1], options: []option{jsonOption},
				run: func(ctx context.Context, c *call) error { return listDevices(ctx, c, d.kind, d.head) }})
	}
	return append(out,
		&command{name: "cd-insert", args: "DOM VDEV TARGET", summary: "put a CD into a domain's drive", min: 3, max: 3, kinds: kinds, options: []option{jsonOption}, run: changeCD},
		&command{name: "cd-eject", args: "DOM VDEV", summary: "take the CD out of a domain's drive", min: 2, max: 2, kinds: kinds, options: []option{jsonOption}, run: changeCD})
}

// changeCD is cd-insert, and without a third argument cd-eject.
func changeCD(ctx context.Context, c *call) error {
	dom, err := c.domain(ctx, c.args[0])
	if err != nil {
		return err
	}
	target := ""
	if len(c.args) > 2 {
		up := uploads{call: c}
		defer up.discard(ctx)
		if target, err = up.name(ctx, c.args[2]); err != nil {
			return err
		}
	}
	info, err := c.Plane.CDChange(ctx, dom.ID, c.args[1], target)
	if err != nil || !c.opt("json") {
		return err
	}
	return c.printJSON(info)
}

func listDevices(ctx context.Context, c *call, kind control.DeviceKind, head string) error {
	ds, err := c.domains(ctx, c.args)
	if err != nil {
		return err
	}
	type entry struct {
		ID control.DomID `json:"domid"`
		control.DeviceInfo
	}
	out := []entry{}
	for _, d := range ds {
		devs, err := c.Plane.DeviceList(ctx, d.ID, kind)
		if err != nil {
			return err
		}
		for _, dev := range devs {
			out = append(out, entry{d.ID, dev})
		}
	}
	if c.opt("json") {
		return c.printJSON(out)
	}
	c.printf("%-8s %4s %4s %6s %5s %s\n", head, "BE", "FE", "handle", "state", "Specification")
	for _, e := range out {
		c.printf("%-8s %4d %4d %6d %5d %s\n", printable(e.Name), e.Backend, e.ID, e.DevID, e.State, printable(e.Spec))
	}
	return nil
}
