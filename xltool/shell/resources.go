package shell

import (
	"context"
	"math/bits"
	"strconv"
	"strings"

	"nidus/rpc/control"
)

func resourceCommands() []*command {
	return []*command{
		{name: "mem-set", args: "DOM SIZE", summary: "set a domain's memory, in MiB or with a unit such as 2g", min: 2, max: 2, kinds: []argKind{argDomain, argOther},
			run: memory(control.Plane.SetMemory)},
		{name: "mem-max", args: "DOM SIZE", summary: "limit a domain's memory, in MiB or with a unit such as 2g", min: 2, max: 2, kinds: []argKind{argDomain, argOther},
			run: memory(control.Plane.SetMaxMemory)},
		{name: "vcpu-set", args: "DOM COUNT", summary: "ask a domain to have that many vcpus online", min: 2, max: 2, kinds: []argKind{argDomain, argOther}, run: vcpuSet,
			options: []option{{short: "i", long: "ignore-host", help: "allow more vcpus than the host has CPUs"}}},
	}
}

func memory(set func(control.Plane, context.Context, control.DomID, uint64) error) func(context.Context, *call) error {
	return func(ctx context.Context, c *call) error {
		size, err := parseSize(c.args[1])
		if err != nil {
			return err
		}
		d, err := c.domain(ctx, c.args[0])
		if err != nil {
			return err
		}
		return set(c.Plane, ctx, d.ID, size)
	}
}

// parseSize reads an amount of memory as xl does, in MiB without a unit, and
// returns bytes.
func parseSize(s string) (uint64, error) {
	bad := control.Errorf(control.ErrBadArgument, "%q is not an amount of memory; write MiB, such as 512, or a unit of t, g, m, k, b behind, such as 2g", s)
	digits, shift := s, 20
	if s != "" {
		if i := strings.IndexByte("bkmgt", s[len(s)-1]|0x20); i >= 0 {
			digits, shift = s[:len(s)-1], 10*i
		}
	}
	n, err := strconv.ParseUint(digits, 10, 64)
	if err != nil || n == 0 || bits.Len64(n)+shift > 63 {
		return 0, bad
	}
	return n << shift, nil
}

func vcpuSet(ctx context.Context, c *call) error {
	d, err := c.domain(ctx, c.args[0])
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(c.args[1])
	if err != nil || n < 1 || n > d.MaxVCPUs {
		return control.Errorf(control.ErrBadArgument, "%q is not a number of vcpus for %s; use 1 to %d (maxvcpus)", c.args[1], d.Name, d.MaxVCPUs)
	}
	h, err := c.Plane.HostInfo(ctx)
	if err != nil {
		return err
	}
	if n > h.CPUs && !c.opt("i", "ignore-host") {
		return control.Errorf(control.ErrBadArgument, "%d vcpus are more than the %d CPUs of the host; add -i if you want that", n, h.CPUs)
	}
	return c.Plane.SetVCPUs(ctx, d.ID, n)
}
