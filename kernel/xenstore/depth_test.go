package xenstore

import "testing"

// TestWatchDepth: a watch with a depth hears of that many levels below its path, and a
// special one with depth 1 of the domain's number; a snapshot keeps it.
func TestWatchDepth(t *testing.T) {
	s, dom0 := newHome(t, DefaultQuota, 3)
	for _, p := range []string{IntroduceDomain, ReleaseDomain} {
		if err := dom0.SetPerms(p, Perm{0, AccessNone}, Perm{3, AccessRead}); err != nil {
			t.Fatal(err)
		}
	}
	g := newGuest(t, s, 3, 0)
	for _, c := range []struct{ payload, want string }{
		{"data|w0|0|", "OK|"}, {"data|w1|1|", "OK|"}, {"data|all|", "OK|"}, {"data|huge|2147483647|", "OK|"},
		{"/local|far|3|", "OK|"}, {"@releaseDomain|rel|", "OK|"}, {"@releaseDomain|num|1|", "OK|"},
		{"@releaseDomain/5|five|", "OK|"}, {"@introduceDomain|in|1|", "OK|"},
		{"data|w0|1|", "EEXIST|"}, {"data|x|-1|", "EINVAL|"}, {"data|x|1", "EINVAL|"}, {"data|x||", "EINVAL|"}, {"data|x|1|2|", "EINVAL|"},
		{"data|x|y|", "EINVAL|"}, {"data|x|99999999999|", "EINVAL|"}, {"@releaseDomain|x|0|", "EINVAL|"}, {"@releaseDomain|x|2|", "EINVAL|"},
	} {
		if got := g.ask(0, MsgWatch, c.payload); got != c.want {
			t.Errorf("watch %s: %s, want %s", c.payload, got, c.want)
		}
	}
	g.events()
	steps := []struct {
		what func() error
		want string
	}{
		{func() error { return dom0.Write("/local/domain/3/data", "1") }, "data|w0 data|w1 data|all data|huge /local/domain/3/data|far"},
		{func() error { return dom0.Write("/local/domain/3/data/a", "1") }, "data/a|w1 data/a|all data/a|huge"},
		{func() error { return dom0.Write("/local/domain/3/data/a/b", "1") }, "data/a/b|all data/a/b|huge"},
		{func() error { return dom0.Rm("/local/domain/3/data/a") }, "data/a|w1 data/a|all data/a|huge"},
		{func() error { _, err := s.Introduce(5, g.page, nil); return err }, "@introduceDomain/5|in"},
		{func() error { s.DomainShutdown(4); return nil }, "@releaseDomain|rel @releaseDomain/4|num"},
		{func() error { s.Release(5); return nil }, "@releaseDomain|rel @releaseDomain/5|num @releaseDomain/5|five"},
	}
	for i, c := range steps {
		if err := c.what(); err != nil {
			t.Fatal(err)
		}
		if got := g.events(); got != c.want {
			t.Errorf("step %d: events %q, want %q", i, got, c.want)
		}
	}
	sn := s.Snapshot()
	for _, w := range sn.Domains[0].Watches {
		if want := map[string]int{"w0": 1, "w1": 2, "far": 4, "num": 2, "in": 2, "huge": AbsPathMax + 1}[w.Token]; w.Levels != want {
			t.Errorf("watch %s has %d levels in the snapshot, want %d", w.Token, w.Levels, want)
		}
	}
	again, err := Restore(DefaultQuota, sn)
	if err != nil {
		t.Fatal(err)
	}
	if r, err := again.Attach(3, g.page, nil); err != nil {
		t.Fatal(err)
	} else {
		g.r = r
	}
	if err := again.Open(0).Write("/local/domain/3/data/a", "1"); err != nil {
		t.Fatal(err)
	}
	if got, want := g.events(), "data/a|w1 data/a|all data/a|huge"; got != want {
		t.Errorf("restored: events %q, want %q", got, want)
	}
	sn.Domains[0].Watches[0].Levels = -1
	if _, err := Restore(DefaultQuota, sn); err == nil {
		t.Error("a watch of -1 levels was restored")
	}
}
