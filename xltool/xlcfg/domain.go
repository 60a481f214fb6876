package xlcfg

import (
	"slices"
	"strings"

	"nidus/rpc/control"
)

// The decoding of keys that are unlike others, and what must hold between keys.

func (d *decoder) typ(s *Setting) {
	if i, ok := d.word(s, []string{"pv", "pvh", "hvm"}, false); ok {
		d.cfg.Type = control.DomainType(i)
	}
}

// builder is what chose the type before type= did.
func (d *decoder) builder(s *Setting) {
	i, ok := d.word(s, []string{"generic", "hvm", "linux"}, false)
	if !ok {
		return
	}
	t := control.PV
	if i == 1 {
		t = control.HVM
	}
	if ts := d.file.Get("type"); ts != nil {
		if t != d.cfg.Type {
			d.warn(s, "builder is ignored, because type at "+ts.Pos.String()+" says otherwise; remove it")
		}
		return
	}
	d.cfg.Type = t
	d.warn(s, "builder is the old way; write type = \""+t.String()+"\"")
}

func (d *decoder) name(s *Setting) {
	text, ok := d.text(s)
	if !ok {
		return
	}
	if err := control.CheckName(text); err != nil {
		d.fail(s.Value.Pos, "%v", err)
		return
	}
	d.cfg.Name = text
}

func (d *decoder) uuid(s *Setting) {
	text, ok := d.text(s)
	if !ok {
		return
	}
	u, err := control.ParseUUID(text)
	if err != nil {
		d.fail(s.Value.Pos, "%v", err)
		return
	}
	d.cfg.UUID = u
}

// ramdisk is a file, or a list of what comes beside the kernel: of files, each with its
// command line after a space. Xen's xl has no list.
func (d *decoder) ramdisk(s *Setting) {
	if s.Value.Kind != List {
		d.cfg.Ramdisk = s.Value.Text
		return
	}
	if n := len(s.Value.List); n > maxModules {
		d.fail(s.Value.Pos, "ramdisk has %d elements; at most %d are possible", n, maxModules)
		return
	}
	for _, v := range s.Value.List {
		if file, _ := control.SplitModule(v.Text); v.Kind == List || file == "" {
			d.fail(v.Pos, "ramdisk: an element is a file's name, and after a space its command line")
			return
		}
		d.cfg.Modules = append(d.cfg.Modules, v.Text)
	}
}

// bootloaders are the programs that find a guest's kernel on its disk by GRUB's menu, which
// GRUB can do in the guest, and what that is called.
var bootloaders = map[string]string{
	"pygrub": control.PVGrub64, "pvgrub": control.PVGrub64, "pv-grub": control.PVGrub64,
	control.PVGrub64: control.PVGrub64, control.PVGrub32: control.PVGrub32,
}

// bootloader comes after the type, kernel and firmware.
func (d *decoder) bootloader(s *Setting) {
	text, ok := d.text(s)
	if !ok {
		return
	}
	firmware, known := bootloaders[text[strings.LastIndexByte(text, '/')+1:]]
	switch other := d.file.Get("kernel"); {
	case d.cfg.Type == control.PV && d.cfg.Kernel != "":
		d.warn(s, "bootloader is ignored, because there is kernel at "+other.Pos.String())
	case d.cfg.Type == control.PV && d.cfg.Firmware != "":
		d.warn(s, "bootloader is ignored, because there is firmware at "+d.file.Get("firmware").Pos.String())
	case d.cfg.Type == control.PV && known:
		d.cfg.Firmware = firmware
		d.warn(s, "bootloader: no program of the host looks into a guest's disk here; GRUB does in the guest: write firmware = \""+
			firmware+"\", or \"pvgrub32\" for a kernel of 32 bits")
	case d.cfg.Type == control.PV:
		d.fail(s.Pos, "bootloader: no program of the host looks into a guest's disk here; remove the line and let the guest boot itself: firmware = \"pvgrub64\"")
	default:
		d.fail(s.Pos, "bootloader: no program of the host looks into a guest's disk here; remove the line and let the guest boot itself with pvgrub: kernel = %q (package grub-xen-bin)", "grub-i386-xen_pvh.bin")
	}
}

func (d *decoder) tscMode(s *Setting) {
	if i, ok := d.word(s, control.TSCModeNames[:], true); ok {
		d.cfg.TSCMode = control.TSCMode(i)
	}
}

func (d *decoder) noMigrate(s *Setting) {
	boolean(func(c *DomainConfig) *bool { return &c.NoMigrate })(d, s)
	d.cfg.Migrate = !d.cfg.NoMigrate
}

func (d *decoder) timerMode(s *Setting) {
	if i, ok := d.word(s, control.TimerModeNames[:], true); ok {
		d.cfg.TimerMode = control.TimerMode(i)
		if d.cfg.TimerMode != control.TimerOneMissedTickPending {
			d.warn(s, "timer_mode: ticks that a vcpu missed always come as one, late (one_missed_tick_pending)")
		}
	}
}

// check completes the configuration and refuses contradictions.
func (d *decoder) check() {
	if d.file.Get("name") == nil {
		d.missing("name", "no name; add name = \"...\"")
	}
	d.checkBoot()
	d.checkMemory()
	d.checkVCPUs()
	d.cmdline()
}

func (d *decoder) missing(key, format string, args ...any) {
	if !d.meant[key] {
		d.fail(d.top(), format, args...)
	}
}

// top is where a key that's missing would stand.
func (d *decoder) top() Pos { return Pos{d.file.Name, 1, 1} }

// at is where the value of a key stands, or else the top.
func (d *decoder) at(key string) Pos {
	if s := d.file.Get(key); s != nil {
		return s.Value.Pos
	}
	return d.top()
}

func (d *decoder) checkBoot() {
	c := &d.cfg
	kernel, firmware := d.file.Get("kernel"), d.file.Get("firmware")
	switch {
	case c.Type == control.PVH && firmware != nil:
		d.fail(firmware.Pos, "there is no firmware for a PVH guest; use kernel = ..., which may be grub-i386-xen_pvh.bin")
	case c.Type == control.PV && c.Firmware != "" && c.Firmware != control.PVGrub32 && c.Firmware != control.PVGrub64:
		d.fail(firmware.Value.Pos, "firmware %q is none for a PV guest; use pvgrub32 or pvgrub64, or kernel = ...", shorten(c.Firmware))
	case c.Type == control.PV && c.Firmware != "" && c.Kernel != "":
		d.fail(firmware.Pos, "firmware and kernel, at %v, both say what to boot; remove one", kernel.Pos)
	case kernel != nil && c.Kernel == "" && kernel.Value.Kind != List:
		d.fail(kernel.Value.Pos, "kernel is empty; name the file of the kernel")
	case kernel == nil && c.Type != control.HVM && firmware == nil && d.file.Get("bootloader") == nil:
		d.missing("kernel", "no kernel, which a %v guest needs; add kernel = \"...\"", strings.ToUpper(c.Type.String()))
	case kernel == nil && (c.Ramdisk != "" || len(c.Modules) > 0):
		d.fail(d.at("ramdisk"), "a ramdisk without a kernel; add kernel = \"...\"")
	}
}

func (d *decoder) checkMemory() {
	c := &d.cfg
	mem, maxmem := d.file.Get("memory"), d.file.Get("maxmem")
	switch {
	case mem == nil && maxmem == nil:
		d.missing("memory", "no memory; add memory = and the number of MiB")
	case mem == nil:
		c.MemoryBytes = c.MaxMemoryBytes
	case maxmem == nil:
		c.MaxMemoryBytes = c.MemoryBytes
	case c.MaxMemoryBytes != 0 && c.MemoryBytes > c.MaxMemoryBytes:
		d.fail(mem.Value.Pos, "memory = %d is more than maxmem = %d at %v; lower one or raise the other", c.MemoryBytes>>20, c.MaxMemoryBytes>>20, maxmem.Pos)
	}
}

func (d *decoder) checkVCPUs() {
	c := &d.cfg
	vs, ms := d.file.Get("vcpus"), d.file.Get("maxvcpus")
	if vs == nil {
		c.VCPUs = 1
	}
	switch {
	case ms == nil:
		c.MaxVCPUs = c.VCPUs
	case vs != nil && c.MaxVCPUs != 0 && c.VCPUs > c.MaxVCPUs:
		d.fail(vs.Value.Pos, "vcpus = %d is more than maxvcpus = %d at %v; lower one or raise the other", c.VCPUs, c.MaxVCPUs, ms.Pos)
	}
	for _, k := range [...]string{"cpus", "cpus_soft"} {
		d.spread(k, map[string]*affinity{"cpus": &c.HardAffinity, "cpus_soft": &c.SoftAffinity}[k])
	}
}

// spread gives every vcpu its part of an affinity.
func (d *decoder) spread(key string, a *affinity) {
	s := d.file.Get(key)
	if s == nil || len(*a) == 0 {
		return
	}
	if s.Value.Kind != List {
		*a = slices.Repeat(*a, d.cfg.MaxVCPUs)
	}
	if len(*a) > d.cfg.MaxVCPUs && d.cfg.MaxVCPUs > 0 {
		d.warn(s, "more elements in "+key+" than vcpus; the last ones are ignored")
		*a = (*a)[:d.cfg.MaxVCPUs]
	}
}

// cmdline combines cmdline, root and extra as xl.cfg(5), Direct Kernel Boot,
// says: cmdline counts alone.
func (d *decoder) cmdline() {
	value := func(key string) (string, *Setting) {
		s := d.file.Get(key)
		if s == nil {
			return "", nil
		}
		text, _ := d.text(s)
		return text, s
	}
	line, set := value("cmdline")
	root, rootSet := value("root")
	extra, extraSet := value("extra")
	if set != nil {
		for _, s := range [...]*Setting{rootSet, extraSet} {
			if s != nil {
				d.warn(s, s.Key+" is ignored, because there is cmdline at "+set.Pos.String())
			}
		}
	} else {
		if rootSet != nil {
			line = "root=" + root
		}
		if line != "" && extra != "" {
			line += " "
		}
		line += extra
	}
	if strings.ContainsAny(line, "\n\r") {
		line = strings.Join(strings.FieldsFunc(line, func(r rune) bool { return r == '\n' || r == '\r' }), " ")
	}
	d.cfg.Cmdline = line
}
