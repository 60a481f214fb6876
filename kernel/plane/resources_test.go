package plane

import (
	"context"
	"errors"
	"io"
	"slices"
	"testing"
	"time"

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
	pages := e.Space.MaxPages()
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
	}
	if err := p.SetMaxMemory(ctx, id, 16<<20); err != nil || e.Space.MaxPages() != pages+8<<20>>mm.PageShift {
		t.Errorf("%v, quota %d after %d", err, e.Space.MaxPages(), pages)
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
