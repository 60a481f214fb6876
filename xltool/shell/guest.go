package shell

import (
	"context"
	"strconv"

	"nidus/rpc/control"
)

func guestCommands() []*command {
	return []*command{
		{name: "console", args: "DOM", summary: "attach to a domain's console; leave with ^]", min: 1, max: 1, kinds: []argKind{argDomain}, run: attach,
			options: []option{{short: "n", value: "NUM", help: "the console's number, 0 is the first"}, {short: "t", value: "pv|serial", help: "the console's type"}}},
		{name: "sysrq", args: "DOM LETTER", summary: "send a magic system request", min: 2, max: 2, kinds: []argKind{argDomain, argOther}, run: sysrq},
		{name: "trigger", args: "DOM nmi|reset|init|power|sleep|s3resume [VCPU]", summary: "inject an event", min: 2, max: 3, kinds: []argKind{argDomain, argTrigger, argOther}, run: trigger},
	}
}

func attach(ctx context.Context, c *call) error {
	opt := control.ConsoleOptions{History: true}
	if n, ok := c.optValue("n"); ok {
		var err error
		if opt.Num, err = strconv.Atoi(n); err != nil || opt.Num < 0 {
			return c.usageError("%q is not a console's number", n)
		}
	}
	if t, ok := c.optValue("t"); ok && t != "pv" {
		return control.Errorf(control.ErrNotYet, "console type %q is not there yet; leave -t away for the PV console", t)
	}
	d, err := c.domain(ctx, c.args[0])
	if err != nil {
		return err
	}
	con, err := c.Plane.ConsoleAttach(ctx, d.ID, opt)
	if err != nil {
		return err
	}
	defer con.Close()
	return c.console(ctx, con)
}

func sysrq(ctx context.Context, c *call) error {
	l := c.args[1]
	if len(l) != 1 || l[0] <= ' ' || l[0] >= 0x7f {
		return c.usageError("%q is not one letter", l)
	}
	d, err := c.domain(ctx, c.args[0])
	if err != nil {
		return err
	}
	return c.Plane.Sysrq(ctx, d.ID, l[0])
}

func trigger(ctx context.Context, c *call) error {
	t, err := control.ParseTrigger(c.args[1])
	if err != nil {
		return err
	}
	d, err := c.domain(ctx, c.args[0])
	if err != nil {
		return err
	}
	vcpu := 0
	if len(c.args) > 2 {
		if vcpu, err = strconv.Atoi(c.args[2]); err != nil || vcpu < 0 || vcpu >= d.MaxVCPUs {
			return control.Errorf(control.ErrBadArgument, "%q is not a vcpu of %s; use 0 to %d", c.args[2], d.Name, d.MaxVCPUs-1)
		}
	}
	return c.Plane.Trigger(ctx, d.ID, t, vcpu)
}
