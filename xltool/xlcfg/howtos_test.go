package xlcfg

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"nidus/rpc/control"
)

// The configurations of the howtos of NetBSD (those of Xen 3 to 4.18) and of
// articles that they led to, line by line; the whole files among them are in
// testdata.
func TestHowtoDisks(t *testing.T) {
	for _, tt := range []struct{ spec, want string }{
		{"file:/n0/xen/foo-wd0,0x0,w", "/n0/xen/foo-wd0 raw 0x0=0:0 rw"},
		{"file:/n0/xen/foo-wd1,0x1,w", "/n0/xen/foo-wd1 raw 0x1=1:0 rw"},
		{"phy:/dev/wd0e,0x1,w", "/dev/wd0e raw 0x1=1:0 rw phy"},
		{"phy:/dev/cd0a,0x2,r", "/dev/cd0a raw 0x2=2:0 ro phy"},
		{"phy:/dev/wd0e,0x300,w", "/dev/wd0e raw 0x300=0:0 rw phy"},
		{"phy:/dev/wd0e,hda1,w", "/dev/wd0e raw 0x301=0:1 rw phy"},
		{"phy:/dev/wd0e,sda1,w", "/dev/wd0e raw 0x801=0:1 rw phy"},
		{"phy:/dev/wd0g,xvda,w", "/dev/wd0g raw 0xca00=0:0 rw phy"},
		{"file:/var/xen/nbsd-disk,0x01,w", "/var/xen/nbsd-disk raw 0x1=1:0 rw"},
		{"file:/var/xen/nbsd-disk,0x301,w", "/var/xen/nbsd-disk raw 0x301=0:1 rw"},
		{"phy:/dev/wd0k,0,w", "/dev/wd0k raw 0x0=0:0 rw phy"},
		{"phy:/dev/vnd0d,6:cdrom,r", "/dev/vnd0d raw 0x6=6:0 ro cd phy"},
	} {
		d, err := ParseDisk(tt.spec)
		if err != nil {
			t.Errorf("%q: %v", tt.spec, err)
			continue
		}
		got := fmt.Sprintf("%s %s 0x%x=%d:%d %s", d.Target, d.Format, d.VDev.Number, d.VDev.Disk, d.VDev.Partition, map[bool]string{false: "rw", true: "ro"}[d.ReadOnly])
		if d.CDROM {
			got += " cd"
		}
		if d.BackendType != "" {
			got += " " + d.BackendType
		}
		if got != tt.want {
			t.Errorf("%q: %s, want %s", tt.spec, got, tt.want)
		}
	}
}

func TestHowtoVIFs(t *testing.T) {
	for _, tt := range []struct{ spec, want string }{
		{"mac=aa:00:00:d1:00:09,bridge=bridge0", "aa:00:00:d1:00:09 bridge0"},
		{"mac=aa:00:00:50:02:f0, bridge=bridge0", "aa:00:00:50:02:f0 bridge0"},
		{"bridge=bridge0", "00:00:00:00:00:00 bridge0"},
		{"", "00:00:00:00:00:00 "},
	} {
		v, err := ParseVIF(tt.spec)
		if got := fmt.Sprintf("%v %s", v.MAC, v.Bridge); err != nil || got != tt.want || v.DevID != -1 {
			t.Errorf("%q: %s, %v, want %s", tt.spec, got, err, tt.want)
		}
	}
}

func TestHowtoPCI(t *testing.T) {
	for spec, want := range map[string]string{"0000:00:06.0": "0000:00:06.0", "0000:00:0a.0": "0000:00:0a.0", "0000:03:00.0": "0000:03:00.0"} {
		if d, err := ParsePCI(spec); err != nil || d.BDF() != want {
			t.Errorf("%q: %v, %v", spec, d.BDF(), err)
		}
	}
}

// TestHowtoLines: each line, added to a good file, does what the howto says, or
// says what was meant.
func TestHowtoLines(t *testing.T) {
	const nothing = ""
	for _, tt := range []struct {
		src  string
		fail string // "" if it has to load
		warn string // "" if without a word
		ok   func(c *DomainConfig) bool
	}{
		{`memory = 1024`, nothing, nothing, func(c *DomainConfig) bool { return c.MemoryBytes == 1<<30 }},
		{`vcpus = 1`, nothing, nothing, func(c *DomainConfig) bool { return c.VCPUs == 1 }},
		{`root = "/dev/hda1 ro"`, nothing, nothing, func(c *DomainConfig) bool { return c.Cmdline == "root=/dev/hda1 ro" }},
		{`root = "xbd0"`, nothing, nothing, func(c *DomainConfig) bool { return c.Cmdline == "root=xbd0" }},
		{`extra = "xencons=tty1"`, nothing, nothing, func(c *DomainConfig) bool { return c.Cmdline == "xencons=tty1" }},
		{`root = "/dev/xvda"` + "\n" + `extra = "1"`, nothing, nothing, func(c *DomainConfig) bool { return c.Cmdline == "root=/dev/xvda 1" }},
		{`extra = '/platform/i86xpv/kernel/amd64/unix -B zfs-bootfs=rpool/43,bootpath="/xpvd/xdf@0:a"'`, nothing, nothing,
			func(c *DomainConfig) bool { return strings.HasSuffix(c.Cmdline, `bootpath="/xpvd/xdf@0:a"`) }},
		{"# -*- mode: python; -*-\n#====\n\t# indented\nmemory = 128 # MiB", nothing, nothing, func(c *DomainConfig) bool { return c.MemoryBytes == 128<<20 }},
		{"disk = [ 'phy:/dev/wd0k,0,w' ]\ndisk += [ 'phy:/dev/vnd0d,6:cdrom,r' ]", nothing, nothing,
			func(c *DomainConfig) bool { return len(c.Disks) == 2 && c.Disks[1] == "phy:/dev/vnd0d,6:cdrom,r" }},
		{`vif = [ '' ]`, nothing, nothing, func(c *DomainConfig) bool { return len(c.VIFs) == 1 }},
		{`pci = [ '0000:00:06.0', '0000:00:0a.0' ]`, nothing, "pci makes create fail: no device of the host can be passed through yet", nil},
		{`ramdisk = ['a b c', 'd']`, nothing, nothing, func(c *DomainConfig) bool { return c.Ramdisk == "" && slices.Equal(c.Modules, []string{"a b c", "d"}) }},
		{`nics = 1`, nothing, "nics was xm's and means nothing any more; remove the line: vif has an element for each interface", nil},
		{`autorestart = True`, nothing, "True is Python's; write 1", nil},
		{`autorestart = 1`, nothing, `autorestart was xm's and means nothing any more; write on_poweroff, on_reboot and on_crash = "restart"`, nil},
		{`type='pvh'`, nothing, "", func(c *DomainConfig) bool { return c.Type == control.PVH }},
		{`type='hvm'`, nothing, "", func(c *DomainConfig) bool { return c.Type == control.HVM }},
		{`type='hmv'`, `f:2:6: unknown type "hmv", did you mean "hvm"?`, "", nil},
		{`vcpu = 2`, `f:2:1: unknown key "vcpu", did you mean "vcpus"?`, "", nil},
		{`builder = 'hmv'`, `f:2:11: unknown builder "hmv", did you mean "hvm"?`, "", nil},
		{`disks = [ 'phy:/dev/wd0e,0x1,w' ]`, `f:2:1: unknown key "disks", did you mean "disk"?`, "", nil},
		{`bootloader = 'pygrub'`, `f:2:1: bootloader: no program of the host looks into a guest's disk here; remove the line and let the guest boot itself with pvgrub: kernel = "grub-i386-xen_pvh.bin" (package grub-xen-bin)`, "", nil},
		{"type='pv'\nbootloader='pygrub'", nothing, "bootloader is ignored, because there is kernel at f:1:23", nil},
		{"import os, re", `f:2:1: "import" begins a Python statement; xl's files have only key = value: write down the values that it makes`, "", nil},
	} {
		cfg, warnings, err := Load("f", []byte(base+tt.src))
		if tt.fail != "" {
			if err == nil || err.Error() != tt.fail {
				t.Errorf("%q:\n got %v\nwant %s", tt.src, err, tt.fail)
			}
			continue
		}
		if err != nil || tt.ok != nil && !tt.ok(cfg) {
			t.Errorf("%q: %+v, %v", tt.src, cfg, err)
			continue
		}
		said := 0
		for _, w := range warnings {
			if w.Msg == tt.warn {
				said++
			}
		}
		if want := min(len(tt.warn), 1); said != want {
			t.Errorf("%q: said %d times, want %d, %q; all: %v", tt.src, said, want, tt.warn, warnings)
		}
	}
	// What boots from the guest's own disk.
	const grub = "bootloader: no program of the host looks into a guest's disk here; GRUB does in the guest: write firmware = %q, or \"pvgrub32\" for a kernel of 32 bits"
	for line, want := range map[string][2]string{
		`firmware='pvgrub32'`:                        {"pvgrub32", ""},
		`type='pv'; firmware='pvgrub64'`:             {"pvgrub64", ""},
		`bootloader='pygrub'`:                        {"pvgrub64", fmt.Sprintf(grub, "pvgrub64")},
		`bootloader='/usr/lib/xen-4.17/bin/pygrub'`:  {"pvgrub64", fmt.Sprintf(grub, "pvgrub64")},
		`builder='linux'; bootloader='pvgrub'`:       {"pvgrub64", fmt.Sprintf(grub, "pvgrub64")},
		`bootloader='pvgrub32'`:                      {"pvgrub32", fmt.Sprintf(grub, "pvgrub32")},
		`bootloader='pygrub'; firmware = 'pvgrub32'`: {"pvgrub32", "bootloader is ignored, because there is firmware at f:2:22"},
	} {
		cfg, warnings, err := Load("f", []byte("name='n'; memory=64\n"+line))
		if err != nil || cfg.Type != control.PV || cfg.Firmware != want[0] || cfg.Kernel != "" {
			t.Errorf("%s: %+v, %v", line, cfg, err)
			continue
		}
		if said := slices.ContainsFunc(warnings, func(w Warning) bool { return w.Msg == want[1] }); said != (want[1] != "") {
			t.Errorf("%s: %v", line, warnings)
		}
	}
	// The old way of the type, where no new one is.
	cfg, warnings, err := Load("f", []byte("builder='hvm'; name='n'; memory=64"))
	if err != nil || cfg.Type != control.HVM || len(warnings) != 1 || warnings[0].Msg != `builder is the old way; write type = "hvm"` {
		t.Errorf("%+v %v %v", cfg, warnings, err)
	}
}
