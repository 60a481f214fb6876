package core

import (
	"bytes"
	"compress/gzip"
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

// TestModules: a domain's modules are found by their names, and stay while it does.
func TestModules(t *testing.T) {
	c, m := newCore(t)
	cfg := config("a")
	cfg.Modules = []string{"k", "dir/k a command line"}
	got, err := c.modules(&cfg)
	if err != nil || len(got) != 2 || got[1].Name != "dir/k" || string(got[1].Data) != "no kernel" || got[1].Cmdline != "a command line" || got[0].Cmdline != "" {
		t.Errorf("%+v, %v", got, err)
	}
	for want, change := range map[control.Code]func(*control.DomainConfig){
		control.ErrNoFile:    func(d *control.DomainConfig) { d.Modules = []string{"k", "x y"} },
		control.ErrBadConfig: func(d *control.DomainConfig) { d.Ramdisk = "k" },
	} {
		d := cfg
		change(&d)
		if _, err := c.Create(context.Background(), d, control.CreateOptions{}); control.CodeOf(err) != want {
			t.Errorf("%v, want %v", err, want)
		}
	}
	cfg.Modules = make([]string, 33)
	if _, err := c.Create(context.Background(), cfg, control.CreateOptions{}); control.CodeOf(err) != control.ErrBadConfig {
		t.Errorf("33 modules: %v", err)
	}
	sum := control.FileSum{Size: 4}
	name, err := c.Upload(context.Background(), "mod", sum, strings.NewReader("data"))
	if err != nil {
		t.Fatal(err)
	}
	cfg.Modules = []string{name + " a b"}
	id, err := c.Create(context.Background(), cfg, control.CreateOptions{Paused: true})
	if err != nil {
		t.Fatal(err)
	}
	c.Discard(name)
	if _, err := c.Module(name); err != nil {
		t.Error("a module that a domain has is gone:", err)
	}
	if err := c.Destroy(id); err != nil {
		t.Fatal(err)
	}
	checkEmpty(t, c, m)
}

// TestDataKernel: a kernel of the data partition is the one that is there now.
func TestDataKernel(t *testing.T) {
	c, m := newCore(t)
	packed := func(kernel []byte) []byte {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		w.Write(kernel)
		w.Close()
		return b.Bytes()
	}
	for _, want := range []struct {
		kernel []byte
		class  int
	}{{domaintest.Kernel(), 32}, {domaintest.KernelPV(), 64}, {domaintest.Kernel(), 32}} {
		c.Data = dataFiles{"k": packed(want.kernel)}
		k, err := c.kernel(&control.DomainConfig{Kernel: "/data/k"})
		if err != nil || k.Class != want.class {
			t.Errorf("%v, want one of %d bits: %v", k, want.class, err)
		}
	}
	checkEmpty(t, c, m)
}
