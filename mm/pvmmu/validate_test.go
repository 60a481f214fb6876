package pvmmu

import "testing"

// TestInvalidTables shows what no table may have, and that nothing is left of an attempt.
func TestInvalidTables(t *testing.T) {
	for name, bad := range map[string]func(g *guest) error{
		"own table writable":      func(g *guest) error { g.put(g.m[3], 1, to(g.m[3], writable)); return ErrProtected },
		"L2 table writable":       func(g *guest) error { g.put(g.m[3], 1, to(g.m[2], writable)); return ErrProtected },
		"foreign frame":           func(g *guest) error { g.put(g.m[3], 511, to(base+60, 0)); return ErrFrame },
		"beyond memory":           func(g *guest) error { g.put(g.m[3], 511, to(1<<39, 0)); return ErrMachine },
		"L1 write-through":        func(g *guest) error { g.put(g.m[3], 1, to(g.m[4], pwt)); return ErrEntry },
		"L1 uncached":             func(g *guest) error { g.put(g.m[3], 1, to(g.m[4], pcd)); return ErrEntry },
		"L1 PAT":                  func(g *guest) error { g.put(g.m[3], 1, to(g.m[4], large)); return ErrEntry },
		"large page":              func(g *guest) error { g.put(g.m[2], 1, to(g.m[8], large)); return ErrEntry },
		"global L3":               func(g *guest) error { g.put(g.m[1], 1, to(g.m[2], global)); return ErrEntry },
		"L2 uncached":             func(g *guest) error { g.put(g.m[2], 1, to(g.m[3], pcd)); return ErrEntry },
		"L1 as L2":                func(g *guest) error { g.put(g.m[1], 1, to(g.m[3], 0)); return ErrType },
		"L4 in L2":                func(g *guest) error { g.put(g.m[2], 1, to(g.m[0], 0)); return ErrType },
		"writable linear":         func(g *guest) error { g.put(g.m[0], 1, to(g.m[0], writable)); return ErrLinear },
		"L1 table foreign":        func(g *guest) error { g.put(g.m[2], 9, to(base+61, 0)); return ErrFrame },
		"linear to one not valid": func(g *guest) error { g.put(g.m[1], 9, to(g.m[9], 0)); g.put(g.m[9], 3, to(g.m[1], 0)); return ErrType },
	} {
		t.Run(name, func(t *testing.T) {
			k := newMachine(t, 64)
			k.AllocAtFor(base+60, other)
			k.AllocAtFor(base+61, other)
			g := k.guest(myself, 16, nil)
			g.tree(writable)
			g.pin(bad(g), g.m[0], 4)
			for i, m := range g.m {
				if g.f.Info(m).Refs != 1 || g.d.types.Info(m).Count != 0 {
					t.Errorf("frame %d is left with %d references, %+v", i, g.f.Info(m).Refs, g.d.types.Info(m))
				}
			}
			g.end()
		})
	}
}
