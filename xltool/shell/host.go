package shell

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"nidus/rpc/control"
	"nidus/xltool/xlcfg"
)

func hostCommands() []*command {
	return []*command{
		{name: "info", args: "[FIELD...]", summary: "describe the host, or print the values of fields", max: -1, run: info,
			options: []option{{short: "n", long: "numa", help: "also print where CPUs and memory are"}, jsonOption}},
		{name: "dmesg", summary: "print the hypervisor's log", run: dmesg,
			options: []option{{short: "c", long: "clear", help: "empty the log afterwards"}}},
		{name: "debug-keys", args: "KEYS", summary: "do what debug keys do; the output goes to dmesg", min: 1, max: 1, run: debugKeys},
		{name: "modules", summary: "list the boot modules, which create reads", run: modules, options: []option{jsonOption}},
		{name: "poweroff", summary: "shut down all domains, the newest first, and turn the host off", run: powerOff, options: endOptions},
		{name: "host-reboot", summary: "shut down all domains, the newest first, and reboot the host", run: hostReboot, options: endOptions},
	}
}

// clock is a time as uptime prints it: days if there are any, h:mm:ss.
func clock(d time.Duration) string {
	s := int64(d / time.Second)
	hms := fmt.Sprintf("%2d:%02d:%02d", s/3600%24, s/60%60, s%60)
	switch days := s / 86400; days {
	case 0:
		return hms
	case 1:
		return "1 day, " + hms
	default:
		return fmt.Sprintf("%d days, %s", days, hms)
	}
}

func info(ctx context.Context, c *call) error {
	h, err := c.Plane.HostInfo(ctx)
	if err != nil {
		return err
	}
	if c.opt("json") {
		return c.printJSON(h)
	}
	var caps []string
	for _, w := range h.HWCaps {
		caps = append(caps, fmt.Sprintf("%08x", w))
	}
	fields := []field{
		{"host", h.Hostname},
		{"release", h.Release},
		{"version", h.Version},
		{"machine", h.Machine},
		{"nr_cpus", h.CPUs},
		{"max_cpu_id", h.MaxCPUID},
		{"nr_nodes", h.Nodes},
		{"cores_per_socket", h.CoresPerSocket},
		{"threads_per_core", h.ThreadsPerCore},
		{"cpu_mhz", fmt.Sprintf("%.3f", float64(h.CPUHz)/1e6)},
		{"hw_caps", strings.Join(caps, ":")},
		{"virt_caps", strings.Join(h.VirtCaps, " ")},
		{"total_memory", h.TotalMemoryBytes >> 20},
		{"free_memory", h.FreeMemoryBytes >> 20},
		{"sharing_freed_memory", 0},
		{"sharing_used_memory", 0},
		{"outstanding_claims", 0},
		{"free_cpus", h.FreeCPUs},
		{"xen_major", h.XenMajor},
		{"xen_minor", h.XenMinor},
		{"xen_extra", h.XenExtra},
		{"xen_version", fmt.Sprintf("%d.%d%s", h.XenMajor, h.XenMinor, h.XenExtra)},
		{"xen_caps", strings.Join(h.XenCaps, " ")},
		{"xen_scheduler", h.Scheduler},
		{"xen_pagesize", h.PageSizeBytes},
		{"platform_params", h.PlatformParams},
		{"xen_changeset", h.Changeset},
		{"xen_commandline", h.CommandLine},
		{"cc_compiler", h.Compiler},
		{"cc_compile_by", h.CompileBy},
		{"cc_compile_domain", h.CompileDomain},
		{"cc_compile_date", h.CompileDate},
		{"build_id", h.BuildID},
		{"xend_config_format", 4},
	}
	if len(h.Addresses) > 0 {
		fields = append(fields, field{"addresses", strings.Join(h.Addresses, " ")})
	}
	if len(c.args) > 0 {
		return c.pick(fields)
	}
	c.printFields(fields)
	if c.opt("n", "numa") {
		return c.numa(ctx, h)
	}
	return nil
}

// field is a line of xl info.
type field struct {
	name  string
	value any
}

func (c *call) printFields(fs []field) {
	for _, f := range fs {
		c.printf("%-23s: %v\n", f.name, f.value)
	}
}

// pick prints the values of the fields that the arguments name.
func (c *call) pick(fs []field) error {
	for _, name := range c.args {
		i := slices.IndexFunc(fs, func(f field) bool { return f.name == name })
		if i < 0 {
			var names []string
			for _, f := range fs {
				names = append(names, f.name)
			}
			if near := xlcfg.Suggest(name, names); near != "" {
				return control.Errorf(control.ErrBadArgument, "there is no field %q, did you mean %q?", name, near)
			}
			return control.Errorf(control.ErrBadArgument, "there is no field %q; info without an argument prints all", name)
		}
		c.printf("%v\n", fs[i].value)
	}
	return nil
}

// numa prints the places of CPUs, and the memory of the one node.
func (c *call) numa(ctx context.Context, h control.HostInfo) error {
	cpus, err := c.Plane.CPUs(ctx)
	if err != nil {
		return err
	}
	c.printf("cpu_topology           :\ncpu:    core    socket     node\n")
	for _, p := range cpus {
		c.printf("%3d:    %4d     %4d     %4d\n", p.ID, p.Core, p.Socket, p.Node)
	}
	c.printf("device topology        :\ndevice           node\nNo device topology data available\n")
	c.printf("numa_info              :\nnode:    memsize    memfree    distances\n%4d:    %6d     %6d      10\n", 0, h.TotalMemoryBytes>>20, h.FreeMemoryBytes>>20)
	return nil
}

func dmesg(ctx context.Context, c *call) error {
	b, err := c.Plane.Dmesg(ctx, c.opt("c", "clear"))
	if err == nil {
		// A guest's words may stand in the log.
		for line := range strings.Lines(string(b)) {
			c.printf("%s\n", printable(strings.TrimRight(line, "\r\n")))
		}
	}
	return err
}

func debugKeys(ctx context.Context, c *call) error { return c.Plane.DebugKeys(ctx, c.args[0]) }

func modules(ctx context.Context, c *call) error {
	ms, err := c.Plane.Modules(ctx)
	if err != nil {
		return err
	}
	if c.opt("json") {
		return c.printJSON(ms)
	}
	c.printf("%-40s %12s %s\n", "Name", "Bytes", "Arguments")
	for _, m := range ms {
		c.printf("%s\n", strings.TrimRight(fmt.Sprintf("%-40s %12d %s", printable(m.Name), m.Size, printable(m.Args)), " "))
	}
	return nil
}
