package shell

import (
	"context"

	"nidus/rpc/control"
	"nidus/xltool/xlcfg"
)

// domainConfig is a configuration in libxl's JSON: what xl list -l and xl create -n
// print, and scripts read (libxl_types.idl's names of fields). What Nidus ignores is
// left out, but for disks and interfaces, which show what was understood.
type domainConfig struct {
	CreateInfo struct {
		Type control.DomainType `json:"type"`
		Name string             `json:"name"`
		UUID control.UUID       `json:"uuid"`
	} `json:"c_info"`
	BuildInfo struct {
		MaxVCPUs     int             `json:"max_vcpus"`
		AvailVCPUs   []int           `json:"avail_vcpus"`
		HardAffinity [][]int         `json:"vcpu_hard_affinity,omitempty"`
		SoftAffinity [][]int         `json:"vcpu_soft_affinity,omitempty"`
		TSCMode      control.TSCMode `json:"tsc_mode"`
		MaxMemKB     uint64          `json:"max_memkb"`
		TargetMemKB  uint64          `json:"target_memkb"`
		NoMigrate    bool            `json:"disable_migrate,omitempty"`
		Kernel       string          `json:"kernel,omitempty"`
		Firmware     string          `json:"firmware,omitempty"`
		Cmdline      string          `json:"cmdline,omitempty"`
		Ramdisk      string          `json:"ramdisk,omitempty"`
		Modules      []string        `json:"modules,omitempty"`
		Sched        struct {
			Weight int `json:"weight"`
			Cap    int `json:"cap"`
		} `json:"sched_params"`
		EventChannels     int `json:"event_channels,omitempty"`
		MaxGrantFrames    int `json:"max_grant_frames,omitempty"`
		MaxMaptrackFrames int `json:"max_maptrack_frames,omitempty"`
		MaxGrantVersion   int `json:"max_grant_version,omitempty"`
	} `json:"b_info"`
	OnPoweroff  control.Action `json:"on_poweroff"`
	OnReboot    control.Action `json:"on_reboot"`
	OnWatchdog  control.Action `json:"on_watchdog"`
	OnCrash     control.Action `json:"on_crash"`
	OnSoftReset control.Action `json:"on_soft_reset"`
	Disks       []diskConfig   `json:"disks,omitempty"`
	NICs        []nicConfig    `json:"nics,omitempty"`
	PCIs        []pciConfig    `json:"pcidevs,omitempty"`
}

// diskConfig is libxl_device_disk.
type diskConfig struct {
	Backend     string `json:"backend_domname,omitempty"`
	Target      string `json:"pdev_path"`
	VDev        string `json:"vdev"`
	BackendType string `json:"backend,omitempty"`
	Format      string `json:"format"`
	Script      string `json:"script,omitempty"`
	Removable   bool   `json:"removable,omitempty"`
	Writable    bool   `json:"readwrite"`
	CDROM       bool   `json:"is_cdrom,omitempty"`
}

// nicConfig is libxl_device_nic.
type nicConfig struct {
	Backend  string    `json:"backend_domname,omitempty"`
	DevID    int       `json:"devid"`
	MTU      int       `json:"mtu,omitempty"`
	Model    string    `json:"model,omitempty"`
	MAC      xlcfg.MAC `json:"mac"`
	Bridge   string    `json:"bridge,omitempty"`
	Name     string    `json:"ifname,omitempty"`
	Script   string    `json:"script,omitempty"`
	Type     string    `json:"nictype,omitempty"`
	Bytes    uint64    `json:"rate_bytes_per_interval,omitempty"`
	Interval int64     `json:"rate_interval_usecs,omitempty"`
}

// pciConfig is libxl_device_pci.
type pciConfig struct {
	Func         uint8  `json:"func"`
	Dev          uint8  `json:"dev"`
	Bus          uint8  `json:"bus"`
	Domain       uint16 `json:"domain"`
	VDevFn       int    `json:"vdevfn,omitempty"`
	MSITranslate bool   `json:"msitranslate,omitempty"`
	PowerMgmt    bool   `json:"power_mgmt,omitempty"`
	Permissive   bool   `json:"permissive,omitempty"`
	Seize        bool   `json:"seize,omitempty"`
	RDMPolicy    string `json:"rdm_policy,omitempty"`
	Name         string `json:"name,omitempty"`
}

// devices adds disks, interfaces and PCI devices. One that can't be read is left out: another
// program may have made the domain, and list shows the others all the same.
func (out *domainConfig) devices(c control.DomainConfig) {
	for _, spec := range c.Disks {
		d, err := xlcfg.ParseDisk(spec)
		if err != nil {
			continue
		}
		out.Disks = append(out.Disks, diskConfig{d.Backend, d.Target, d.VDev.Name, d.BackendType, d.Format, d.Script, d.CDROM, !d.ReadOnly, d.CDROM})
	}
	for _, spec := range c.PCIs {
		d, err := xlcfg.ParsePCI(spec)
		if err != nil {
			continue
		}
		out.PCIs = append(out.PCIs, pciConfig{d.Function, d.Device, d.Bus, d.Domain, max(d.VSlot, 0) << 3, d.MSITranslate, d.PowerMgmt, d.Permissive, d.Seize, d.RDMPolicy, d.Name})
	}
	for i, spec := range c.VIFs {
		v, err := xlcfg.ParseVIF(spec)
		if err != nil {
			continue
		}
		if v.DevID < 0 {
			v.DevID = i
		}
		out.NICs = append(out.NICs, nicConfig{v.Backend, v.DevID, v.MTU, v.Model, v.MAC, v.Bridge, v.VIFName, v.Script, v.Type, v.Rate.Bytes, v.Rate.Interval.Microseconds()})
	}
}

// domainJSON translates a configuration on a host with CPUs 0 to n-1.
func domainJSON(c control.DomainConfig, n int) (domainConfig, error) {
	var out domainConfig
	ci, bi := &out.CreateInfo, &out.BuildInfo
	ci.Type, ci.Name, ci.UUID = c.Type, c.Name, c.UUID
	bi.MaxVCPUs, bi.AvailVCPUs = c.MaxVCPUs, upTo(c.VCPUs)
	bi.TSCMode, bi.NoMigrate = c.TSCMode, c.NoMigrate
	bi.MaxMemKB, bi.TargetMemKB = c.MaxMemoryBytes>>10, c.MemoryBytes>>10
	bi.Kernel, bi.Firmware, bi.Cmdline, bi.Ramdisk, bi.Modules = c.Kernel, c.Firmware, c.Cmdline, c.Ramdisk, c.Modules
	bi.Sched.Weight, bi.Sched.Cap = c.Sched.Weight, c.Sched.CapPercent
	bi.EventChannels, bi.MaxGrantFrames, bi.MaxMaptrackFrames, bi.MaxGrantVersion = c.MaxEventChannels, c.MaxGrantFrames, c.MaxMaptrackFrames, c.MaxGrantVersion
	out.OnPoweroff, out.OnReboot, out.OnWatchdog, out.OnCrash, out.OnSoftReset = c.OnPoweroff, c.OnReboot, c.OnWatchdog, c.OnCrash, c.OnSoftReset
	out.devices(c)
	var err error
	if bi.HardAffinity, err = numbers(c.HardAffinity, n); err != nil {
		return out, err
	}
	bi.SoftAffinity, err = numbers(c.SoftAffinity, n)
	return out, err
}

// numbers writes CPU lists as libxl writes its bitmaps.
func numbers(lists []control.CPUList, n int) ([][]int, error) {
	var out [][]int
	for _, l := range lists {
		set, err := l.Resolve(n, nil)
		if err != nil {
			return nil, err
		}
		cpus := []int{}
		for i := range n {
			if set.Has(i) {
				cpus = append(cpus, i)
			}
		}
		out = append(out, cpus)
	}
	return out, nil
}

// upTo returns 0 to n-1.
func upTo(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
}

// hostCPUs is how many CPUs the host has.
func (c *call) hostCPUs(ctx context.Context) (int, error) {
	h, err := c.Plane.HostInfo(ctx)
	return h.MaxCPUID + 1, err
}
