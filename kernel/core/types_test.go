package core

import (
	"context"
	"errors"
	"io/fs"
	"strings"
	"testing"

	"nidus/drivers/block"
	"nidus/kernel/domain/domaintest"
	"nidus/rpc/control"
)

// dataFiles is a data partition of files by their paths.
type dataFiles map[string][]byte

func (f dataFiles) Name() string { return "vda3" }

func (f dataFiles) Open(string, bool) (block.Device, error) { panic("it is no disk") }

func (f dataFiles) Read(path string, most int64) ([]byte, error) {
	if b, ok := f[path]; ok {
		return b, nil
	}
	return nil, fs.ErrNotExist
}

// TestFirmware: a firmware's short name finds its file among the boot modules, and on the
// data partition.
func TestFirmware(t *testing.T) {
	c, m := newCore(t)
	find := func(firmware string, typ control.DomainType) (string, error) {
		name, mod, err := c.bootFile(&control.DomainConfig{Type: typ, Firmware: firmware})
		if err == nil && len(mod.Data) != 1 {
			t.Errorf("%s has %d bytes", name, len(mod.Data))
		}
		return name, err
	}
	_, err := find(control.PVGrub64, control.PV)
	if !errors.Is(err, control.ErrNoFile) || !strings.Contains(err.Error(), "pvgrub64.bin, pvgrub64, grub-x86_64-xen.bin") {
		t.Error(err)
	}
	c.Data = dataFiles{"grub-x86_64-xen.bin": {1}}
	if name, err := find(control.PVGrub64, control.PV); name != "/data/grub-x86_64-xen.bin" || err != nil {
		t.Error(name, err)
	}
	c.Modules = append(c.Modules, Module{Name: "pvgrub64", Data: []byte{1}}, Module{Name: "grub-i386-xen.bin", Data: []byte{1}})
	for firmware, want := range map[string]string{control.PVGrub64: "pvgrub64", control.PVGrub32: "grub-i386-xen.bin"} {
		if name, err := find(firmware, control.PV); name != want || err != nil {
			t.Errorf("%s: %s %v, want %s", firmware, name, err, want)
		}
	}
	for firmware, typ := range map[string]control.DomainType{"ovmf": control.PV, control.PVGrub64: control.PVH} {
		if _, err := find(firmware, typ); !errors.Is(err, control.ErrBadConfig) {
			t.Errorf("%s, %v: %v", firmware, typ, err)
		}
	}
	if name, mod, err := c.bootFile(&control.DomainConfig{Kernel: "/boot/k", Firmware: "x"}); name != "/boot/k" || err != nil || len(mod.Data) != len(domaintest.Kernel()) {
		t.Error("kernel= counts before firmware=:", name, err)
	}
	checkEmpty(t, c, m)
}

// TestTypes: without hardware virtualization PVH is refused, and PV is not for that.
func TestTypes(t *testing.T) {
	c, m := newCore(t)
	c.Host.Virt = nil
	for typ, want := range map[control.DomainType]control.Code{control.PVH: control.ErrBadConfig, control.HVM: control.ErrNotYet, control.PV: control.ErrBadKernel} {
		d := config("a")
		d.Type = typ
		if _, err := c.Create(context.Background(), d, control.CreateOptions{}); control.CodeOf(err) != want {
			t.Errorf("%v: %v, want %v", typ, err, want)
		}
	}
	checkEmpty(t, c, m)
}
