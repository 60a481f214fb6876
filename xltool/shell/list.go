package shell

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"nidus/rpc/control"
)

func domainCommands() []*command {
	return []*command{
		{name: "list", args: "[DOM...]", summary: "list domains", max: -1, kinds: []argKind{argDomain}, run: list,
			options: []option{{short: "l", long: "long", help: "print configurations as JSON"}, {short: "v", long: "verbose", help: "also print UUIDs and why domains shut down"},
				{short: "Z", long: "context", help: "also print security labels"}, {short: "c", long: "cpupool", help: "also print the CPU pools"}, {short: "n", long: "numa", help: "also print the NUMA nodes"}, jsonOption}},
		{name: "domid", args: "NAME", summary: "print the number of a domain", min: 1, max: 1, kinds: []argKind{argDomain}, run: domid},
		{name: "domname", args: "DOM", summary: "print the name of a domain", min: 1, max: 1, kinds: []argKind{argDomain}, run: domname},
		{name: "dominfo", args: "DOM", summary: "describe a domain", min: 1, max: 1, kinds: []argKind{argDomain}, run: dominfo, options: []option{jsonOption}},
		topCommand,
		{name: "uptime", args: "[DOM...]", summary: "print how long domains run", max: -1, kinds: []argKind{argDomain}, run: uptime,
			options: []option{{short: "s", long: "short", help: "print names and numbers joined"}, jsonOption}},
	}
}

// seconds is a CPU time as the Time(s) columns show it.
func seconds(d time.Duration) float64 { return d.Seconds() }

func list(ctx context.Context, c *call) error {
	ds, err := c.domains(ctx, c.args)
	if err != nil {
		return err
	}
	switch {
	case c.opt("json"):
		return listJSON(c, ds)
	case c.opt("l", "long"):
		return listLong(ctx, c, ds)
	}
	// scripts depend on these columns
	head := "Name                                        ID   Mem VCPUs\tState\tTime(s)"
	if c.opt("v", "verbose") {
		head += "   UUID                            Reason-Code\tSecurity Label"
	} else if c.opt("Z", "context") {
		head += "   Security Label"
	}
	if c.opt("c", "cpupool") {
		head += "         Cpupool"
	}
	if c.opt("n", "numa") {
		head += "   NODE Affinity"
	}
	c.printf("%s\n", head)
	for _, d := range ds {
		c.printf("%-40s %5d %5d %5d     %s  %8.1f", printable(d.Name), d.ID, d.MemoryBytes>>20, d.VCPUs, d.StateString(), seconds(d.CPUTime))
		if c.opt("v", "verbose") {
			reason := "-"
			if d.State&control.StateShutdown != 0 {
				reason = strconv.FormatUint(uint64(d.Reason), 16)
			}
			c.printf(" %v %8s", d.UUID, reason)
		}
		// There are no labels, one pool and one node.
		if c.opt("v", "verbose", "Z", "context") {
			c.printf(" %16s", "-")
		}
		if c.opt("c", "cpupool") {
			c.printf("%16s", "Pool-0")
		}
		if c.opt("n", "numa") {
			c.printf("    all")
		}
		c.printf("\n")
	}
	return nil
}

func listJSON(c *call, ds []control.DomainInfo) error {
	type entry struct {
		control.DomainInfo
		State  string `json:"state"`
		Reason string `json:"shutdown_reason,omitempty"`
	}
	out := make([]entry, len(ds))
	for i, d := range ds {
		out[i] = entry{DomainInfo: d, State: d.StateString()}
		if d.State&control.StateShutdown != 0 {
			out[i].Reason = d.Reason.String()
		}
	}
	return c.printJSON(out)
}

// listLong prints an array of {domid, config}, as xl list -l does.
func listLong(ctx context.Context, c *call, ds []control.DomainInfo) error {
	type entry struct {
		ID     control.DomID `json:"domid"`
		Config domainConfig  `json:"config"`
	}
	n, err := c.hostCPUs(ctx)
	if err != nil {
		return err
	}
	out := []entry{}
	for _, d := range ds {
		cfg, err := c.Plane.DomainConfig(ctx, d.ID)
		if control.CodeOf(err) == control.ErrNoDomain { // gone since
			continue
		}
		if err != nil {
			return err
		}
		cfg.UUID = d.UUID // a made one, too
		j, err := domainJSON(cfg, n)
		if err != nil {
			return err
		}
		out = append(out, entry{d.ID, j})
	}
	return c.printJSON(out)
}

func domid(ctx context.Context, c *call) error {
	d, err := c.domain(ctx, c.args[0])
	if err == nil {
		c.printf("%d\n", d.ID)
	}
	return err
}

func domname(ctx context.Context, c *call) error {
	d, err := c.domain(ctx, c.args[0])
	if err == nil {
		c.printf("%s\n", printable(d.Name))
	}
	return err
}

// dominfo prints what is known of a domain, a field a line.
func dominfo(ctx context.Context, c *call) error {
	d, err := c.domain(ctx, c.args[0])
	if err != nil {
		return err
	}
	if c.opt("json") {
		return listJSON(c, []control.DomainInfo{d})
	}
	fields := []field{
		{"domid", d.ID},
		{"name", printable(d.Name)},
		{"uuid", d.UUID},
		{"type", d.Type},
		{"state", d.StateString()},
	}
	if d.State&control.StateShutdown != 0 {
		fields = append(fields, field{"shutdown_reason", d.Reason})
	}
	c.printFields(append(fields,
		field{"memory", d.MemoryBytes >> 20},
		field{"max_memory", d.MaxMemoryBytes >> 20},
		field{"vcpus", d.VCPUs},
		field{"max_vcpus", d.MaxVCPUs},
		field{"cpu_time", fmt.Sprintf("%.1f", seconds(d.CPUTime))},
		field{"uptime", strings.TrimSpace(clock(d.Uptime))}))
	return nil
}

func uptime(ctx context.Context, c *call) error {
	ds, err := c.domains(ctx, c.args)
	if err != nil {
		return err
	}
	if c.opt("json") {
		type entry struct {
			ID     control.DomID `json:"domid"`
			Name   string        `json:"name"`
			Uptime time.Duration `json:"uptime_ns"`
		}
		out := []entry{}
		for _, d := range ds {
			out = append(out, entry{d.ID, d.Name, d.Uptime})
		}
		return c.printJSON(out)
	}
	if c.opt("s", "short") {
		for _, d := range ds {
			c.printf("%s up %s (%d)\n", printable(d.Name), clock(d.Uptime), d.ID)
		}
		return nil
	}
	c.printf("%-33s %4s %s\n", "Name", "ID", "Uptime")
	for _, d := range ds {
		c.printf("%-33s %4d %s\n", printable(d.Name), d.ID, clock(d.Uptime))
	}
	return nil
}
