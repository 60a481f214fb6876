package plane

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"nidus/kernel/core"
	"nidus/kernel/xenabi"
	"nidus/kernel/xenstore"
	"nidus/rpc/control"
)

// store is the xenstore as a domain sees it.
func (h host) store(e *core.Entry) *xenstore.Conn {
	c := h.m.Host.Store.Open(e.ID)
	h.Cleanup(c.Close)
	return c
}

func (h host) read(c *xenstore.Conn, path string) string {
	h.Helper()
	v, err := c.Read(path)
	if err != nil {
		h.Fatal(err)
	}
	return v
}

// A guest is asked by control/shutdown only if it listens there.
func TestShutdownListens(t *testing.T) {
	for _, c := range []struct {
		name             string
		poweroff, reboot string // control/feature-*
		callback         uint64
		off, again       bool // which of the two requests reaches the guest
	}{
		{"no drivers", "", "", 0, false, false},
		{"callback only", "", "", xenabi.HVMParamCallbackTypeVector<<56 | 0xf3, true, true},
		{"says so", "1", "1", 0, true, true},
		{"only off", "1", "0", 1, true, false},
		{"says no", "0", "0", xenabi.HVMParamCallbackTypeVector<<56 | 0xf3, false, false},
		{"nonsense", "yes", "11", 0, false, false},
	} {
		for _, fallback := range []bool{false, true} {
			h := newHost(t)
			p, _ := h.plane()
			e := h.create(p, config("a"))
			e.Unpause()
			guest := h.store(e)
			for what, v := range map[string]string{"poweroff": c.poweroff, "reboot": c.reboot} {
				if err := guest.Write("control/feature-"+what, v); err != nil {
					t.Fatal(err)
				}
			}
			e.SetParam(xenabi.HVMParamCallbackIRQ, c.callback)
			for _, ask := range []struct {
				what string
				do   func(context.Context, control.DomID, control.ShutdownOptions) error
				want bool
			}{{"poweroff", p.Shutdown, c.off}, {"reboot", p.Reboot, c.again}} {
				err := ask.do(context.Background(), control.DomID(e.ID), control.ShutdownOptions{Fallback: fallback})
				if !ask.want && (!errors.Is(err, control.ErrNoResponse) || !strings.Contains(err.Error(), "-F") || !strings.Contains(err.Error(), "destroy 1")) || ask.want && err != nil {
					t.Errorf("%s, %s, fallback %v: %v", c.name, ask.what, fallback, err)
				}
				if got := h.read(guest, "control/shutdown") == ask.what; got != ask.want {
					t.Errorf("%s, %s: the guest was asked: %v", c.name, ask.what, got)
				}
			}
		}
	}
}

// pv makes a PV guest, which can't run.
func (h host) pv() (*Plane, *core.Entry) {
	h.m.EnablePV(h)
	p, _ := h.plane()
	d := config("a")
	d.Type, d.Kernel = control.PV, "pv"
	return p, h.create(p, d)
}

// A PV guest has no INIT: its vcpu would wait for who takes it, for ever.
func TestPVTrigger(t *testing.T) {
	p, e := newHost(t).pv()
	for trigger, want := range map[control.Trigger]control.Code{control.TriggerNMI: 0, control.TriggerInit: control.ErrNotYet} {
		if got := control.CodeOf(p.Trigger(context.Background(), control.DomID(e.ID), trigger, 0)); got != want {
			t.Errorf("trigger %v: %v, want %v", trigger, got, want)
		}
	}
}

// A PV guest listens unless it says that it doesn't: it has no callback to set.
func TestPVListens(t *testing.T) {
	h := newHost(t)
	_, e := h.pv()
	for said, want := range map[string]bool{"": true, "1": true, "0": false} {
		if err := h.store(e).Write("control/feature-poweroff", said); err != nil {
			t.Fatal(err)
		}
		if listens(e, "poweroff") != want {
			t.Errorf("says %q: listens is %v", said, !want)
		}
	}
}

func TestShutdownState(t *testing.T) {
	h := newHost(t)
	p, _ := h.plane()
	d := config("a")
	d.OnPoweroff = control.ActionPreserve
	e := h.create(p, d)
	ask := func() control.Code {
		return control.CodeOf(p.Shutdown(context.Background(), control.DomID(e.ID), control.ShutdownOptions{}))
	}
	if got := ask(); got != control.ErrBadState {
		t.Errorf("paused: %v", got)
	}
	e.Unpause()
	e.Shutdown(xenabi.ShutdownPoweroff)
	if got := ask(); got != control.ErrBadState {
		t.Errorf("has shut down: %v", got)
	}
}

func TestSysrq(t *testing.T) {
	h := newHost(t)
	p, _ := h.plane()
	e := h.create(p, config("a"))
	guest := h.store(e)
	for l := range 256 {
		err := p.Sysrq(context.Background(), control.DomID(e.ID), byte(l))
		if l > ' ' && l < 0x7f {
			if err != nil || h.read(guest, "control/sysrq") != string([]byte{byte(l)}) {
				t.Errorf("%#x: %v, %q", l, err, h.read(guest, "control/sysrq"))
			}
		} else if !errors.Is(err, control.ErrBadArgument) {
			t.Errorf("%#x: %v", l, err)
		}
	}
}

// Each change is told once; what changes nothing isn't.
func TestEvents(t *testing.T) {
	h := newHost(t)
	p, _ := h.plane()
	ctx := context.Background()
	s, err := p.Events(ctx)
	if err != nil {
		t.Fatal(err)
	}
	e := h.create(p, config("a"))
	id := control.DomID(e.ID)
	for _, err := range []error{
		p.Pause(ctx, id), // it is paused
		p.Unpause(ctx, id), p.Unpause(ctx, id), p.Pause(ctx, id), p.Pause(ctx, id),
		p.Rename(ctx, id, "b"), p.Rename(ctx, id, "b"), p.Destroy(ctx, id),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if p.Rename(ctx, id, "c") == nil || p.Pause(ctx, id) == nil {
		t.Error("done to a domain that is gone")
	}
	want := []control.EventKind{control.EventCreated, control.EventUnpaused, control.EventPaused, control.EventRenamed, control.EventDestroyed}
	var got []control.EventKind
	for range want {
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		ev, err := s.Next(ctx)
		cancel()
		if err != nil {
			t.Fatal(got, err)
		}
		got = append(got, ev.Kind)
		if name := map[bool]string{false: "a", true: "b"}[ev.Kind == control.EventRenamed || ev.Kind == control.EventDestroyed]; ev.ID != id || ev.Name != name {
			t.Errorf("%+v", ev)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if n := len(s.(*stream).c); n != 0 {
		t.Errorf("%d more events", n)
	}
}

// Close ends a Next that waits, and those that come later, whatever is queued.
func TestStreamClose(t *testing.T) {
	h := newHost(t)
	p, _ := h.plane()
	ctx := context.Background()
	s, _ := p.Events(ctx)
	got := make(chan error)
	go func() {
		_, err := s.Next(ctx)
		got <- err
	}()
	time.Sleep(time.Millisecond) // so that it waits, mostly
	for range 2 {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	select {
	case err := <-got:
		if err != io.EOF {
			t.Error(err)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("Next waits on after Close")
	}
	s, _ = p.Events(ctx)
	h.create(p, config("a"))
	s.Close()
	if ev, err := s.Next(ctx); err != io.EOF {
		t.Error(ev, err)
	}
}

func TestConsoleClosed(t *testing.T) {
	h := newHost(t)
	p, _ := h.plane()
	e := h.create(p, config("a"))
	attach := func() control.Console {
		c, err := p.ConsoleAttach(context.Background(), control.DomID(e.ID), control.ConsoleOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	c, other := attach(), attach()
	if n, err := c.Write([]byte("x")); n != 1 || err != nil {
		t.Error(n, err)
	}
	full := make(chan error)
	go func() { // more than the guest ever takes
		_, err := c.Write(make([]byte, 1<<20))
		full <- err
	}()
	time.Sleep(time.Millisecond)
	c.Close()
	if err := <-full; err != io.ErrClosedPipe {
		t.Error(err)
	}
	for _, b := range []string{"", "x"} {
		if n, err := c.Write([]byte(b)); n != 0 || b != "" && err != io.ErrClosedPipe {
			t.Errorf("%q after Close: %d %v", b, n, err)
		}
	}
	if n, err := c.Read(make([]byte, 9)); n != 0 || err != io.EOF {
		t.Error("read after Close:", n, err)
	}
	if err := p.Destroy(context.Background(), control.DomID(e.ID)); err != nil {
		t.Fatal(err)
	}
	<-other.(*attachment).ctx.Done()
	if n, err := other.Write([]byte("x")); n != 0 || err != io.ErrClosedPipe {
		t.Error("the domain is gone:", n, err)
	}
}

// The configuration follows weight, cap and affinity, and a restart keeps them.
func TestConfigFollows(t *testing.T) {
	h := newHost(t)
	p, _ := h.plane()
	ctx := context.Background()
	d := config("a")
	d.VCPUs, d.MaxVCPUs, d.OnReboot = 2, 3, control.ActionRestart
	d.HardAffinity = []control.CPUList{{{First: 0, Last: 2}}}
	mine := slices.Clone(d.HardAffinity)
	e := h.create(p, d)
	id := control.DomID(e.ID)
	before, err := p.DomainConfig(ctx, id)
	if err != nil {
		t.Fatal(err)
	}
	all := control.CPUSet{0xf}
	for _, err := range []error{
		p.SetSchedCredit2(ctx, id, control.SchedParams{Weight: 512, CapPercent: 50}),
		p.VCPUPin(ctx, id, 2, control.CPUSet{2}, nil),
		p.VCPUPin(ctx, id, 0, all, control.CPUSet{0xb}),
		p.Rename(ctx, id, "b"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, err := range []error{
		p.VCPUPin(ctx, id, control.AllVCPUs, all, control.CPUSet{1 << 4}), p.VCPUPin(ctx, id, 1, control.CPUSet{}, nil),
		p.VCPUPin(ctx, id, 3, all, nil), p.SetSchedCredit2(ctx, id, control.SchedParams{}),
	} {
		if !errors.Is(err, control.ErrBadArgument) {
			t.Error(err)
		}
	}
	lists := func(all []control.CPUList) string {
		var s []string
		for _, l := range all {
			s = append(s, l.String())
		}
		return strings.Join(s, " ")
	}
	check := func(when string, id control.DomID) {
		t.Helper()
		c, err := p.DomainConfig(ctx, id)
		if err != nil {
			t.Fatal(err)
		}
		if c.Name != "b" || c.Sched != (control.SchedParams{Weight: 512, CapPercent: 50}) || lists(c.HardAffinity) != "all all 1" || lists(c.SoftAffinity) != "0-1,3" {
			t.Errorf("%s: %q %+v %s / %s", when, c.Name, c.Sched, lists(c.HardAffinity), lists(c.SoftAffinity))
		}
		l, err := p.VCPUList(ctx, id)
		if err != nil || l[2].Hard.String() != "1" || l[0].Soft.String() != "0-1,3" || l[1].Hard.Format(4) != "all" {
			t.Errorf("%s: %+v %v", when, l, err)
		}
	}
	check("changed", id)
	if lists(before.HardAffinity) != "0-2" || lists(mine) != lists(d.HardAffinity) {
		t.Errorf("someone else's list changed: %s, %s", lists(before.HardAffinity), lists(d.HardAffinity))
	}
	e.Shutdown(xenabi.ShutdownReboot)
	<-e.Gone()
	h.await("b")
	check("restarted", control.DomID(h.c.Lookup("b").ID))
	if c, err := p.DomainConfig(ctx, 0); err != nil || c.Name != "Domain-0" || c.VCPUs != 4 {
		t.Errorf("Domain-0: %+v %v", c, err)
	}
}

// A name stands in two places of the store.
func TestRenameStore(t *testing.T) {
	h := newHost(t)
	p, _ := h.plane()
	e := h.create(p, config("a"))
	guest := h.store(e)
	if err := p.Rename(context.Background(), control.DomID(e.ID), "b"); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"name", h.read(guest, "vm") + "/name"} {
		if got := h.read(guest, path); got != "b" {
			t.Errorf("%s: %q", path, got)
		}
	}
}
