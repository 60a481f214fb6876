package plane

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"slices"
	"strconv"
	"testing"
	"time"

	"nidus/kernel/domain/domaintest"
	"nidus/kernel/xenabi"
	"nidus/mm"
	"nidus/rpc/control"
)

func TestResize(t *testing.T) {
	h := newHost(t)
	p, _ := h.plane()
	c := config("a")
	c.VCPUs, c.MaxVCPUs, c.MaxMemoryBytes = 2, 4, 8<<20
	e := h.create(p, c)
	guest, ctx, id := h.store(e), t.Context(), control.DomID(e.ID)
	special := e.Space.MaxPages() - c.MemoryBytes>>mm.PageShift
	if special > 64 {
		t.Errorf("a domain that is to have %d KiB may have %d pages, not those of its maxmem", c.MemoryBytes>>10, e.Space.MaxPages())
	}
	for _, s := range []struct {
		name string
		do   func() error
		want error
		node string // and what is in it afterwards
		text string
	}{
		{"less", func() error { return p.SetMemory(ctx, id, 3<<20) }, nil, "memory/target", "3072"},
		{"most", func() error { return p.SetMemory(ctx, id, 8<<20) }, nil, "memory/target", "8192"},
		{"too much", func() error { return p.SetMemory(ctx, id, 8<<20+1) }, control.ErrBadArgument, "memory/target", "8192"},
		{"none", func() error { return p.SetMemory(ctx, id, 0) }, control.ErrBadArgument, "memory/target", "8192"},
		{"max below target", func() error { return p.SetMaxMemory(ctx, id, 7<<20) }, control.ErrBadArgument, "memory/target", "8192"},
		{"max over all", func() error { return p.SetMaxMemory(ctx, id, 1<<63) }, control.ErrBadArgument, "memory/target", "8192"},
		{"one online", func() error { return p.SetVCPUs(ctx, id, 1) }, nil, "cpu/1/availability", "offline"},
		{"all online", func() error { return p.SetVCPUs(ctx, id, 4) }, nil, "cpu/3/availability", "online"},
		{"five online", func() error { return p.SetVCPUs(ctx, id, 5) }, control.ErrBadArgument, "cpu/3/availability", "online"},
		{"none online", func() error { return p.SetVCPUs(ctx, id, 0) }, control.ErrBadArgument, "cpu/0/availability", "online"},
		{"domain 0", func() error { return p.SetMemory(ctx, 0, 8<<20) }, control.ErrBadArgument, "memory/target", "8192"},
		{"nobody", func() error { return p.SetVCPUs(ctx, 99, 1) }, control.ErrNoDomain, "memory/target", "8192"},
	} {
		if err := s.do(); !errors.Is(err, s.want) || (err == nil) != (s.want == nil) {
			t.Errorf("%s: %v, want %v", s.name, err, s.want)
		}
		if got := h.read(guest, s.node); got != s.text {
			t.Errorf("%s: %s is %q, want %q", s.name, s.node, got, s.text)
		}
		target, _ := strconv.ParseUint(h.read(guest, "memory/target"), 10, 64)
		if got, want := e.Space.MaxPages(), target<<10>>mm.PageShift+special; got != want {
			t.Errorf("%s: it may have %d pages, want %d", s.name, got, want)
		}
	}
	if err := p.SetMaxMemory(ctx, id, 16<<20); err != nil || e.Space.MaxPages() != 16<<20>>mm.PageShift+special {
		t.Errorf("%v, quota %d", err, e.Space.MaxPages())
	}
	if got, _ := p.DomainConfig(ctx, id); got.VCPUs != 4 || got.MemoryBytes != 8<<20 || got.MaxMemoryBytes != 16<<20 {
		t.Errorf("a restart would take %+v", got)
	}
}

func TestXenstore(t *testing.T) {
	h := newHost(t)
	p, _ := h.plane()
	ctx := t.Context()
	watch, err := p.XenstoreWatch(ctx, "/tool")
	if err != nil {
		t.Fatal(err)
	}
	next := func(want string) {
		t.Helper()
		if got, err := watch.Next(ctx); err != nil || got != want {
			t.Errorf("watch says %q, %v; want %q", got, err, want)
		}
	}
	next("/tool")
	if err := p.XenstoreWrite(ctx, "/tool/a", []byte("v\x00")); err != nil {
		t.Fatal(err)
	}
	next("/tool/a")
	if v, err := p.XenstoreRead(ctx, "/tool/a"); err != nil || string(v) != "v\x00" {
		t.Error(v, err)
	}
	if all, err := p.XenstoreList(ctx, "/tool"); err != nil || !slices.Contains(all, "a") {
		t.Error(all, err)
	}
	if err := p.XenstoreSetPerms(ctx, "/tool/a", []string{"n0", "r5"}); err != nil {
		t.Error(err)
	}
	if all, err := p.XenstorePerms(ctx, "/tool/a"); err != nil || !slices.Equal(all, []string{"n0", "r5"}) {
		t.Error(all, err)
	}
	if err := p.XenstoreRemove(ctx, "/tool/a"); err != nil {
		t.Error(err)
	}
	for name, err := range map[string]error{
		"read":      second(p.XenstoreRead(ctx, "/tool/a")),
		"list":      second(p.XenstoreList(ctx, "/tool/a")),
		"perms":     second(p.XenstorePerms(ctx, "/tool/a")),
		"set perms": p.XenstoreSetPerms(ctx, "/tool/a", []string{"n0"}),
	} {
		if !errors.Is(err, control.ErrNoNode) {
			t.Errorf("%s of nothing: %v", name, err)
		}
	}
	for name, err := range map[string]error{
		"path":     second(p.XenstoreRead(ctx, "//")),
		"watch":    second(p.XenstoreWatch(ctx, "/a b")),
		"no perms": p.XenstoreSetPerms(ctx, "/tool", nil),
		"perms":    p.XenstoreSetPerms(ctx, "/tool", []string{"x0"}),
	} {
		if !errors.Is(err, control.ErrBadArgument) {
			t.Errorf("bad %s: %v", name, err)
		}
	}
	if err := p.XenstoreWrite(ctx, "/tool/a", make([]byte, 5000)); !errors.Is(err, control.ErrTooBig) {
		t.Error(err)
	}
	short, cancel := context.WithTimeout(ctx, time.Millisecond)
	defer cancel()
	for range 9 { // what pends comes first
		if _, err = watch.Next(short); err != nil {
			break
		}
	}
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	watch.Close()
	if _, err := watch.Next(ctx); err != io.EOF {
		t.Error(err)
	}
}

func second[T any](_ T, err error) error { return err }

func TestLogFollow(t *testing.T) {
	h := newHost(t)
	p, kill := h.plane()
	h.m.Host.Log.Print(0, "one")
	ctx, cancel := context.WithCancel(t.Context())
	for _, history := range []bool{true, false} {
		l, err := p.Log(ctx, history)
		if err != nil {
			t.Fatal(err)
		}
		if !history {
			h.m.Host.Log.Print(0, "two")
		}
		if n, err := l.Read(make([]byte, 1000)); n == 0 || err != nil {
			t.Error(n, err)
		}
		if cancel(); history {
			ctx, cancel = context.WithCancel(t.Context())
		}
		if _, err := io.ReadAll(l); err != nil {
			t.Error(err)
		}
	}
	cancel()
	l, _ := p.Log(t.Context(), false)
	kill()
	if _, err := l.Read(make([]byte, 1)); err != io.EOF {
		t.Error(err)
	}
}

// Domain 0's vcpus are the CPUs, whose times add up to its own.
func TestDomain0Times(t *testing.T) {
	h := newHost(t)
	p, _ := h.plane()
	all, err := p.VCPUList(context.Background(), 0)
	if err != nil || len(all) != 4 || all[0].Time != 1 || all[3].Time != 4000 || all[3].CPU != 3 {
		t.Errorf("%+v, %v", all, err)
	}
	if d, err := p.Domain(context.Background(), "0"); err != nil || d.CPUTime != 4321 {
		t.Errorf("%+v, %v", d, err)
	}
}

// A change of what a domain is to have is told; one that failed is not.
func TestResourceEvents(t *testing.T) {
	h := newHost(t)
	p, _ := h.plane()
	c := config("a")
	c.MaxVCPUs = 2
	e := h.create(p, c)
	id, ctx := control.DomID(e.ID), context.Background()
	s, err := p.Events(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if p.SetMemory(ctx, id, 1<<40) == nil || p.SetMaxMemory(ctx, id, 1) == nil || p.SetVCPUs(ctx, id, 3) == nil {
		t.Error("what can't be was not refused")
	}
	for kind, do := range map[control.EventKind]func() error{
		control.EventMemory:    func() error { return p.SetMemory(ctx, id, 3<<20) },
		control.EventMaxMemory: func() error { return p.SetMaxMemory(ctx, id, 5<<20) },
		control.EventVCPUs:     func() error { return p.SetVCPUs(ctx, id, 2) },
	} {
		if err := do(); err != nil {
			t.Fatal(err)
		}
		if ev, err := s.Next(ctx); err != nil || ev.Kind != kind || ev.ID != id {
			t.Errorf("%+v, %v; want kind %d", ev, err, kind)
		}
	}
}

// A restart is made from what SetConfig gave; an uploaded file is there for it, though
// its client has gone.
func TestRestartFromNextConfig(t *testing.T) {
	h := newHost(t)
	p, _ := h.plane()
	ctx := context.Background()
	c := config("a")
	c.OnReboot = control.ActionRestart
	e := h.create(p, c)
	kernel := domaintest.Kernel()
	sum := control.FileSum{Size: int64(len(kernel)), SHA256: sha256.Sum256(kernel)}
	name, err := p.Upload(ctx, "k", sum, bytes.NewReader(kernel))
	if err != nil {
		t.Fatal(err)
	}
	c.Kernel, c.MaxVCPUs, c.Name = name, 2, "ignored"
	if err := p.SetConfig(ctx, control.DomID(e.ID), c); err != nil {
		t.Fatal(err)
	}
	if err := p.Discard(ctx, name); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		e.Shutdown(xenabi.ShutdownReboot)
		<-e.Gone()
		h.await("a")
		next := h.c.Lookup("a")
		if len(next.VCPUs) != 2 || next.UUID != e.UUID || next.Config().Kernel != name {
			t.Fatalf("restarted from %+v", next.Config())
		}
		e = next
		h.m.Clock.Advance(int64(2 * fastRestart))
	}
	if err := p.SetConfig(ctx, 0, c); !errors.Is(err, control.ErrBadArgument) {
		t.Error(err)
	}
	if err := p.Destroy(ctx, control.DomID(e.ID)); err != nil {
		t.Fatal(err)
	}
	if _, err := p.FindUploaded(ctx, sum); !errors.Is(err, control.ErrNoFile) {
		t.Errorf("the file stays: %v", err)
	}
}
