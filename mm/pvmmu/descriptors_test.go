package pvmmu

import "testing"

func TestDescriptors(t *testing.T) {
	g := newMachine(t, 64).guest(myself, 16, func(c *Config) {
		c.Descriptor = func(d uint64) (uint64, bool) { return d | 0x60, d != 13 }
	})
	defer g.end()
	g.tree(0)
	g.pin(nil, g.m[0], 4)
	if err := g.d.GetDescriptors(g.m[8]); err != nil {
		t.Fatal(err)
	}
	if err := g.d.GetDescriptors(g.m[8]); err != nil {
		t.Fatal(err)
	}
	g.is(g.m[8], Descriptors, 2, 3)
	if e := g.entry(g.m[8], 7); e != 0x60 {
		t.Errorf("%#x", e)
	}
	g.update(ErrProtected, g.m[3], 1, to(g.m[8], writable))
	g.update(ErrType, g.m[8], 1, 0)
	g.pin(ErrType, g.m[8], 1)
	for _, u := range []struct {
		ptr, desc uint64
		err       error
	}{{pt(g.m[8], 3), 0x100, nil}, {pt(g.m[8], 3), 13, ErrDescriptor}, {pt(g.m[8], 3) + 4, 0, ErrArgument},
		{pt(g.m[3], 3), 0, ErrType}, {pt(g.m[9], 3), 0x200, nil}, {1 << 60, 0, ErrFrame}} {
		if err := g.d.UpdateDescriptor(u.ptr, u.desc); err != u.err {
			t.Errorf("%#x, %#x: %v, want %v", u.ptr, u.desc, err, u.err)
		}
	}
	if e := g.entry(g.m[8], 3); e != 0x160 {
		t.Errorf("%#x", e)
	}
	g.put(g.m[10], 511, 13)
	if err := g.d.GetDescriptors(g.m[10]); err != ErrDescriptor {
		t.Error(err)
	}
	if err := g.d.GetDescriptors(g.m[3]); err != ErrType {
		t.Error(err)
	}
	o := g.guest(other, 2, func(c *Config) { c.Descriptor = g.d.cfg.Descriptor })
	if err := o.d.UpdateDescriptor(pt(g.m[8], 3), 0); err != ErrFrame {
		t.Error(err)
	}
	o.end()
	g.d.PutDescriptors(g.m[8])
	g.v.FlushAll()
	before := g.all
	g.d.PutDescriptors(g.m[8])
	g.update(nil, g.m[3], 1, to(g.m[8], writable))
	if g.all != before+1 {
		t.Errorf("%d flushes before it can be written", g.all-before)
	}
}
