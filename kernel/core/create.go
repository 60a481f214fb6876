package core

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"

	"nidus/kernel/console"
	"nidus/kernel/domain"
	"nidus/kernel/gnttab"
	"nidus/kernel/virt"
	"nidus/mm"
	"nidus/personalities/cpuid"
	"nidus/personalities/create"
	"nidus/personalities/image"
	"nidus/personalities/pv/start"
	"nidus/personalities/pvh/startinfo"
	"nidus/rpc/control"
)

// ABI is the version of Xen that guests see.
const (
	ABIMajor = 4
	ABIMinor = 17
)

// Create makes a domain and starts it, paused if that is asked for. Cancelled, or
// failed, it leaves nothing behind.
func (c *Core) Create(ctx context.Context, cfg control.DomainConfig, opt control.CreateOptions) (mm.DomID, error) {
	if err := c.check(&cfg); err != nil {
		return 0, err
	}
	release, err := c.Hold(&cfg)
	if err != nil {
		return 0, err
	}
	id, group, err := c.reserve(&cfg)
	if err != nil {
		release()
		return 0, err
	}
	d, seen, err := c.build(ctx, id, group, &cfg)
	if err == nil {
		e := &Entry{Domain: d, name: cfg.Name, config: cfg, release: release}
		e.bound()
		d.OnDestroy(func() { e.disks.end() })
		d.OnDestroy(func() { e.vifs.end() })
		if err = c.Pass(ctx, "create: built"); err == nil {
			err = c.attachDisks(e)
		}
		if err == nil {
			err = c.attachVIFs(e)
		}
		if err == nil {
			err = c.begin(e, opt)
		}
		if err != nil {
			d.Destroy()
		}
	}
	if err != nil {
		if seen { // before the claim goes: who has the uuid next keeps its nodes
			c.removeNodes(&Entry{Domain: &domain.Domain{ID: id, UUID: cfg.UUID}, name: cfg.Name})
		}
		c.mu.Lock()
		delete(c.claims, id)
		c.release(cfg.MaxVCPUs, group)
		if !seen {
			c.unreserve(id)
		}
		c.mu.Unlock()
		release()
		return 0, err
	}
	c.Host.Log.Printf(console.LevelInfo, "d%d (%s) created: %d MiB, %d vcpus", id, cfg.Name, cfg.MemoryBytes>>20, cfg.VCPUs)
	return id, nil
}

// begin starts a domain that is made, unless the host has begun to end meanwhile.
func (c *Core) begin(e *Entry, opt control.CreateOptions) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ending != nil {
		return errEnding
	}
	delete(c.claims, e.ID)
	c.domains[e.ID] = e
	e.Start(opt.Paused, runOf(e.config.Type)) // before anyone can destroy it
	return nil
}

// check refuses what can't work here whatever the guest is.
func (c *Core) check(cfg *control.DomainConfig) error {
	if err := control.CheckName(cfg.Name); err != nil {
		return err
	}
	if err := c.checkType(cfg.Type); err != nil {
		return err
	}
	if len(cfg.PCIs) > 0 {
		return control.Errorf(control.ErrNotYet, "pci=[%q]: no device of the host can be passed through yet; remove pci= from the configuration", strings.Join(cfg.PCIs, `", "`))
	}
	for _, text := range cfg.Disks {
		if _, err := c.parseDisk(text); err != nil {
			return err
		}
	}
	if err := c.checkVIFs(cfg); err != nil {
		return err
	}
	const most = 16
	if cfg.MaxVCPUs < 1 || cfg.MaxVCPUs > most || cfg.VCPUs < 1 || cfg.VCPUs > cfg.MaxVCPUs {
		return control.Errorf(control.ErrBadConfig, "%d of %d vcpus: 1 to %d can be had", cfg.VCPUs, cfg.MaxVCPUs, most)
	}
	if cfg.Name == "Domain-0" {
		return control.Errorf(control.ErrExists, "Domain-0 is the name of domain 0")
	}
	if cfg.MaxMemoryBytes == 0 {
		cfg.MaxMemoryBytes = cfg.MemoryBytes
	}
	if cfg.MaxMemoryBytes < cfg.MemoryBytes || cfg.MaxMemoryBytes > maxMemory {
		return control.Errorf(control.ErrBadConfig, "memory=%d, maxmem=%d (MiB): maxmem is not to be less, and not more than %d", cfg.MemoryBytes>>20, cfg.MaxMemoryBytes>>20, maxMemory>>20)
	}
	if cfg.TSCMode > control.TSCNative {
		return control.Errorf(control.ErrBadConfig, "tsc_mode=%v: Xen removed this mode in 4.13; use native, or default", cfg.TSCMode)
	}
	if cfg.MaxGrantVersion < 0 || cfg.MaxGrantVersion > 2 {
		return control.Errorf(control.ErrBadConfig, "max_grant_version=%d: there are 1 and 2", cfg.MaxGrantVersion)
	}
	if cfg.MaxEventChannels < 0 {
		return control.Errorf(control.ErrBadConfig, "max_event_channels=%d: not less than 0", cfg.MaxEventChannels)
	}
	if n := cfg.MaxGrantFrames; n < 0 || n > gnttab.MaxMaxFrames {
		return control.Errorf(control.ErrBadConfig, "max_grant_frames=%d: 1 to %d, or 0 for %d", n, gnttab.MaxMaxFrames, gnttab.DefaultMaxFrames)
	}
	if n := cfg.MaxMaptrackFrames; n < 0 || n > gnttab.MaxMaxMaptrack {
		return control.Errorf(control.ErrBadConfig, "max_maptrack_frames=%d: 1 to %d, or 0 for %d", n, gnttab.MaxMaxMaptrack, gnttab.DefaultMaxMaptrack)
	}
	if cfg.Sched.Weight == 0 {
		cfg.Sched.Weight = control.DefaultWeight
	}
	return cfg.Sched.Check()
}

// build makes the domain; seen tells whether anybody, through xenstore, can have seen
// its number.
func (c *Core) build(ctx context.Context, id mm.DomID, group uint16, cfg *control.DomainConfig) (d *domain.Domain, seen bool, err error) {
	tell := control.ProgressOf(ctx)
	if tell == nil {
		tell = func(control.Progress) {}
	}
	tell(control.Progress{Step: "kernel"})
	kernel, err := c.kernel(cfg)
	if err != nil {
		return nil, false, err
	}
	if err := c.Pass(ctx, "create: kernel decoded"); err != nil {
		return nil, false, err
	}
	modules, err := c.modules(cfg)
	if err != nil {
		return nil, false, err
	}
	if err := c.admit(cfg); err != nil {
		return nil, false, err
	}
	p, err := c.params(id, group, cfg, kernel.Class)
	if err != nil {
		return nil, false, err
	}
	d, err = c.buildType(ctx, cfg.Type, create.Config{
		Params: p, Name: cfg.Name, Memory: cfg.MemoryBytes, MaxMemory: cfg.MaxMemoryBytes,
		OnlineVCPUs: cfg.VCPUs, Kernel: kernel, Cmdline: cfg.Cmdline, Modules: modules,
		Progress: func(done, all uint64) error {
			tell(control.Progress{Step: "memory", Done: done, Total: all})
			return c.Pass(ctx, "create: memory")
		},
		Published: func() { seen = true },
	})
	if errors.Is(err, mm.ErrNoMemory) || errors.Is(err, mm.ErrNoTables) {
		err = control.Errorf(control.ErrNoMemory, "%v; free some or give the domain less (memory=)", err)
	}
	return d, seen, kernelError(err)
}

// kernelError gives those of what a kernel and its ramdisk are a kind.
func kernelError(err error) error {
	for _, kind := range []error{startinfo.ErrMemory, startinfo.ErrParams, image.ErrNoPVHEntry, image.ErrPlacement, start.ErrKernel, start.ErrMemory, start.ErrParams} {
		if errors.Is(err, kind) {
			return control.Errorf(control.ErrBadKernel, "%v", err)
		}
	}
	return err
}

// kernel decodes a kernel, or finds it decoded.
func (c *Core) kernel(cfg *control.DomainConfig) (*image.Kernel, error) {
	name, m, err := c.bootFile(cfg)
	if err != nil {
		return nil, err
	}
	identity := m.Name
	if strings.HasPrefix(identity, control.DataPrefix) {
		identity = "" // the next time the file may be another
	}
	k, warm, err := c.kernels.Decode(identity, name, m.Data, image.Limits{})
	if !warm {
		// Unpacking leaves a decoder's window behind, or a kernel that was none.
		c.trim()
	}
	if err != nil {
		return nil, control.Errorf(control.ErrBadKernel, "%v", err)
	}
	if !warm {
		c.Host.Log.Printf(console.LevelInfo, "kernel %s: %s", name, k.Format)
	}
	return k, nil
}

// admit refuses a domain that the machine's memory can't hold. Kept kernels give
// way to it.
func (c *Core) admit(cfg *control.DomainConfig) error {
	// page tables, grant frames, and what the host itself needs to go on
	const reserve = 16 << 20
	need := cfg.MemoryBytes + cfg.MemoryBytes/256 + reserve
	free := c.unpromised()
	if need > free {
		c.kernels.Shrink(0)
		debug.FreeOSMemory()
		free = c.unpromised()
	}
	if need > free {
		return control.Errorf(control.ErrNoMemory, "the domain needs %d MiB (memory=%d and %d for itself), but only %d MiB are free",
			need>>20, cfg.MemoryBytes>>20, (need-cfg.MemoryBytes)>>20, free>>20)
	}
	return nil
}

// FreeMemory is what new domains can have, in bytes: free frames that no disk was
// promised, and the kernels that are kept only as long as nobody needs their memory.
func (c *Core) FreeMemory() uint64 {
	kept, _ := c.kernels.Held()
	return c.unpromised() + uint64(kept)
}

// unpromised is the free memory that no disk was promised, in bytes.
func (c *Core) unpromised() uint64 {
	free, promised := c.Host.Memory.Stats().Free*mm.PageSize, c.promises.Bytes()
	return max(free, promised) - promised
}

// trim gives memory that Go does not use back to the machine, in the background. What
// was let go of before it is called goes, also if it is at work.
func (c *Core) trim() {
	if c.trims.Add(1) > 1 {
		return
	}
	go func() {
		for n := int32(1); ; n = c.trims.Load() {
			debug.FreeOSMemory()
			if c.trims.CompareAndSwap(n, 0) {
				return
			}
		}
	}()
}

// tsc decides how a guest reads the time-stamp counter (xl.cfg(5), tsc_mode): the
// processor's own, unless that is asked not to be, or can't be trusted and nobody
// asked for it.
func (c *Core) tsc(cfg *control.DomainConfig, p *cpuid.Config) {
	p.TSCKHz, p.TSCReliable = c.Host.Clock.TSCKHz(), c.Host.TSCReliable
	switch {
	case cfg.TSCMode == control.TSCAlwaysEmulate:
		p.TSCMode, p.TSCEmulated = cpuid.TSCAlwaysEmul, true
	case cfg.TSCMode == control.TSCDefault && !c.Host.TSCReliable:
		p.TSCMode, p.TSCEmulated = cpuid.TSCDefault, true
	default:
		p.TSCMode = cpuid.TSCNeverEmulate
	}
	if p.TSCEmulated {
		p.TSCKHz = virt.EmulatedTSCKHz
	}
	// A guest that is to migrate may come to a processor of another rate.
	p.TSCInvariant = p.TSCReliable && !p.TSCEmulated && !cfg.Migrate
}

// params makes a domain's parameters; bits is the kernel's class, 32 or 64.
func (c *Core) params(id mm.DomID, group uint16, cfg *control.DomainConfig, bits int) (domain.Params, error) {
	cc := cpuid.Config{VCPUs: cfg.MaxVCPUs, DomID: uint16(id), PhysBits: 40, TSCDeadline: true, Hide7B: c.Hide7B, XenMajor: ABIMajor, XenMinor: ABIMinor}
	cc.PV = cfg.Type == control.PV
	cc.PV32 = cc.PV && bits == 32
	c.tsc(cfg, &cc)
	policy, err := cpuid.New(hostCPUID, cc)
	if err != nil {
		return domain.Params{}, err
	}
	p := domain.Params{
		ID: id, UUID: cfg.UUID, VCPUs: cfg.MaxVCPUs, MaxPorts: uint32(cfg.MaxEventChannels), MaxGrants: cfg.MaxGrantFrames,
		MaxMaptrack: cfg.MaxMaptrackFrames, MaxGrantVersion: cfg.MaxGrantVersion,
		Sched:  domain.Sched{Group: group, Weight: cfg.Sched.Weight, Cap: cfg.Sched.CapPercent, Hard: ^uint64(0), Soft: ^uint64(0), Possible: c.possible(cfg.Type), Spared: c.Spare},
		Policy: policy,
	}
	for i := range cfg.MaxVCPUs {
		s := p.Sched
		if i < len(cfg.HardAffinity) {
			if s.Hard, err = c.cpus(cfg.HardAffinity[i], s.Possible); err != nil {
				return p, fmt.Errorf("cpus= of vcpu %d: %w", i, err)
			}
		}
		if i < len(cfg.SoftAffinity) {
			if s.Soft, err = c.cpus(cfg.SoftAffinity[i], s.Possible); err != nil {
				return p, fmt.Errorf("cpus_soft= of vcpu %d: %w", i, err)
			}
		}
		p.Affinity = append(p.Affinity, s)
	}
	return p, nil
}

// possible is the set of CPUs that a guest of type t runs on.
func (c *Core) possible(t control.DomainType) uint64 {
	if t == control.PV {
		return 1<<c.CPUs - 1
	}
	return c.NestedCPUs
}

func (c *Core) cpus(l control.CPUList, possible uint64) (uint64, error) {
	set, err := l.Resolve(c.CPUs, func(int) int { return 0 })
	if err != nil {
		return 0, err
	}
	return c.mask(set, possible)
}

// mask makes a CPU set a word; one without any of the possible CPUs is an error.
func (c *Core) mask(set control.CPUSet, possible uint64) (uint64, error) {
	var m uint64
	if len(set) > 0 {
		m = set[0]
	}
	if m&(1<<c.CPUs-1) == 0 {
		return 0, control.Errorf(control.ErrBadArgument, "CPUs %s: the host has %d, numbered from 0", set, c.CPUs)
	}
	if m&possible == 0 {
		return 0, control.Errorf(control.ErrBadArgument, "CPUs %s run no guests of this type on this host; %s do", set, control.CPUSet{possible})
	}
	return m, nil
}
