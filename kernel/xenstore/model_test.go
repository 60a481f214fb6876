package xenstore

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"nidus/mm"
)

// model is the store written as simply as possible: a map of paths that every
// transaction copies whole.
type model map[string]mnode

type mnode struct {
	value string
	perms []Perm
}

func (m model) copy() model {
	c := model{}
	for k, v := range m {
		c[k] = v
	}
	return c
}

func (m model) can(dom mm.DomID, p string, want Access) (exists, ok bool) {
	_, exists = m[p]
	for q := p; ; q = parent(q) {
		if n, there := m[q]; there {
			if dom == 0 || n.perms[0].Dom == dom {
				return exists, true
			}
			a := n.perms[0].Access
			for i := len(n.perms) - 1; i > 0; i-- {
				if n.perms[i].Dom == dom {
					a = n.perms[i].Access
				}
			}
			return exists, a&want == want
		}
	}
}

func (m model) apply(dom mm.DomID, o *op) string {
	want := AccessRead
	if o.kind == MsgWrite || o.kind == MsgMkdir || o.kind == MsgRm {
		want = AccessWrite
	}
	exists, may := m.can(dom, o.path, want)
	switch {
	case o.kind == MsgRm && o.path == "/":
		return "EINVAL"
	case !may:
		return "EACCES"
	case o.kind == MsgRm && !exists:
		if _, up := m[parent(o.path)]; up {
			return ""
		}
		return "ENOENT"
	case !exists && want == AccessRead:
		return "ENOENT"
	}
	switch o.kind {
	case MsgRead:
		return "=" + m[o.path].value
	case MsgGetPerms:
		return fmt.Sprint(m[o.path].perms)
	case MsgDirectory:
		var names []string
		for p := range m {
			if p != "/" && parent(p) == o.path {
				names = append(names, p[strings.LastIndexByte(p, '/')+1:])
			}
		}
		slices.Sort(names)
		return fmt.Sprint(names)
	case MsgWrite, MsgMkdir:
		if o.kind == MsgWrite && exists {
			m[o.path] = mnode{o.value, m[o.path].perms}
		}
		var missing []string
		p := o.path
		for ; m[p].perms == nil; p = parent(p) {
			missing = append(missing, p)
		}
		perms := slices.Clone(m[p].perms)
		if dom != 0 {
			perms[0].Dom = dom
		}
		for _, q := range missing {
			m[q] = mnode{"", perms}
		}
		if len(missing) > 0 && o.kind == MsgWrite {
			m[o.path] = mnode{o.value, perms}
		}
	case MsgRm:
		for p := range m {
			if p == o.path || strings.HasPrefix(p, o.path+"/") {
				delete(m, p)
			}
		}
	case MsgSetPerms:
		owner := m[o.path].perms[0].Dom
		if dom != 0 && owner != dom {
			return "EACCES"
		}
		if dom != 0 && o.perms[0].Dom != dom {
			return "EPERM"
		}
		m[o.path] = mnode{m[o.path].value, o.perms}
	}
	return ""
}

type mtx struct {
	m   model
	log []op
	res []string
}

func show(o *op, a answer) string {
	switch {
	case a.err != 0:
		return a.err.Error()
	case o.kind == MsgRead:
		return "=" + a.value
	case o.kind == MsgGetPerms:
		return fmt.Sprint(a.perms)
	case o.kind == MsgDirectory:
		return fmt.Sprint(a.names)
	}
	return ""
}

func TestModel(t *testing.T) {
	for seed := range uint64(40) {
		runModel(t, seed, 1500)
	}
}

func runModel(t *testing.T, seed uint64, steps int) {
	rnd := rand.New(rand.NewPCG(seed, 1))
	s := New(DefaultQuota)
	m := model{"/": {"", []Perm{{0, AccessNone}}}}
	type actor struct {
		c   client
		txs map[uint32]*mtx
	}
	var actors []*actor
	for dom := range mm.DomID(4) {
		actors = append(actors, &actor{newClient(s, dom), map[uint32]*mtx{}})
	}
	path := func() string {
		p := ""
		for range rnd.IntN(4) {
			p += "/" + string(rune('a'+rnd.IntN(3)))
		}
		if p == "" {
			return "/"
		}
		return p
	}
	kinds := []MsgType{MsgRead, MsgWrite, MsgWrite, MsgMkdir, MsgRm, MsgDirectory, MsgGetPerms, MsgSetPerms}
	commits, conflicts := 0, 0
	for i := range steps {
		a := actors[rnd.IntN(len(actors))]
		dom := a.c.dom
		var tx uint32
		for id := range a.txs {
			if rnd.IntN(2) == 0 {
				tx = id
			}
			break
		}
		switch rnd.IntN(12) {
		case 0:
			if id, err := a.c.begin(); err == 0 {
				a.txs[id] = &mtx{m: m.copy()}
			} else if len(a.txs) < DefaultQuota.Transactions {
				t.Fatalf("seed %d step %d: begin: %v", seed, i, err)
			}
			continue
		case 1:
			if tx == 0 {
				continue
			}
			mt := a.txs[tx]
			delete(a.txs, tx)
			want, next := Errno(0), m.copy()
			for j := range mt.log {
				if next.apply(dom, &mt.log[j]) != mt.res[j] {
					want = EAGAIN
				}
			}
			if want == 0 {
				m = next
				commits++
			} else {
				conflicts++
			}
			if got := a.c.end(tx, true); got != want {
				t.Fatalf("seed %d step %d: end: %v, want %v", seed, i, got, want)
			}
		default:
			o := op{kind: kinds[rnd.IntN(len(kinds))], path: path(), value: fmt.Sprint(rnd.IntN(3))}
			if o.kind != MsgWrite {
				o.value = ""
			}
			if o.kind == MsgRm && rnd.IntN(3) > 0 {
				o.kind = MsgRead
			}
			if o.kind == MsgSetPerms {
				o.perms = []Perm{{mm.DomID(rnd.IntN(4)), Access(rnd.IntN(4))}, {mm.DomID(rnd.IntN(4)), Access(rnd.IntN(4))}}
			}
			mm := m
			if tx != 0 {
				mm = a.txs[tx].m
			}
			want := mm.apply(dom, &o)
			if got := show(&o, a.c.do(tx, &o)); got != want {
				t.Fatalf("seed %d step %d: dom %d tx %d %+v: %q, want %q", seed, i, dom, tx, o, got, want)
			}
			if tx != 0 {
				a.txs[tx].log = append(a.txs[tx].log, o)
				a.txs[tx].res = append(a.txs[tx].res, want)
			}
		}
		owned := map[mm.DomID]int{}
		for _, n := range m {
			owned[n.perms[0].Dom]++
		}
		if fmt.Sprint(owned) != fmt.Sprint(s.owned) {
			t.Fatalf("seed %d step %d: owned %v, want %v", seed, i, s.owned, owned)
		}
	}
	for _, n := range s.Snapshot().Nodes {
		if k, ok := m[n.Path]; !ok || k.value != n.Value || !slices.Equal(k.perms, n.Perms) {
			t.Errorf("seed %d: %+v, model has %+v", seed, n, k)
		}
		delete(m, n.Path)
	}
	if len(m) > 0 {
		t.Errorf("seed %d: the store lacks %v", seed, m)
	}
	if commits == 0 || conflicts == 0 {
		t.Errorf("seed %d: %d commits, %d conflicts: nothing tested", seed, commits, conflicts)
	}
}

func TestConn(t *testing.T) {
	s := New(DefaultQuota)
	c := s.Open(0)
	if err := c.Write("/a/b", "1"); err != nil {
		t.Fatal(err)
	}
	w, err := c.Watch("/a")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"/a", "/a/b"} {
		if p, err := w.Next(t.Context()); err != nil || p != want {
			t.Errorf("event %q, %v; want %q", p, err, want)
		}
		_ = c.Write("/a/b", "2")
	}
	w.Close()
	if _, err := s.Open(3).Read("/a"); !errors.Is(err, EACCES) {
		t.Errorf("domain 3 reads: %v", err)
	}
	got := make(chan string, 8)
	ctx2, stop := context.WithCancel(t.Context())
	if err := c.WatchFunc(ctx2, "rel", func(p string) { got <- p }); err != nil {
		t.Fatal(err)
	}
	if p := <-got; p != "rel" {
		t.Errorf("first event %q", p)
	}
	_ = c.Write("/local/domain/0/rel/x", "")
	if p := <-got; p != "rel/x" {
		t.Errorf("event %q", p)
	}
	stop()
	// Two transactions that touch the same value: one goes again.
	tries := 0
	err = c.Transact(t.Context(), func(x *Tx) error {
		v, err := x.Read("/a/b")
		if tries++; tries == 1 {
			_ = c.Write("/a/b", "other")
		}
		return errors.Join(err, x.Write("/a/c", v))
	})
	if v, _ := c.Read("/a/c"); err != nil || tries != 2 || v != "other" {
		t.Errorf("%d tries, value %q, %v", tries, v, err)
	}
	// And two that do not.
	x, _ := c.Begin()
	_ = x.Write("/x", "1")
	_ = c.Write("/y", "1")
	if err := x.Commit(); err != nil {
		t.Errorf("no conflict, but %v", err)
	}
	c.Close()
}

func TestDomainPaths(t *testing.T) {
	s := New(DefaultQuota)
	c := s.Open(0)
	d := DomainPaths{Dom: 7, Name: "deb", UUID: "1234", VCPUs: 1, MaxVCPUs: 2, TargetKiB: 1024, StorePort: 1}
	if err := d.Write(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	guest, other := s.Open(7), s.Open(8)
	for p, want := range map[string]string{
		"name": "deb", "vm": "/vm/1234", "/vm/1234/uuid": "1234", "cpu/0/availability": "online",
		"cpu/1/availability": "offline", "memory/target": "1024", "domid": "7", "store/port": "1",
		"control/shutdown": "", "control/platform-feature-xs_reset_watches": "1",
	} {
		if v, err := guest.Read(p); err != nil || v != want {
			t.Errorf("%s is %q (%v), want %q", p, v, err, want)
		}
	}
	for p, may := range map[string]bool{
		"control/shutdown": true, "data/x": true, "attr/os": true, "control/feature-poweroff": true,
		"device/suspend/event-channel": true, "name": false, "memory/target": false, "device/vif/0": false,
		"/vm/1234/name": false, "console/tty": false,
	} {
		if err := guest.Write(p, "1"); (err == nil) != may {
			t.Errorf("guest writes %s: %v", p, err)
		}
	}
	if _, err := other.Read("/local/domain/7/name"); !errors.Is(err, EACCES) {
		t.Errorf("another guest reads the name: %v", err)
	}
	// What it owns or may reach elsewhere must not pass to the next domain 7.
	_ = c.Write("/shared/own/x", "1")
	_ = c.SetPerms("/shared/own", Perm{7, AccessNone})
	_ = c.SetPerms("/shared", Perm{0, AccessNone}, Perm{7, AccessBoth}, Perm{8, AccessRead})
	_ = c.SetPerms(ReleaseDomain, Perm{0, AccessNone}, Perm{7, AccessRead})
	for range 2 {
		if err := d.Remove(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	if p, err := c.Perms("/shared"); fmt.Sprint(p) != "[n0 r8]" {
		t.Errorf("permissions left: %v, %v", p, err)
	}
	if names, err := c.List("/shared"); len(names) != 0 || len(s.specials[ReleaseDomain]) != 1 {
		t.Errorf("left: %v, %v, %v", names, err, s.specials)
	}
	if n := s.Nodes(7); n != 0 {
		t.Errorf("%d nodes left", n)
	}
}

func FuzzPath(f *testing.F) {
	for _, p := range []string{"", "/", "a", "/a", "a//b", "/a/", "@releaseDomain", "/@x", "a\x00", "../x", strings.Repeat("a/", 1600)} {
		f.Add(p)
	}
	f.Fuzz(func(t *testing.T, p string) {
		abs, relative, err := resolve(3, p)
		if err != 0 {
			if c := New(DefaultQuota).Open(3); c.Write(p, "") == nil {
				t.Errorf("write to %q", p)
			}
			return
		}
		if relative != (p[0] != '/') || !validAbs(abs) || len(abs) > AbsPathMax || relative && abs != DomainPath(3)+"/"+p {
			t.Errorf("%q resolves to %q", p, abs)
		}
		s := New(DefaultQuota)
		c := s.Open(0)
		if err := c.Write(abs, "v"); err != nil {
			t.Fatal(err)
		}
		if v, err := c.Read(abs); v != "v" || err != nil {
			t.Errorf("%q: %q, %v", abs, v, err)
		}
		if _, err := Restore(DefaultQuota, s.Snapshot()); err != nil {
			t.Error(err)
		}
	})
}

func BenchmarkWrite(b *testing.B) {
	s, c := newHome(b, DefaultQuota, 3)
	for i := range 100 { // a host with a hundred guests and their watches
		d := DomainPaths{Dom: mm.DomID(10 + i), UUID: fmt.Sprint(i), VCPUs: 2}
		if err := d.Write(b.Context(), c); err != nil {
			b.Fatal(err)
		}
		if _, err := s.Open(d.Dom).Watch("data"); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		_ = c.Write("/local/domain/3/data/x", "1")
	}
}
