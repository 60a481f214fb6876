package xlcfg

import (
	"slices"
	"strings"
)

// key is a key of xl.cfg(5).
type key struct {
	name string
	// typ is what the value has to be, for people.
	typ string
	// decode checks and keeps the value; nil does neither.
	decode func(d *decoder, s *Setting)
	// notYet says why nothing acts on the value; "" if something does.
	notYet string
}

// later is the reason of keys that nothing acts on yet.
const later = "is not acted on yet"

// keys are all.
var keys = withIgnored(decoded)

// decoded, in the order in which they are. Where keys depend on one another,
// check looks at the result.
var decoded = []key{
	{name: "type", typ: "pv, pvh or hvm", decode: (*decoder).typ},
	{name: "builder", typ: "generic, linux or hvm", decode: (*decoder).builder},
	{name: "name", typ: "string", decode: (*decoder).name},
	{name: "uuid", typ: "string", decode: (*decoder).uuid},

	{name: "kernel", typ: "file", decode: str(func(c *DomainConfig) *string { return &c.Kernel })},
	{name: "ramdisk", typ: "file, or list of files and their command lines", decode: (*decoder).ramdisk},
	{name: "firmware", typ: "pvgrub64 or pvgrub32, of PV guests", decode: str(func(c *DomainConfig) *string { return &c.Firmware })},
	{name: "cmdline", typ: "string", decode: (*decoder).nothing},
	{name: "root", typ: "string", decode: (*decoder).nothing},
	{name: "extra", typ: "string", decode: (*decoder).nothing},
	{name: "bootloader", typ: "pygrub, in whose place firmware is taken", decode: (*decoder).bootloader},

	{name: "memory", typ: "MiB", decode: mib(func(c *DomainConfig) *uint64 { return &c.MemoryBytes })},
	{name: "maxmem", typ: "MiB", decode: mib(func(c *DomainConfig) *uint64 { return &c.MaxMemoryBytes })},
	{name: "vcpus", typ: "number", decode: num(1, maxVCPUs, func(c *DomainConfig) *int { return &c.VCPUs })},
	{name: "maxvcpus", typ: "number", decode: num(1, maxVCPUs, func(c *DomainConfig) *int { return &c.MaxVCPUs })},
	{name: "cpus", typ: "list of CPUs", decode: cpus(func(c *DomainConfig) *affinity { return &c.HardAffinity })},
	{name: "cpus_soft", typ: "list of CPUs", decode: cpus(func(c *DomainConfig) *affinity { return &c.SoftAffinity })},
	{name: "cpu_weight", typ: "number", decode: num(1, maxWeight, func(c *DomainConfig) *int { return &c.Sched.Weight })},
	{name: "cap", typ: "percent of a CPU", decode: num(0, maxCap, func(c *DomainConfig) *int { return &c.Sched.CapPercent })},

	{name: "on_poweroff", typ: "action", decode: action(func(c *DomainConfig) *actionT { return &c.OnPoweroff })},
	{name: "on_reboot", typ: "action", decode: action(func(c *DomainConfig) *actionT { return &c.OnReboot })},
	{name: "on_watchdog", typ: "action", decode: action(func(c *DomainConfig) *actionT { return &c.OnWatchdog })},
	{name: "on_crash", typ: "action", decode: action(func(c *DomainConfig) *actionT { return &c.OnCrash })},
	{name: "on_soft_reset", typ: "action", decode: action(func(c *DomainConfig) *actionT { return &c.OnSoftReset })},

	{name: "tsc_mode", typ: "mode", decode: (*decoder).tscMode},
	{name: "timer_mode", typ: "mode", decode: (*decoder).timerMode},
	{name: "nomigrate", typ: "boolean", decode: (*decoder).noMigrate},
	{name: "max_event_channels", typ: "number", decode: num(0, 1<<17, func(c *DomainConfig) *int { return &c.MaxEventChannels })},
	{name: "max_grant_frames", typ: "number", decode: num(0, 1<<20, func(c *DomainConfig) *int { return &c.MaxGrantFrames })},
	{name: "max_maptrack_frames", typ: "number", decode: num(0, 1<<20, func(c *DomainConfig) *int { return &c.MaxMaptrackFrames })},
	{name: "max_grant_version", typ: "number", decode: num(0, 2, func(c *DomainConfig) *int { return &c.MaxGrantVersion })},

	{name: "disk", typ: "list of disks", decode: specs("disk.img,raw,xvda,w", disk)},
	{name: "vif", typ: "list of interfaces", decode: specs("bridge=xenbr0", vif)},
	{name: "pci", typ: "list of PCI devices", decode: specs("0000:00:06.0", pci), notYet: "makes create fail: no device of the host can be passed through yet"},
}

// ignored are the other keys of xl.cfg(5), by why nothing acts on them yet: type
// and names.
var ignored = []struct{ reason, typ, names string }{
	{"no machine is emulated (HVM)", "boolean", "acpi acpi_laptop_slate acpi_s3 acpi_s4 apic hpet pae nx vpt_align xen_platform_pci usb"},
	{"no machine is emulated (HVM)", "number", "usbversion mmio_hole"},
	{"no machine is emulated (HVM)", "string", "acpi_firmware bios bios_path_override blkdev_start boot hdtype ms_vm_genid smbios_firmware vendor_device"},
	{"no machine is emulated (HVM)", "list of strings", "serial usbdevice"},
	{"there is no device model", "boolean", "dm_restrict device_model_stubdomain_override"},
	{"there is no device model", "number", "stubdomain_memory"},
	{"there is no device model", "string", "device_model_override device_model_stubdomain_seclabel device_model_user device_model_version stubdomain_cmdline stubdomain_kernel stubdomain_ramdisk"},
	{"there is no device model", "list of strings", "device_model_args device_model_args_hvm device_model_args_pv"},
	{"there are no graphics, input devices and sound", "boolean", "nographic opengl sdl spice spice_clipboard_sharing spiceagent_mouse spicedisable_ticketing spicevdagent stdvga vkb_device vnc vncunused"},
	{"there are no graphics, input devices and sound", "number", "spiceport spicetls_port spiceusbredirection videoram vncdisplay"},
	{"there are no graphics, input devices and sound", "string", "display gfx_passthru keymap soundhw spice_image_compression spice_streaming_video spicehost spicepasswd vga vnclisten vncpasswd xauthority"},
	{"there are no graphics, input devices and sound", "list of strings", "vdispl vfb vkb vsnd"},
	{"no device of the host is passed through", "boolean", "pci_msitranslate pci_permissive pci_power_mgmt pci_seize"},
	{"no device of the host is passed through", "number", "rdm_mem_boundary"},
	{"no device of the host is passed through", "string", "passthrough rdm"},
	{"no device of the host is passed through", "list of strings", "dtdev iomem ioports irqs usbctrl usbdev"},
	{"no domain serves other domains", "boolean", "driver_domain"},
	{"no domain serves other domains", "list of strings", "channel p9 pvcalls vtpm"},
	{"there is no security policy", "string", "init_seclabel seclabel"},
	{"the guest's processor and paging can't be chosen", "boolean", "altp2mhvm hap msr_relaxed nestedhvm oos vpmu"},
	{"the guest's processor and paging can't be chosen", "number", "shadow_memory vmtrace_buf_kb"},
	{"the guest's processor and paging can't be chosen", "string", "altp2m"},
	{"the guest's processor and paging can't be chosen", "list of strings", "cpuid mca_caps viridian"},
	{"memory has no layout to choose", "boolean", "e820_host"},
	{"memory has no layout to choose", "list of lists", "vnuma"},
	{"there are no CPU pools", "string", "pool"},
	{"no PV guest is wrapped in PVH", "boolean", "pvshim"},
	{"no PV guest is wrapped in PVH", "string", "pvshim_cmdline pvshim_extra pvshim_path"},
	{"the guest's clock is UTC", "boolean", "localtime"},
	{"the guest's clock is UTC", "number", "rtc_timeoffset"},
	{"nothing can be suspended", "boolean", "xend_suspend_evtchn_compat"},
	{"it is Arm's", "string", "device_tree gic_version tee vuart"},
	{"there is no boot loader in the host", "list of strings", "bootloader_args"},
}

// obsolete are keys of xm, the tool before xl, that stand in old files, and what
// to do with the line; xl doesn't know them either.
var obsolete = map[string]string{
	"nics":        "remove the line: vif has an element for each interface",
	"autorestart": `write on_poweroff, on_reboot and on_crash = "restart"`,
	"restart":     `write on_poweroff, on_reboot and on_crash`,
	"dhcp":        `write extra = "ip=dhcp"`,
	"netmask":     `write it in extra = "ip=..."`,
	"gateway":     `write it in extra = "ip=..."`,
	"hostname":    `write it in extra = "ip=..."`,
	"interface":   `write it in extra = "ip=..."`,
	"nfs_server":  `write it in extra = "nfsroot=..."`,
	"nfs_root":    `write it in extra = "nfsroot=..."`,
	"cpu":         `write cpus = "..."`,
	"console":     removeLine, "vncconsole": removeLine, "vncviewer": removeLine, "features": removeLine,
	"superpages": removeLine, "suppress_spurious_page_faults": removeLine,
	"machine_address_size": removeLine,
}

const removeLine = "remove the line"

// withIgnored adds the keys that are ignored.
func withIgnored(out []key) []key {
	for _, g := range ignored {
		for name := range strings.FieldsSeq(g.names) {
			out = append(out, key{name: name, typ: g.typ, notYet: later + ": " + g.reason})
		}
	}
	return out
}

// lookup returns a key, or nil.
func lookup(name string) *key {
	for i := range keys {
		if keys[i].name == name {
			return &keys[i]
		}
	}
	return nil
}

// KeyInfo describes a key of a configuration.
type KeyInfo struct {
	Name string
	// Type is what its value has to be.
	Type string
	// State is what becomes of it.
	State KeyState
	// Why says what is missing, or what to do instead; "" if it is acted on.
	Why string
}

// KeyState is what becomes of a key.
type KeyState string

// The states.
const (
	// Acted: it does what xl.cfg(5) says.
	Acted KeyState = "acted on"
	// Kept: it is checked, and nothing acts on it yet.
	Kept KeyState = "checked"
	// Ignored: it is read, and nothing acts on it yet.
	Ignored KeyState = "ignored"
	// Obsolete: it was xm's.
	Obsolete KeyState = "obsolete"
)

// Table returns every key by name: those of xl.cfg(5), and xm's.
func Table() []KeyInfo {
	var out []KeyInfo
	for _, k := range keys {
		i := KeyInfo{k.name, k.typ, Acted, k.notYet}
		switch {
		case k.decode == nil:
			i.State = Ignored
		case k.notYet != "":
			i.State = Kept
		}
		out = append(out, i)
	}
	for name, do := range obsolete {
		out = append(out, KeyInfo{name, "any", Obsolete, do})
	}
	slices.SortFunc(out, func(a, b KeyInfo) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// Keys returns every known key, for completion and messages.
func Keys() []string {
	var out []string
	for _, k := range keys {
		out = append(out, k.name)
	}
	slices.Sort(out)
	return out
}
