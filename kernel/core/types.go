package core

import (
	"context"
	"fmt"
	"strings"

	"nidus/kernel/domain"
	"nidus/personalities/create"
	"nidus/personalities/image"
	"nidus/personalities/pv"
	"nidus/personalities/pv/start"
	"nidus/personalities/pvh"
	"nidus/personalities/pvh/startinfo"
	"nidus/rpc/control"
)

// firmwareFiles are the names that a firmware's file may have: xl's, and Debian's (package
// grub-xen-host).
var firmwareFiles = map[string][]string{
	control.PVGrub64: {"pvgrub64.bin", "pvgrub64", "grub-x86_64-xen.bin"},
	control.PVGrub32: {"pvgrub32.bin", "pvgrub32", "grub-i386-xen.bin"},
}

// bootFile returns the file that a domain boots: its kernel, or its firmware.
func (c *Core) bootFile(cfg *control.DomainConfig) (name string, m *Module, err error) {
	if cfg.Firmware == "" || cfg.Kernel != "" {
		if m, err = c.Module(cfg.Kernel); err != nil {
			return "", nil, fmt.Errorf("kernel: %w", err)
		}
		return cfg.Kernel, m, nil
	}
	names := firmwareFiles[cfg.Firmware]
	if names == nil || cfg.Type != control.PV {
		return "", nil, control.Errorf(control.ErrBadConfig, "firmware=%q: PV domains can have pvgrub64 or pvgrub32, and other types none", cfg.Firmware)
	}
	for _, dir := range [...]string{"", control.DataPrefix} {
		for _, name := range names {
			if m, err := c.Module(dir + name); err == nil {
				return m.Name, m, nil
			}
		}
	}
	return "", nil, control.Errorf(control.ErrNoFile, "firmware=%q: no boot module, and no file on the data partition, is called %s; Debian's package grub-xen-host has the last",
		cfg.Firmware, strings.Join(names, ", "))
}

// modules returns the files that a domain gets beside its kernel.
func (c *Core) modules(cfg *control.DomainConfig) ([]image.Module, error) {
	texts := cfg.Modules
	switch {
	case cfg.Ramdisk != "" && len(texts) > 0:
		return nil, control.Errorf(control.ErrBadConfig, "ramdisk=%q and a list of %d modules: there can be one or the other", cfg.Ramdisk, len(texts))
	case len(texts) > startinfo.MaxModules:
		return nil, control.Errorf(control.ErrBadConfig, "ramdisk= has %d elements, at most %d are possible", len(texts), startinfo.MaxModules)
	case cfg.Ramdisk != "":
		return c.appendModule(nil, cfg.Ramdisk, "")
	}
	var all []image.Module
	for _, text := range texts {
		name, cmdline := control.SplitModule(text)
		var err error
		if all, err = c.appendModule(all, name, cmdline); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func (c *Core) appendModule(all []image.Module, name, cmdline string) ([]image.Module, error) {
	m, err := c.Module(name)
	if err != nil {
		return nil, fmt.Errorf("ramdisk: %w", err)
	}
	return append(all, image.Module{Name: name, Data: m.Data, Cmdline: cmdline}), nil
}

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

// checkKernel refuses a kernel that can't start as a type of domain.
func checkKernel(t control.DomainType, k *image.Kernel) error {
	if t == control.PV {
		return start.CheckPV(k)
	}
	return k.CheckPVH()
}

// buildType makes a domain of a type, which checkType has seen.
func (c *Core) buildType(ctx context.Context, t control.DomainType, b create.Config) (*domain.Domain, error) {
	if t == control.PV {
		return c.buildPV(ctx, b)
	}
	return pvh.Build(ctx, c.Host, b)
}

// runOf returns what runs the vcpus of a type of domain.
func runOf(t control.DomainType) func(*domain.VCPU) {
	if t == control.PV {
		return pv.Run
	}
	return pvh.Run
}

// buildPV makes a PV domain.
func (c *Core) buildPV(ctx context.Context, b create.Config) (*domain.Domain, error) {
	if err := checkKernel(control.PV, b.Kernel); err != nil {
		return nil, err
	}
	if c.Host.PV == nil {
		return nil, control.Errorf(control.ErrNotYet, "type=\"pv\": this host has no ring 3 for guests; dmesg says why")
	}
	return pv.Build(ctx, c.Host, b)
}
