package shell

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"sync"
	"time"

	"nidus/rpc/authorized"
	"nidus/rpc/control"
)

// fakePlane is a control plane in memory, on a host of 4 CPUs with 1 GiB.
type fakePlane struct {
	control.NotYet
	mu      sync.Mutex
	domains []*fakeDomain
	next    control.DomID
	files   map[string]string
	log     []string // what was asked of it
	streams []chan control.Event
	dmesg   string
	deaf    bool // guests don't react to shutdown
	store   map[string]string
	perms   map[string][]string
	clients authorized.List
}

type fakeDomain struct {
	info  control.DomainInfo
	cfg   control.DomainConfig
	sched control.SchedParams
	vcpus []control.VCPUInfo
	con   *fakeConsole
}

func newFake() *fakePlane {
	f := &fakePlane{dmesg: "(XEN) Nidus\n(XEN) boot\tx\x1b[2J\r\n", files: map[string]string{
		"debian.cfg": "type='pvh'\nname='debian'\nkernel='vmlinuz'\nmemory=256\nvcpus=2\n",
		"grub.cfg":   "name='grub'\nbootloader='pygrub'\nmemory=256\n",
		"bad.cfg":    "type='hmv'\nname='debian'\nkernel='vmlinuz'\nmemry=256\n",
		"big.cfg":    "type='pvh'; name='big'; kernel='vmlinuz'; memory=4096",
		"vmlinuz":    "\x7fELF",
		"foo":        "name = 'domU-id'; kernel = '/netbsd-XEN3PAE_DOMU-i386-foo.gz'; memory = 256",
	}}
	f.store = map[string]string{"/local": "", "/local/domain": "", "/local/domain/0": "", "/local/domain/0/name": "Domain-0", "/tool": "", "/tool/x": "a\n\"\x1b\\"}
	f.perms = map[string][]string{"/tool/x": {"n0", "r1"}}
	f.add(control.DomainConfig{Name: "Domain-0", MemoryBytes: 64 << 20, MaxMemoryBytes: 64 << 20, VCPUs: 1, MaxVCPUs: 1}, 0)
	f.domains[0].info.State = control.StateRunning
	f.domains[0].info.CPUTime = 58100 * time.Millisecond
	return f
}

func (f *fakePlane) add(cfg control.DomainConfig, st control.State) control.DomID {
	d := &fakeDomain{cfg: cfg, sched: control.SchedParams{Weight: 256}, con: newFakeConsole(cfg.Name)}
	d.info = control.DomainInfo{ID: f.next, Name: cfg.Name, Type: cfg.Type, State: st, MemoryBytes: cfg.MemoryBytes, MaxMemoryBytes: cfg.MaxMemoryBytes,
		VCPUs: cfg.VCPUs, MaxVCPUs: cfg.MaxVCPUs, UUID: cfg.UUID, Uptime: time.Duration(f.next+1) * 45296 * time.Second, CPUTime: time.Duration(f.next) * 1234567 * time.Microsecond}
	for i := range cfg.MaxVCPUs {
		d.vcpus = append(d.vcpus, control.VCPUInfo{ID: i, Online: i < cfg.VCPUs, CPU: i, Running: i == 0, Blocked: i != 0,
			Time: d.info.CPUTime, Hard: control.AllCPUs(4), Soft: control.AllCPUs(4)})
	}
	f.domains = append(f.domains, d)
	f.next++
	return d.info.ID
}

func (f *fakePlane) do(id control.DomID, what string, change func(d *fakeDomain) error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.log = append(f.log, fmt.Sprintf("%s %d", what, id))
	for _, d := range f.domains {
		if d.info.ID == id {
			return change(d)
		}
	}
	return control.Errorf(control.ErrNoDomain, "no domain %d", id)
}

func (f *fakePlane) event(k control.EventKind, d *fakeDomain) {
	for _, s := range f.streams {
		select {
		case s <- control.Event{Kind: k, ID: d.info.ID, Name: d.info.Name}:
		default:
		}
	}
}

func (f *fakePlane) HostInfo(context.Context) (control.HostInfo, error) {
	return control.HostInfo{Hostname: "nidus", Release: "1.0", Version: "#1", Machine: "x86_64", CPUs: 4, MaxCPUID: 3, Nodes: 1, CoresPerSocket: 4, ThreadsPerCore: 1,
		CPUHz: 2266123456, HWCaps: [8]uint32{0xbfebfbff, 0x28100800}, VirtCaps: []string{"pv", "hvm"}, TotalMemoryBytes: 1 << 30, FreeMemoryBytes: 700 << 20, XenMajor: 4, XenMinor: 17,
		XenExtra: ".0", XenCaps: []string{"xen-3.0-x86_64", "hvm-3.0-x86_64"}, Scheduler: "credit2", PageSizeBytes: 4096, PlatformParams: "virt_start=0xffff800000000000",
		CommandLine: "console=com1", Compiler: "go1.26.5", Addresses: []string{"10.0.2.15/24"}}, nil
}

func (f *fakePlane) Dmesg(_ context.Context, clear bool) ([]byte, error) {
	s := f.dmesg
	if clear {
		f.dmesg = ""
	}
	return []byte(s), nil
}

func (f *fakePlane) note(format string, args ...any) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.log = append(f.log, fmt.Sprintf(format, args...))
	return nil
}

func (f *fakePlane) DebugKeys(_ context.Context, keys string) error {
	return f.note("debug-keys %s", keys)
}
func (f *fakePlane) PowerOff(_ context.Context, opt control.HostEndOptions) (control.HostEndStream, error) {
	return &fakeEnd{"poweroff"}, f.note("poweroff %v %v", opt.Limit, opt.Force)
}
func (f *fakePlane) HostReboot(_ context.Context, opt control.HostEndOptions) (control.HostEndStream, error) {
	return &fakeEnd{"host-reboot"}, f.note("host-reboot %v %v", opt.Limit, opt.Force)
}

// fakeEnd is a host that has nothing to do before it ends.
type fakeEnd struct{ what string }

func (e *fakeEnd) Close() error { return nil }
func (e *fakeEnd) Next(context.Context) (control.HostEndStep, error) {
	if e.what == "" {
		return control.HostEndStep{Kind: control.HostEndNow, Text: "now"}, nil
	}
	what := e.what
	e.what = ""
	return control.HostEndStep{Kind: control.HostEndBegun, Text: what + " begins"}, nil
}

func (f *fakePlane) ListDomains(ctx context.Context) ([]control.DomainInfo, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []control.DomainInfo
	for _, d := range f.domains {
		out = append(out, d.info)
	}
	return out, ctx.Err()
}

func (f *fakePlane) Domain(ctx context.Context, ref string) (control.DomainInfo, error) {
	ds, err := f.ListDomains(ctx)
	for _, d := range ds {
		if d.Name == ref || strconv.Itoa(int(d.ID)) == ref {
			return d, nil
		}
	}
	if err == nil {
		err = control.ErrNoDomain
	}
	return control.DomainInfo{}, err
}

func (f *fakePlane) DomainConfig(_ context.Context, id control.DomID) (cfg control.DomainConfig, err error) {
	err = f.do(id, "config", func(d *fakeDomain) error { cfg = d.cfg; return nil })
	return cfg, err
}

func (f *fakePlane) Create(_ context.Context, cfg control.DomainConfig, opt control.CreateOptions) (control.DomID, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, d := range f.domains {
		if d.info.Name == cfg.Name {
			return 0, control.Errorf(control.ErrExists, "the name is taken by domain %d", d.info.ID)
		}
	}
	if len(cfg.PCIs) > 0 {
		return 0, control.Errorf(control.ErrNotYet, "pci=%q: not yet", cfg.PCIs)
	}
	if cfg.MemoryBytes > 700<<20 {
		return 0, control.Errorf(control.ErrNoMemory, "%d MiB are asked for and 700 are free", cfg.MemoryBytes>>20)
	}
	st := control.StateBlocked
	if opt.Paused {
		st = control.StatePaused
	}
	return f.add(cfg, st), nil
}

func (f *fakePlane) end(id control.DomID, what string) error {
	return f.do(id, what, func(d *fakeDomain) error {
		f.domains = slices.DeleteFunc(f.domains, func(x *fakeDomain) bool { return x == d })
		d.con.hangUp()
		f.event(control.EventDestroyed, d)
		return nil
	})
}

func (f *fakePlane) Destroy(_ context.Context, id control.DomID) error { return f.end(id, "destroy") }

func (f *fakePlane) Rename(_ context.Context, id control.DomID, name string) error {
	return f.do(id, "rename", func(d *fakeDomain) error { d.info.Name = name; return nil })
}

func (f *fakePlane) Pause(_ context.Context, id control.DomID) error {
	return f.do(id, "pause", func(d *fakeDomain) error { d.info.State |= control.StatePaused; return nil })
}

func (f *fakePlane) Unpause(_ context.Context, id control.DomID) error {
	return f.do(id, "unpause", func(d *fakeDomain) error {
		if d.info.State&control.StatePaused == 0 {
			return control.Errorf(control.ErrBadState, "the domain is not paused")
		}
		d.info.State = control.StateBlocked
		d.con.say("booting " + d.info.Name + "\r\n")
		return nil
	})
}

func (f *fakePlane) Shutdown(_ context.Context, id control.DomID, opt control.ShutdownOptions) error {
	if f.deaf {
		return f.note("shutdown %d", id)
	}
	if err := f.listens(id, "shutdown", opt); err != nil {
		return err
	}
	return f.end(id, fmt.Sprintf("shutdown fallback=%v", opt.Fallback))
}

// listens: the guest of the name deaf does not.
func (f *fakePlane) listens(id control.DomID, what string, opt control.ShutdownOptions) error {
	return f.do(id, what, func(d *fakeDomain) error {
		if d.info.Name == "deaf" {
			return control.Errorf(control.ErrNoResponse, "the guest does not answer, fallback %v", opt.Fallback)
		}
		return nil
	})
}

func (f *fakePlane) Reboot(_ context.Context, id control.DomID, opt control.ShutdownOptions) error {
	return f.listens(id, "reboot", opt)
}

func (f *fakePlane) Sysrq(_ context.Context, id control.DomID, l byte) error {
	return f.do(id, "sysrq "+string(l), func(*fakeDomain) error { return nil })
}

func (f *fakePlane) Trigger(_ context.Context, id control.DomID, t control.Trigger, vcpu int) error {
	return f.do(id, fmt.Sprintf("trigger %v %d", t, vcpu), func(*fakeDomain) error { return nil })
}

func (f *fakePlane) VCPUList(_ context.Context, id control.DomID) (out []control.VCPUInfo, err error) {
	err = f.do(id, "vcpu-list", func(d *fakeDomain) error { out = slices.Clone(d.vcpus); return nil })
	return out, err
}

func (f *fakePlane) VCPUPin(_ context.Context, id control.DomID, vcpu int, hard, soft control.CPUSet) error {
	return f.do(id, "vcpu-pin", func(d *fakeDomain) error {
		for i := range d.vcpus {
			if vcpu == i || vcpu == control.AllVCPUs {
				if hard != nil {
					d.vcpus[i].Hard = hard
				}
				if soft != nil {
					d.vcpus[i].Soft = soft
				}
			}
		}
		return nil
	})
}

func (f *fakePlane) SchedCredit2(_ context.Context, id control.DomID) (p control.SchedParams, err error) {
	err = f.do(id, "sched", func(d *fakeDomain) error { p = d.sched; return nil })
	return p, err
}

func (f *fakePlane) SetSchedCredit2(_ context.Context, id control.DomID, p control.SchedParams) error {
	return f.do(id, "set-sched", func(d *fakeDomain) error { d.sched = p; return p.Check() })
}

func (f *fakePlane) ConsoleAttach(_ context.Context, id control.DomID, _ control.ConsoleOptions) (con control.Console, err error) {
	err = f.do(id, "console", func(d *fakeDomain) error { con = d.con.attach(); return nil })
	return con, err
}

type fakeStream chan control.Event

func (s fakeStream) Close() error { return nil }
func (s fakeStream) Next(ctx context.Context) (control.Event, error) {
	select {
	case e := <-s:
		return e, nil
	case <-ctx.Done():
		return control.Event{}, ctx.Err()
	}
}

func (f *fakePlane) Events(context.Context) (control.EventStream, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := make(chan control.Event, 16)
	f.streams = append(f.streams, s)
	return fakeStream(s), nil
}

func (f *fakePlane) Modules(context.Context) ([]control.Module, error) {
	out := []control.Module{}
	for name, text := range f.files {
		out = append(out, control.Module{Name: name, Size: int64(len(text))})
	}
	slices.SortFunc(out, func(a, b control.Module) int { return int(a.Size - b.Size) })
	out[0].Args = "console=hvc0"
	return out, nil
}

func (f *fakePlane) ReadModule(_ context.Context, name string, p []byte, off int64) (int, error) {
	n := copy(p, f.files[name][off:])
	return n, io.EOF
}

// fakeConsole is a guest that says what it is told in upper case between
// angles, and hangs up when told "halt".
type fakeConsole struct {
	mu     sync.Mutex
	out    []byte
	gone   bool
	change *sync.Cond
}

func newFakeConsole(name string) *fakeConsole {
	c := &fakeConsole{out: []byte("history of " + name + "\r\n")}
	c.change = sync.NewCond(&c.mu)
	return c
}

func (c *fakeConsole) say(s string) {
	c.mu.Lock()
	c.out = append(c.out, s...)
	c.mu.Unlock()
	c.change.Broadcast()
}

func (c *fakeConsole) hangUp() {
	c.mu.Lock()
	c.gone = true
	c.mu.Unlock()
	c.change.Broadcast()
}

func (c *fakeConsole) attach() *fakeAttachment { return &fakeAttachment{c: c} }

type fakeAttachment struct {
	c      *fakeConsole
	at     int
	closed bool
}

func (a *fakeAttachment) Read(p []byte) (int, error) {
	a.c.mu.Lock()
	defer a.c.mu.Unlock()
	for a.at == len(a.c.out) && !a.c.gone && !a.closed {
		a.c.change.Wait()
	}
	if a.at == len(a.c.out) {
		return 0, io.EOF
	}
	n := copy(p, a.c.out[a.at:])
	a.at += n
	return n, nil
}

func (a *fakeAttachment) Write(p []byte) (int, error) {
	a.c.say(fmt.Sprintf("<%q>", p))
	if string(p) == "h" {
		a.c.hangUp()
	}
	return len(p), nil
}

func (a *fakeAttachment) Close() error {
	a.c.mu.Lock()
	a.closed = true
	a.c.mu.Unlock()
	a.c.change.Broadcast()
	return nil
}
