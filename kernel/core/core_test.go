package core

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"nidus/kernel/domain/domaintest"
	"nidus/kernel/xenstore"
	"nidus/mm"
	"nidus/rpc/control"
)

func newCore(t *testing.T) (*Core, *domaintest.Machine) {
	m := domaintest.New(t, 10240) // 40 MiB
	return New(m.Host, []Module{{Name: "other"}, {Name: "k", Data: domaintest.Kernel()}, {Name: "pv", Data: domaintest.KernelPV()}, {Name: "dir/k", Data: []byte("no kernel")}}, 4), m
}

func config(name string) control.DomainConfig {
	return control.DomainConfig{Type: control.PVH, Name: name, Kernel: "/boot/k", MemoryBytes: 4 << 20, VCPUs: 1, MaxVCPUs: 1}
}

// checkEmpty: nothing of any domain is left.
func checkEmpty(t *testing.T, c *Core, m *domaintest.Machine) {
	t.Helper()
	m.CheckFree(t)
	if f := &c.files; len(f.all) != 0 || f.count != 0 || f.bytes != 0 {
		t.Errorf("%d files of %d, %d bytes", len(f.all), f.count, f.bytes)
	}
	if c.VCPUs() != 0 || len(c.Domains()) != 0 || len(c.claims) != 0 || c.groups != [MaxDomains]bool{} {
		t.Errorf("%d vcpus, %d domains, claims %v", c.VCPUs(), len(c.Domains()), c.claims)
	}
	conn := m.Host.Store.Open(0)
	defer conn.Close()
	for _, dir := range []string{"/local/domain", "/vm"} {
		if l, err := conn.List(dir); len(l) > 0 || err != nil && !errors.Is(err, xenstore.ENOENT) {
			t.Errorf("%s has %v %v", dir, l, err)
		}
	}
}

// TestNestedCPUs: where some CPUs run no guests with nested paging, a set of only those is
// refused to them, by name; not to a PV guest.
func TestNestedCPUs(t *testing.T) {
	c, m := newCore(t)
	c.NestedCPUs = 0b1110
	ctx := context.Background()
	d := config("a")
	d.HardAffinity = []control.CPUList{{{First: 0, Last: 0}}}
	_, err := c.Create(ctx, d, control.CreateOptions{Paused: true})
	if !errors.Is(err, control.ErrBadArgument) || !strings.Contains(err.Error(), "run no guests of this type on this host; 1-3 do") {
		t.Errorf("cpus=0: %v", err)
	}
	checkEmpty(t, c, m)
	pv := d
	pv.Type = control.PV
	if p, err := c.params(1, 1, &pv, 64); err != nil || p.Affinity[0].Hard != 1 || p.Affinity[0].Possible != 0b1111 {
		t.Errorf("cpus=0 of a PV guest: %v, %+v", err, p.Affinity)
	}
	d.HardAffinity[0][0].Last = 1
	id, err := c.Create(ctx, d, control.CreateOptions{Paused: true})
	if err != nil {
		t.Fatalf("cpus=0-1: %v", err)
	}
	e, err := c.Domain(id)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Pin(e, 0, control.CPUSet{1}, nil); !errors.Is(err, control.ErrBadArgument) || e.VCPUs[0].Sched().Hard != 3 {
		t.Errorf("pinned to CPU 0: %v, set %#x", err, e.VCPUs[0].Sched().Hard)
	}
	if err := c.Pin(e, 0, control.CPUSet{8}, control.CPUSet{4}); err != nil || e.VCPUs[0].Sched().Hard != 8 {
		t.Errorf("pinned to CPU 3: %v", err)
	}
	if err := c.Destroy(id); err != nil {
		t.Fatal(err)
	}
	checkEmpty(t, c, m)
}

func TestRefusals(t *testing.T) {
	c, m := newCore(t)
	ctx := context.Background()
	first := config("a")
	first.UUID[0] = 7
	id, err := c.Create(ctx, first, control.CreateOptions{Paused: true})
	if err != nil {
		t.Fatal(err)
	}
	for want, change := range map[control.Code][]func(*control.DomainConfig){
		control.ErrExists: {func(d *control.DomainConfig) { d.Name = "a" }, func(d *control.DomainConfig) { d.UUID = first.UUID },
			func(d *control.DomainConfig) { d.Name = "Domain-0" }},
		control.ErrBadConfig: {func(d *control.DomainConfig) { d.MaxVCPUs = 17 }, func(d *control.DomainConfig) { d.VCPUs = 2 },
			func(d *control.DomainConfig) { d.MaxMemoryBytes = 1 << 20 }, func(d *control.DomainConfig) { d.MemoryBytes = ^uint64(0) &^ 0xfff },
			func(d *control.DomainConfig) { d.MaxEventChannels = -1 }},
		control.ErrBadArgument: {func(d *control.DomainConfig) { d.Name = "17" }, func(d *control.DomainConfig) {
			d.HardAffinity = []control.CPUList{{{First: 63, Last: 63}}}
		}},
		control.ErrNotYet: {func(d *control.DomainConfig) { d.Type = control.HVM }, func(d *control.DomainConfig) { d.Type, d.Kernel = control.PV, "pv" },
			func(d *control.DomainConfig) { d.PCIs = []string{"00:06.0"} }},
		control.ErrNoFile: {func(d *control.DomainConfig) { d.Kernel = "x" }, func(d *control.DomainConfig) { d.Ramdisk = "x" }, func(d *control.DomainConfig) { d.Kernel = "" }},
		control.ErrBadKernel: {func(d *control.DomainConfig) { d.Type = control.PV }, func(d *control.DomainConfig) { d.Kernel = "pv" },
			func(d *control.DomainConfig) { d.Kernel = "dir/k" }, func(d *control.DomainConfig) { d.MemoryBytes = 1 << 20 }},
		control.ErrNoMemory: {func(d *control.DomainConfig) { d.MemoryBytes = 1 << 40 }},
	} {
		for i, f := range change {
			d := config("b")
			f(&d)
			if _, err := c.Create(ctx, d, control.CreateOptions{}); control.CodeOf(err) != want {
				t.Errorf("%v, case %d: %v", want, i, err)
			}
		}
	}
	// None of them was seen by anyone, so none used a number up.
	next, err := c.Create(ctx, config("b"), control.CreateOptions{Paused: true})
	if err != nil || next != id+1 {
		t.Errorf("domain %d after domain %d, %v", next, id, err)
	}
	if err := c.Destroy(next); err != nil {
		t.Error(err)
	}
	if err := c.Destroy(id); err != nil {
		t.Error(err)
	}
	if err := c.Destroy(id); control.CodeOf(err) != control.ErrNoDomain {
		t.Error(err)
	}
	checkEmpty(t, c, m)
}

// Create, cancelled at each of its steps, leaves nothing.
func TestCreateCancelled(t *testing.T) {
	c, m := newCore(t)
	for at, done := 1, false; !done; at++ {
		ctx, cancel := context.WithCancel(context.Background())
		n := 0
		c.Point = func(string) {
			if n++; n == at {
				cancel()
			}
		}
		id, err := c.Create(ctx, config("a"), control.CreateOptions{})
		if done = err == nil; done {
			if at < 4 {
				t.Errorf("only %d steps", at)
			}
			err = c.Destroy(id)
			if err != nil {
				t.Fatal(err)
			}
		} else if !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		cancel()
		checkEmpty(t, c, m)
	}
}

func TestRename(t *testing.T) {
	c, m := newCore(t)
	id, err := c.Create(context.Background(), config("a"), control.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	c.Point = func(string) { // while b is being made
		c.Point = nil
		if err := c.Rename(id, "b"); control.CodeOf(err) != control.ErrExists {
			t.Errorf("renamed to that of a domain being made: %v", err)
		}
		d := config("c")
		d.UUID[0] = 9
		if _, err := c.Create(context.Background(), d, control.CreateOptions{}); control.CodeOf(err) != control.ErrExists {
			t.Errorf("the uuid of a domain being made: %v", err)
		}
	}
	b := config("b")
	b.UUID[0] = 9
	other, err := c.Create(context.Background(), b, control.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]control.Code{"b": control.ErrExists, "": control.ErrBadArgument, "a": 0, "z": 0} {
		if err := c.Rename(id, name); control.CodeOf(err) != want {
			t.Errorf("%q: %v", name, err)
		}
	}
	for _, id := range []mm.DomID{id, other} {
		if err := c.Destroy(id); err != nil {
			t.Error(err)
		}
	}
	checkEmpty(t, c, m)
}

// Many at once: what one creates another destroys as soon as it is seen.
func TestStorm(t *testing.T) {
	c, m := newCore(t)
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for range 2 {
		wg.Go(func() {
			for {
				for _, e := range c.Domains() {
					_ = c.Rename(e.ID, e.Name()+"x")
					if err := c.Destroy(e.ID); err != nil && control.CodeOf(err) != control.ErrNoDomain {
						t.Error(err)
					}
				}
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	var makers sync.WaitGroup
	for w := range 3 {
		makers.Go(func() {
			for i := range 40 {
				d := config(fmt.Sprintf("d%d-%d", w, i))
				d.UUID[0] = byte(i%3 + 1)
				_, err := c.Create(context.Background(), d, control.CreateOptions{})
				if code := control.CodeOf(err); err != nil && code != control.ErrExists && code != control.ErrNoMemory {
					t.Error(err)
				}
			}
		})
	}
	makers.Wait()
	close(stop)
	wg.Wait()
	for _, e := range c.Domains() {
		if err := c.Destroy(e.ID); err != nil {
			t.Error(err)
		}
	}
	checkEmpty(t, c, m)
}

// TestGuestTSC: what tsc_mode and nomigrate mean on a host whose counters can be
// trusted, and on one where they can't.
func TestGuestTSC(t *testing.T) {
	c, m := newCore(t)
	type seen struct {
		emulated, invariant bool
		mode                uint32 // leaf 0x40000003
		khz                 uint32
	}
	host := m.Clock.TSCKHz()
	for _, x := range []struct {
		reliable bool
		mode     control.TSCMode
		migrate  bool
		want     seen
	}{
		{true, control.TSCDefault, false, seen{false, true, 2, host}},
		{true, control.TSCDefault, true, seen{false, false, 2, host}},
		{true, control.TSCNative, false, seen{false, true, 2, host}},
		{true, control.TSCAlwaysEmulate, false, seen{true, false, 1, 1_000_000}},
		{false, control.TSCDefault, false, seen{true, false, 0, 1_000_000}},
		{false, control.TSCNative, false, seen{false, false, 2, host}},
		{false, control.TSCAlwaysEmulate, true, seen{true, false, 1, 1_000_000}},
	} {
		c.Host.TSCReliable = x.reliable
		cfg := config("a")
		cfg.TSCMode, cfg.Migrate = x.mode, x.migrate
		p, err := c.params(1, 0, &cfg, 64)
		if err != nil {
			t.Fatal(err)
		}
		l := p.Policy.Leaf(0x40000003, 0)
		got := seen{l.A&1 != 0, p.Policy.Leaf(0x80000007, 0).D>>8&1 != 0, l.B, l.C}
		if got != x.want || p.Policy.Config.TSCEmulated != got.emulated || l.A>>1&1 != 0 != x.reliable {
			t.Errorf("%+v: got %+v, leaf %#x", x, got, l)
		}
	}
	cfg := config("a")
	cfg.TSCMode = control.TSCNativeParavirt
	if _, err := c.Create(context.Background(), cfg, control.CreateOptions{}); !errors.Is(err, control.ErrBadConfig) {
		t.Error(err)
	}
	checkEmpty(t, c, m)
}
