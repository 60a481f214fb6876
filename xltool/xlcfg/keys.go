package xlcfg

import "slices"

// key is a key that Decode acts on, or at least keeps.
type key struct {
	name   string
	decode func(d *decoder, s *Setting)
	// notYet says why nothing acts on the value, which is kept; "" if something
	// does.
	notYet string
}

// later is the reason of keys that nothing acts on yet.
const later = "is not acted on yet"

// keys, in the order in which they are decoded. Where keys depend on one
// another, check looks at the result.
var keys = []key{
	{name: "type", decode: (*decoder).typ},
	{name: "builder", decode: (*decoder).builder},
	{name: "name", decode: (*decoder).name},
	{name: "uuid", decode: (*decoder).uuid},

	{name: "kernel", decode: str(func(c *DomainConfig) *string { return &c.Kernel })},
	{name: "ramdisk", decode: str(func(c *DomainConfig) *string { return &c.Ramdisk })},
	{name: "firmware", decode: str(func(c *DomainConfig) *string { return &c.Firmware }), notYet: later},
	{name: "cmdline", decode: (*decoder).nothing},
	{name: "root", decode: (*decoder).nothing},
	{name: "extra", decode: (*decoder).nothing},
	{name: "bootloader", decode: (*decoder).bootloader},

	{name: "memory", decode: mib(func(c *DomainConfig) *uint64 { return &c.MemoryBytes })},
	{name: "maxmem", decode: mib(func(c *DomainConfig) *uint64 { return &c.MaxMemoryBytes })},
	{name: "vcpus", decode: num(1, maxVCPUs, func(c *DomainConfig) *int { return &c.VCPUs })},
	{name: "maxvcpus", decode: num(1, maxVCPUs, func(c *DomainConfig) *int { return &c.MaxVCPUs })},
	{name: "cpus", decode: cpus(func(c *DomainConfig) *affinity { return &c.HardAffinity })},
	{name: "cpus_soft", decode: cpus(func(c *DomainConfig) *affinity { return &c.SoftAffinity })},
	{name: "cpu_weight", decode: num(1, maxWeight, func(c *DomainConfig) *int { return &c.Sched.Weight })},
	{name: "cap", decode: num(0, maxCap, func(c *DomainConfig) *int { return &c.Sched.CapPercent })},

	{name: "on_poweroff", decode: action(func(c *DomainConfig) *actionT { return &c.OnPoweroff })},
	{name: "on_reboot", decode: action(func(c *DomainConfig) *actionT { return &c.OnReboot })},
	{name: "on_watchdog", decode: action(func(c *DomainConfig) *actionT { return &c.OnWatchdog })},
	{name: "on_crash", decode: action(func(c *DomainConfig) *actionT { return &c.OnCrash })},
	{name: "on_soft_reset", decode: action(func(c *DomainConfig) *actionT { return &c.OnSoftReset })},

	{name: "tsc_mode", decode: (*decoder).tscMode},
	{name: "timer_mode", decode: (*decoder).timerMode},
	{name: "nomigrate", decode: (*decoder).noMigrate},
	{name: "max_event_channels", decode: num(0, 1<<17, func(c *DomainConfig) *int { return &c.MaxEventChannels })},
	{name: "max_grant_frames", decode: num(0, 1<<20, func(c *DomainConfig) *int { return &c.MaxGrantFrames })},
	{name: "max_maptrack_frames", decode: num(0, 1<<20, func(c *DomainConfig) *int { return &c.MaxMaptrackFrames }), notYet: "bounds nothing: no domain can map grants yet"},
	{name: "max_grant_version", decode: num(0, 2, func(c *DomainConfig) *int { return &c.MaxGrantVersion })},

	{name: "disk", decode: strs(func(c *DomainConfig) *[]string { return &c.Disks }), notYet: later},
	{name: "vif", decode: strs(func(c *DomainConfig) *[]string { return &c.VIFs }), notYet: later},
}

// notYet are the other keys of xl.cfg(5): known, and ignored with a warning.
var notYet = []string{
	"acpi", "acpi_firmware", "acpi_laptop_slate", "acpi_s3", "acpi_s4", "altp2m", "altp2mhvm", "apic",
	"bios", "bios_path_override", "blkdev_start", "boot", "bootloader_args", "channel", "cpuid",
	"device_model_args", "device_model_args_hvm", "device_model_args_pv", "device_model_override",
	"device_model_stubdomain_override", "device_model_stubdomain_seclabel", "device_model_user",
	"device_model_version", "device_tree", "dm_restrict", "driver_domain", "dtdev", "e820_host",
	"gfx_passthru", "gic_version", "hap", "hdtype", "hpet", "init_seclabel", "iomem", "ioports", "irqs",
	"keymap", "localtime", "mca_caps", "mmio_hole", "ms_vm_genid", "msr_relaxed", "nestedhvm",
	"nographic", "nx", "oos", "opengl", "p9", "pae", "passthrough", "pci", "pci_msitranslate",
	"pci_permissive", "pci_power_mgmt", "pci_seize", "pool", "pvcalls", "pvshim", "pvshim_cmdline",
	"pvshim_extra", "pvshim_path", "rdm", "rdm_mem_boundary", "rtc_timeoffset", "sdl", "seclabel",
	"serial", "shadow_memory", "smbios_firmware", "soundhw", "spice", "spice_clipboard_sharing",
	"spice_image_compression", "spice_streaming_video", "spiceagent_mouse",
	"spicedisable_ticketing", "spicehost", "spicepasswd", "spiceport", "spicetls_port",
	"spiceusbredirection", "spicevdagent", "stdvga", "stubdomain_cmdline", "stubdomain_kernel",
	"stubdomain_memory", "stubdomain_ramdisk", "tee", "usb", "usbctrl", "usbdev", "usbdevice",
	"usbversion", "vdispl", "vendor_device", "vfb", "vga", "videoram", "viridian", "vkb", "vkb_device",
	"vmtrace_buf_kb", "vnc", "vncdisplay", "vnclisten", "vncpasswd", "vncunused", "vnuma",
	"vpmu", "vpt_align", "vsnd", "vtpm", "vuart", "xen_platform_pci", "xend_suspend_evtchn_compat",
}

// obsolete are keys of xm, the tool before xl, that stand in old files; xl
// doesn't know them either.
var obsolete = []string{"nics", "dhcp", "netmask", "gateway", "hostname", "interface", "restart", "console", "vncconsole", "vncviewer", "features", "superpages", "suppress_spurious_page_faults", "machine_address_size", "xauthority", "display", "nfs_server", "nfs_root"}

// Keys returns every known key, for completion and messages.
func Keys() []string {
	out := slices.Clone(notYet)
	for _, k := range keys {
		out = append(out, k.name)
	}
	slices.Sort(out)
	return out
}
