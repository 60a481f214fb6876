package shell

import (
	"context"
	"strconv"

	"nidus/rpc/control"
)

func vcpuCommands() []*command {
	return []*command{
		{name: "vcpu-list", args: "[DOM...]", summary: "list the vcpus of domains", max: -1, kinds: []argKind{argDomain}, run: vcpuList, options: []option{jsonOption}},
		{name: "vcpu-pin", args: "DOM VCPU|all HARD|- [SOFT|-]", summary: "say on which CPUs a vcpu may run, and better runs", min: 3, max: 4, kinds: []argKind{argDomain, argOther}, run: vcpuPin,
			options: []option{{short: "f", long: "force", help: "accepted as xl's"}}},
		{name: "sched-credit2", summary: "get or set the weight and cap of domains", run: schedCredit2,
			options: []option{{short: "d", long: "domain", value: "DOM", help: "the domain", kind: argDomain}, {short: "w", long: "weight", value: "WEIGHT", help: "1 to 65535, 256 is the default"},
				{short: "c", long: "cap", value: "PERCENT", help: "of one CPU, 0 is no cap"}, {short: "s", long: "schedparam", help: "print the pool's parameters alone"},
				{short: "r", long: "ratelimit_us", value: "MICROSECONDS", help: "with -s: the least time that a vcpu runs (not yet)"}, {short: "p", long: "cpupool", value: "POOL", help: "Pool-0 is all there is"}, jsonOption}},
	}
}

func vcpuList(ctx context.Context, c *call) error {
	ds, err := c.domains(ctx, c.args)
	if err != nil {
		return err
	}
	h, err := c.Plane.HostInfo(ctx)
	if err != nil {
		return err
	}
	type entry struct {
		ID    control.DomID      `json:"domid"`
		Name  string             `json:"name"`
		VCPUs []control.VCPUInfo `json:"vcpus"`
	}
	out := []entry{}
	for _, d := range ds {
		vs, err := c.Plane.VCPUList(ctx, d.ID)
		if control.CodeOf(err) == control.ErrNoDomain && len(c.args) == 0 { // gone since
			continue
		}
		if err != nil {
			return err
		}
		out = append(out, entry{d.ID, d.Name, vs})
	}
	if c.opt("json") {
		return c.printJSON(out)
	}
	c.printf("%-32s %5s %5s %5s %5s %9s %s\n", "Name", "ID", "VCPU", "CPU", "State", "Time(s)", "Affinity (Hard / Soft)")
	for _, e := range out {
		for _, v := range e.VCPUs {
			cpu, state := "-", "--p"
			if v.Online {
				state = mark(v.Running, "r") + mark(v.Blocked, "b") + "-"
				if v.CPU >= 0 {
					cpu = strconv.Itoa(v.CPU)
				}
			}
			c.printf("%-32s %5d %5d%5s   %s %9.1f  %s / %s\n", printable(e.Name), e.ID, v.ID, cpu, state, seconds(v.Time),
				v.Hard.Format(h.MaxCPUID+1), v.Soft.Format(h.MaxCPUID+1))
		}
	}
	return nil
}

func mark(on bool, letter string) string {
	if on {
		return letter
	}
	return "-"
}

func vcpuPin(ctx context.Context, c *call) error {
	d, err := c.domain(ctx, c.args[0])
	if err != nil {
		return err
	}
	vcpu := control.AllVCPUs
	if c.args[1] != "all" {
		if vcpu, err = strconv.Atoi(c.args[1]); err != nil || vcpu < 0 || vcpu >= d.MaxVCPUs {
			return control.Errorf(control.ErrBadArgument, "%q is not a vcpu of %s; use 0 to %d, or all", c.args[1], d.Name, d.MaxVCPUs-1)
		}
	}
	h, err := c.Plane.HostInfo(ctx)
	if err != nil {
		return err
	}
	var sets [2]control.CPUSet
	for i, a := range c.args[2:] {
		if a == "-" {
			continue
		}
		l, err := control.ParseCPUList(a)
		if err != nil {
			return err
		}
		if sets[i], err = l.Resolve(h.MaxCPUID+1, nil); err != nil {
			return err
		}
	}
	if sets[0] == nil && sets[1] == nil {
		return c.usageError("neither hard nor soft CPUs are given")
	}
	return c.Plane.VCPUPin(ctx, d.ID, vcpu, sets[0], sets[1])
}

// rateLimit is the least time that a vcpu runs once it was chosen, as
// sched-credit2 prints it.
const rateLimit = "1000us"

func schedCredit2(ctx context.Context, c *call) error {
	ref, one := c.optValue("d", "domain")
	weight, setWeight := c.optValue("w", "weight")
	limit, setCap := c.optValue("c", "cap")
	if pool, ok := c.optValue("p", "cpupool"); ok && pool != "Pool-0" && pool != "0" {
		return control.Errorf(control.ErrNotYet, "there is no CPU pool %q; Pool-0 is all there is", pool)
	}
	if _, ok := c.optValue("r", "ratelimit_us"); ok {
		return control.Errorf(control.ErrNotYet, "a change of the rate limit is not there yet; it is %s", rateLimit)
	}
	if c.opt("s", "schedparam") {
		if one || setWeight || setCap {
			return c.usageError("-s is about the pool, and -d, -w, -c about a domain")
		}
		c.printf("Cpupool Pool-0: ratelimit=%s\n", rateLimit)
		return nil
	}
	if (setWeight || setCap) && !one {
		return c.usageError("which domain? Add -d DOM")
	}
	var refs []string
	if one {
		refs = []string{ref}
	}
	ds, err := c.domains(ctx, refs)
	if err != nil {
		return err
	}
	if setWeight || setCap {
		return c.setCredit2(ctx, ds[0].ID, weight, limit)
	}
	type entry struct {
		ID   control.DomID `json:"domid"`
		Name string        `json:"name"`
		control.SchedParams
	}
	out := []entry{}
	for _, d := range ds {
		p, err := c.Plane.SchedCredit2(ctx, d.ID)
		if control.CodeOf(err) == control.ErrNoDomain && !one {
			continue
		}
		if err != nil {
			return err
		}
		out = append(out, entry{d.ID, d.Name, p})
	}
	if c.opt("json") {
		return c.printJSON(out)
	}
	if !one {
		c.printf("Cpupool Pool-0: ratelimit=%s\n", rateLimit)
	}
	c.printf("%-33s %4s %6s %4s\n", "Name", "ID", "Weight", "Cap")
	for _, e := range out {
		c.printf("%-33s %4d %6d %4d\n", printable(e.Name), e.ID, e.Weight, e.CapPercent)
	}
	return nil
}

// setCredit2 changes what is given; an empty text stands for no change.
func (c *call) setCredit2(ctx context.Context, id control.DomID, weight, limit string) error {
	p, err := c.Plane.SchedCredit2(ctx, id)
	if err != nil {
		return err
	}
	for _, f := range []struct {
		text, what string
		to         *int
	}{{weight, "weight", &p.Weight}, {limit, "cap", &p.CapPercent}} {
		if f.text == "" {
			continue
		}
		if *f.to, err = strconv.Atoi(f.text); err != nil {
			return c.usageError("%s %q is not a number", f.what, f.text)
		}
	}
	if err := p.Check(); err != nil {
		return err
	}
	return c.Plane.SetSchedCredit2(ctx, id, p)
}
