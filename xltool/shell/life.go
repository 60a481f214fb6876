package shell

import (
	"context"
	"errors"
	"fmt"

	"nidus/rpc/control"
	"nidus/xltool/xlcfg"
)

var fallbackOption = option{short: "F", help: "if the guest doesn't listen, send an ACPI event; PV and PVH guests take none"}

func lifeCommands() []*command {
	one := func(name, summary string, do func(control.Plane, context.Context, control.DomID) error) *command {
		return &command{name: name, args: "DOM", summary: summary, min: 1, max: 1, kinds: []argKind{argDomain},
			run: func(ctx context.Context, c *call) error {
				d, err := c.domain(ctx, c.args[0])
				if err != nil {
					return err
				}
				return do(c.Plane, ctx, d.ID)
			}}
	}
	destroy := one("destroy", "end a domain at once", control.Plane.Destroy)
	destroy.options = []option{{short: "f", help: "allow domain 0"}}
	kill := destroy.run
	destroy.run = func(ctx context.Context, c *call) error {
		if d, err := c.domain(ctx, c.args[0]); err == nil && d.ID == 0 && !c.opt("f") {
			return control.Errorf(control.ErrDenied, "domain 0 runs this command; \"poweroff\" turns the host off")
		}
		return kill(ctx, c)
	}
	wait := option{short: "w", long: "wait", help: "wait until the domains have shut down; twice: until they are gone"}
	all := option{short: "a", long: "all", help: "all domains but domain 0"}
	return []*command{
		{name: "create", args: "FILE [KEY=VALUE...]", summary: "create a domain from a configuration file", max: -1, kinds: []argKind{argModule, argKey}, run: create,
			options: []option{{short: "c", help: "attach to its console"}, {short: "p", help: "leave it paused"}, {short: "q", long: "quiet", help: "print only errors"},
				{short: "n", long: "dryrun", help: "print what would be created"}, {short: "f", long: "defconfig", value: "FILE", help: "the configuration file", kind: argModule},
				{short: "F", help: "wait until the domain is gone"}, {short: "e", help: "don't wait for its end in the background; nothing does, Nidus restarts domains itself"}}},
		one("pause", "stop a domain from running", control.Plane.Pause),
		one("unpause", "let a paused domain run", control.Plane.Unpause),
		{name: "shutdown", args: "DOM...", summary: "ask a domain to shut down", max: -1, kinds: []argKind{argDomain}, run: shutdown,
			options: []option{all, wait, fallbackOption}},
		{name: "reboot", args: "[DOM...]", summary: "ask a domain to reboot; without a domain, reboot the host", max: -1, kinds: []argKind{argDomain}, run: reboot,
			options: []option{all, wait, fallbackOption}},
		destroy,
		{name: "rename", args: "DOM NEWNAME", summary: "change a domain's name", min: 2, max: 2, kinds: []argKind{argDomain, argOther}, run: rename},
	}
}

func rename(ctx context.Context, c *call) error {
	if err := control.CheckName(c.args[1]); err != nil {
		return err
	}
	d, err := c.domain(ctx, c.args[0])
	if err != nil {
		return err
	}
	return c.Plane.Rename(ctx, d.ID, c.args[1])
}

func create(ctx context.Context, c *call) error {
	args := c.args
	file, ok := c.optValue("f", "defconfig")
	if !ok {
		if len(args) == 0 {
			return c.usageError("the configuration file is missing; \"modules\" lists the files there are")
		}
		file, args = args[0], args[1:]
	}
	src, err := c.readFile(ctx, file)
	if err != nil {
		return err
	}
	quiet := c.opt("q", "quiet")
	if !quiet {
		fmt.Fprintf(c.Stderr, "Parsing config from %s\n", printable(file))
	}
	cfg, warnings, err := xlcfg.Load(file, src, args...)
	for _, w := range warnings {
		if !quiet {
			fmt.Fprintln(c.Stderr, printable(w.String()))
		}
	}
	if err != nil {
		return err
	}
	if c.opt("n", "dryrun") {
		n, err := c.hostCPUs(ctx)
		if err != nil {
			return err
		}
		j, err := domainJSON(*cfg, n)
		if err != nil {
			return err
		}
		return c.printJSON(j)
	}
	var events control.EventStream
	if c.opt("F") { // before it can end
		if events, err = c.Plane.Events(ctx); err != nil {
			return err
		}
		defer events.Close()
	}
	discard, err := c.upload(ctx, cfg)
	if err != nil {
		return err
	}
	// Attach first, so that nothing that the guest prints is missed.
	attach := c.opt("c")
	b := c.progress("Creating " + cfg.Name)
	id, err := c.Plane.Create(b.watch(ctx), *cfg, control.CreateOptions{Paused: attach || c.opt("p")})
	b.stop()
	discard()
	if err != nil {
		return fmt.Errorf("domain %s from %s: %w", cfg.Name, file, err)
	}
	if len(cfg.Disks) > 0 && !quiet {
		c.diskNotes(ctx, id)
	}
	if !attach {
		return c.foreground(ctx, events, id)
	}
	con, err := c.Plane.ConsoleAttach(ctx, id, control.ConsoleOptions{History: true})
	if err != nil {
		return errors.Join(err, c.start(ctx, id))
	}
	defer con.Close()
	if err := c.start(ctx, id); err != nil {
		return err
	}
	if err := c.console(ctx, con); err != nil {
		return err
	}
	return c.foreground(ctx, events, id)
}

// diskNotes says what there is to know of a new domain's disks.
func (c *call) diskNotes(ctx context.Context, id control.DomID) {
	all, err := c.Plane.DeviceList(ctx, id, control.DeviceBlock)
	if err != nil {
		return // it has ended already
	}
	for _, d := range all {
		if d.Note != "" {
			fmt.Fprintf(c.Stderr, "%s (%s): %s\n", printable(d.Name), printable(d.Spec), printable(d.Note))
		}
	}
}

// foreground waits until a domain is gone, if there are events to wait for.
func (c *call) foreground(ctx context.Context, events control.EventStream, id control.DomID) error {
	if events == nil {
		return nil
	}
	return c.wait(ctx, events, map[control.DomID]bool{id: true}, true)
}

// start unpauses a new domain, unless it was to stay paused.
func (c *call) start(ctx context.Context, id control.DomID) error {
	if c.opt("p") {
		return nil
	}
	return c.Plane.Unpause(ctx, id)
}

func shutdown(ctx context.Context, c *call) error {
	if len(c.args) == 0 && !c.opt("a", "all") {
		return c.usageError("the domain is missing")
	}
	return c.stop(ctx, "Shutting down domain", c.Plane.Shutdown)
}

func reboot(ctx context.Context, c *call) error {
	if len(c.args) == 0 && !c.opt("a", "all") {
		if c.opt("F") || c.opt("w", "wait") {
			return c.usageError("-F and -w are for domains; \"host-reboot\" has options for the host")
		}
		return hostReboot(ctx, c)
	}
	return c.stop(ctx, "Rebooting domain", c.Plane.Reboot)
}

// stop asks domains to end, and waits for them if it was asked to.
func (c *call) stop(ctx context.Context, what string, ask func(context.Context, control.DomID, control.ShutdownOptions) error) error {
	if c.opt("a", "all") && len(c.args) > 0 {
		return c.usageError("-a means all domains, %q is too many", c.args[0])
	}
	ds, err := c.domains(ctx, c.args)
	if err != nil {
		return err
	}
	var events control.EventStream
	if c.opt("w", "wait") { // before asking, so that no event is missed
		if events, err = c.Plane.Events(ctx); err != nil {
			return err
		}
		defer events.Close()
	}
	var errs []error
	waiting := map[control.DomID]bool{}
	for _, d := range ds {
		if d.ID == 0 && c.opt("a", "all") {
			continue
		}
		c.printf("%s %d\n", what, d.ID)
		if err := ask(ctx, d.ID, control.ShutdownOptions{Fallback: c.opt("F")}); err != nil {
			errs = append(errs, fmt.Errorf("domain %s: %w", d.Name, err))
			continue
		}
		waiting[d.ID] = true
	}
	if events != nil {
		if err := c.wait(ctx, events, waiting, c.count("w", "wait") > 1); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func waitingFor(ids map[control.DomID]bool) string {
	if len(ids) != 1 {
		return fmt.Sprintf("Waiting for %d domains", len(ids))
	}
	for id := range ids {
		return fmt.Sprintf("Waiting for domain %d", id)
	}
	return ""
}

// wait returns when the domains have shut down or are gone; with death, when
// they are gone.
func (c *call) wait(ctx context.Context, events control.EventStream, ids map[control.DomID]bool, death bool) error {
	b := c.progress(waitingFor(ids))
	defer b.stop()
	for {
		ds, err := c.Plane.ListDomains(ctx)
		if err != nil {
			return err
		}
		alive := map[control.DomID]bool{}
		for _, d := range ds {
			if death || d.State&(control.StateShutdown|control.StateDying) == 0 {
				alive[d.ID] = true
			}
		}
		for id := range ids {
			if !alive[id] {
				b.clear()
				c.printf("Domain %d has been %s\n", id, map[bool]string{false: "shut down", true: "destroyed"}[death])
				delete(ids, id)
			}
		}
		if len(ids) == 0 {
			return nil
		}
		if _, err := events.Next(ctx); err != nil {
			return err
		}
	}
}
