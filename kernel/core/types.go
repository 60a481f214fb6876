package core

import (
	"context"

	"nidus/kernel/domain"
	"nidus/personalities/pv/start"
	"nidus/personalities/pvh"
	"nidus/rpc/control"
)

// checkType refuses types of domains that can't run here.
func (c *Core) checkType(t control.DomainType) error {
	switch {
	case t == control.PV:
		return nil
	case t != control.PVH:
		return control.Errorf(control.ErrNotYet, "type=%q: this version runs PV and PVH domains; use type=\"pvh\" or type=\"pv\"", t)
	case c.Host.Virt == nil:
		return control.Errorf(control.ErrBadConfig, "type=\"pvh\" needs hardware virtualization with nested paging, which this machine lacks or the firmware has switched off; dmesg says which")
	}
	return nil
}

// buildType makes a domain of a type, which checkType has seen.
func (c *Core) buildType(ctx context.Context, t control.DomainType, b pvh.Config) (*domain.Domain, error) {
	if t == control.PV {
		return c.buildPV(ctx, b)
	}
	return pvh.Build(ctx, c.Host, b)
}

// runOf returns what runs the vcpus of a type of domain.
func runOf(control.DomainType) func(*domain.VCPU) { return pvh.Run }

// buildPV checks what there is to check.
func (c *Core) buildPV(_ context.Context, b pvh.Config) (*domain.Domain, error) {
	if err := start.CheckPV(b.Kernel); err != nil {
		return nil, err
	}
	return nil, control.Errorf(control.ErrNotYet, "type=\"pv\": PV guests are not there yet; if the kernel has a note for it, use type=\"pvh\"")
}
