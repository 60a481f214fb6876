package plane

import (
	"context"
	"strings"
	"testing"
	"time"

	"nidus/kernel/core"
	"nidus/kernel/domain"
	"nidus/kernel/domain/domaintest"
	"nidus/kernel/xenabi"
	"nidus/rpc/control"
)

type machine struct{}

func (machine) Info() control.HostInfo     { return control.HostInfo{} }
func (machine) PowerOff() error            { return nil }
func (machine) Reboot() error              { return nil }
func (machine) CPUList() []control.CPUInfo { return []control.CPUInfo{{ID: 0, Online: true}} }
func (machine) Used() uint64               { return 0 }
func (machine) BusyTimes() []time.Duration { return []time.Duration{1, 20, 300, 4000} }
func (machine) DebugKey(k byte) bool       { return k == 'h' }

// host is a core, and the control planes that a test makes over it.
type host struct {
	*testing.T
	m *domaintest.Machine
	c *core.Core
}

func newHost(t *testing.T) host {
	m := domaintest.New(t, 10240)
	h := host{t, m, core.New(m.Host, []core.Module{{Name: "k", Data: domaintest.Kernel()}, {Name: "pv", Data: domaintest.KernelPV()}}, 4)}
	t.Cleanup(func() {
		for _, e := range h.c.Domains() {
			if err := h.c.Destroy(e.ID); err != nil {
				t.Error(err)
			}
		}
		m.CheckFree(t)
	})
	return h
}

// plane makes a control plane, which dies with the test at the latest.
func (h host) plane() (*Plane, context.CancelFunc) {
	ctx, kill := context.WithCancel(context.Background())
	h.Cleanup(kill)
	return New(ctx, h.c, machine{}), kill
}

func config(name string) control.DomainConfig {
	return control.DomainConfig{Type: control.PVH, Name: name, Kernel: "k", MemoryBytes: 4 << 20, VCPUs: 1, MaxVCPUs: 1}
}

func (h host) create(p *Plane, c control.DomainConfig) *core.Entry {
	h.Helper()
	id, err := p.Create(context.Background(), c, control.CreateOptions{Paused: true})
	if err != nil {
		h.Fatal(err)
	}
	e, err := h.c.Domain(mmID(id))
	if err != nil {
		h.Fatal(err)
	}
	h.m.Clock.Advance(int64(2 * fastRestart))
	return e
}

func (h host) names() string {
	var all []string
	for _, e := range h.c.Domains() {
		all = append(all, e.Name())
	}
	return strings.Join(all, " ")
}

// await waits until there are domains of these names, by number.
func (h host) await(names string) {
	h.Helper()
	for end := time.Now().Add(5 * time.Second); h.names() != names; time.Sleep(100 * time.Microsecond) {
		if time.Now().After(end) {
			h.Fatalf("domains %q, want %q", h.names(), names)
		}
	}
}

// settle lets who would do something wrong do it.
func (h host) settle(names string) {
	h.Helper()
	time.Sleep(20 * time.Millisecond)
	h.await(names)
}

func TestActions(t *testing.T) {
	for _, c := range []struct {
		action control.Action
		want   string
	}{
		{control.ActionDestroy, ""}, {control.ActionRestart, "a"}, {control.ActionPreserve, "a"},
		{control.ActionRenameRestart, "a-01000000 a"}, {control.ActionCoredumpDestroy, ""}, {control.ActionSoftReset, "a"},
	} {
		t.Run(c.action.String(), func(t *testing.T) {
			h := newHost(t)
			p, kill := h.plane()
			d := config("a")
			d.UUID[0], d.OnReboot = 1, c.action
			old := h.create(p, d)
			old.Shutdown(xenabi.ShutdownReboot)
			if c.action != control.ActionPreserve {
				<-old.Done()
				if c.action == control.ActionRestart || c.action == control.ActionSoftReset {
					<-old.Gone()
				}
			}
			h.await(c.want)
			kill() // the next one does nothing about it again
			h.plane()
			h.settle(c.want)
		})
	}
}

// What restarts at once ends at once again: it is kept down.
func TestFastRestart(t *testing.T) {
	h := newHost(t)
	p, _ := h.plane()
	d := config("a")
	d.OnCrash = control.ActionRestart
	id, err := p.Create(context.Background(), d, control.CreateOptions{Paused: true})
	if err != nil {
		t.Fatal(err)
	}
	e, _ := h.c.Domain(mmID(id))
	e.Shutdown(xenabi.ShutdownCrash)
	<-e.Gone()
	h.settle("")
}

// A person's Destroy is no crash.
func TestDestroyIsNoCrash(t *testing.T) {
	h := newHost(t)
	p, _ := h.plane()
	for range 20 {
		d := config("a")
		d.OnCrash = control.ActionRestart
		if err := p.Destroy(context.Background(), control.DomID(h.create(p, d).ID)); err != nil {
			t.Fatal(err)
		}
	}
	h.settle("")
}

// A domain's end is noticed whenever the control plane died.
func TestEndAcrossDeath(t *testing.T) {
	d := config("a")
	d.OnReboot = control.ActionRestart
	t.Run("nobody there", func(t *testing.T) {
		h := newHost(t)
		p, kill := h.plane()
		old := h.create(p, d)
		kill()
		time.Sleep(time.Millisecond)
		old.Shutdown(xenabi.ShutdownReboot)
		h.plane()
		<-old.Gone()
		h.await("a")
	})
	t.Run("during create", func(t *testing.T) {
		h := newHost(t)
		p, kill := h.plane()
		h.c.Point = func(at string) {
			if at == "create: domain started" {
				h.c.Point = nil
				kill()
			}
		}
		next := make(chan struct{})
		go func() { // as the kernel does, as soon as the first one is dead
			<-p.ctx.Done()
			h.plane()
			close(next)
		}()
		old := h.create(p, d)
		<-next
		old.Shutdown(xenabi.ShutdownReboot)
		<-old.Gone()
		h.await("a")
	})
}

func TestEventLost(t *testing.T) {
	h := newHost(t)
	p, _ := h.plane()
	s, err := p.Events(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	e := h.create(p, config("a"))
	for range 2 * streamLen {
		p.emit(control.EventPaused, e, 0)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	for i := range streamLen + 1 {
		ev, err := s.Next(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if lost := ev.Kind == control.EventLost; lost != (i == streamLen) {
			t.Fatalf("event %d: %+v", i, ev)
		}
	}
}

func TestCapabilities(t *testing.T) {
	h := newHost(t)
	p, _ := h.plane()
	for _, x := range []struct {
		pv         *domain.PVHost
		virt, want string
	}{
		{nil, "hvm hap", "hvm-3.0-x86_32 hvm-3.0-x86_32p hvm-3.0-x86_64"},
		{new(domain.PVHost), "pv hvm hap", "xen-3.0-x86_64 xen-3.0-x86_32p hvm-3.0-x86_32 hvm-3.0-x86_32p hvm-3.0-x86_64"},
	} {
		h.m.Host.PV = x.pv
		i, err := p.HostInfo(context.Background())
		if got := strings.Join(i.XenCaps, " "); err != nil || got != x.want {
			t.Errorf("%q, %v; want %q", got, err, x.want)
		}
		if got := strings.Join(i.VirtCaps, " "); got != x.virt {
			t.Errorf("%q, want %q", got, x.virt)
		}
	}
}
