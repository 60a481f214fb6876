package pvmmu

import "testing"

// TestBoundedSteps validates and unmakes a large tree.
func TestBoundedSteps(t *testing.T) {
	g := newMachine(t, 256).guest(myself, 200, nil)
	w := g.d.AddVCPU(g)
	g.tree(writable)
	for i := 0; i < 100; i++ {
		g.put(g.m[2], i, to(g.m[50+i], 0))
		for k := range 512 {
			g.put(g.m[50+i], k, to(g.m[4], entry(k&1)<<1))
		}
	}
	again := 0
	for g.v.Pin(g.m[0], 4) == ErrAgain {
		again++
		if again == 3 { // another one comes in between
			for w.Pin(g.m[10], 1) == ErrAgain {
			}
		}
	}
	if again < 3 {
		t.Errorf("only %d steps", again)
	}
	g.is(g.m[0], L4, 1, 2)
	g.is(g.m[4], Writable, 100*256, 1+100*512)
	if err := g.v.Unpin(g.m[0]); err != nil {
		t.Fatal(err)
	}
	if g.d.Pending() != ErrAgain {
		t.Error("all was unmade in two steps")
	}
	g.end()
}

// TestAbandoned begins operations that are never repeated.
func TestAbandoned(t *testing.T) {
	for name, next := range map[string]func(g *guest, w *VCPU){
		"release":    func(g *guest, w *VCPU) {},
		"another":    func(g *guest, w *VCPU) { g.pin(nil, g.m[10], 2) },
		"by another": func(g *guest, w *VCPU) { g.want(nil, func() error { return w.Pin(g.m[10], 2) }) },
		"same by both": func(g *guest, w *VCPU) {
			g.want(nil, func() error { return w.Pin(g.m[0], 4) })
			g.pin(ErrState, g.m[0], 4)
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := newMachine(t, 256).guest(myself, 200, nil)
			w := g.d.AddVCPU(g)
			g.tree(writable)
			for i := 0; i < 100; i++ {
				g.put(g.m[2], i, to(g.m[50+i], 0))
			}
			if err := g.v.Pin(g.m[0], 4); err != ErrAgain {
				t.Fatal(err)
			}
			next(g, w)
			g.end()
		})
	}
}
