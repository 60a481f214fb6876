package pvmmu

import "testing"

func TestLinear(t *testing.T) {
	g := newMachine(t, 64).guest(myself, 24, nil)
	defer g.end()
	g.tree(writable)
	g.put(g.m[0], 300, to(g.m[0], 0)) // itself
	g.pin(nil, g.m[0], 4)
	g.is(g.m[0], L4, 1, 2)
	g.update(ErrLinear, g.m[0], 300, to(g.m[0], writable))
	g.update(nil, g.m[0], 300, to(g.m[0], noExec))
	g.pin(nil, g.m[8], 4)
	g.pin(nil, g.m[9], 4)
	// 0 refers to 8: 8 may refer to nobody then, and nobody to 0.
	g.update(nil, g.m[0], 301, to(g.m[8], 0))
	g.is(g.m[8], L4, 2, 3)
	g.update(nil, g.m[0], 302, to(g.m[8], 0))
	g.update(ErrLinear, g.m[0], 301, to(g.m[8], writable))
	g.update(ErrLinear, g.m[8], 301, to(g.m[0], 0))
	g.update(ErrLinear, g.m[9], 301, to(g.m[0], 0))
	g.update(ErrLinear, g.m[8], 301, to(g.m[9], 0))
	g.update(nil, g.m[8], 301, to(g.m[8], 0))
	g.update(nil, g.m[9], 301, to(g.m[8], 0))
	// It lives on as long as it is referred to.
	g.unpin(nil, g.m[8])
	g.is(g.m[8], L4, 3, 4)
	g.update(nil, g.m[0], 301, 0)
	g.update(nil, g.m[0], 302, 0)
	g.update(nil, g.m[9], 301, 0)
	g.is(g.m[8], L4, 0, 1)
	g.update(nil, g.m[9], 301, to(g.m[0], 0))
	g.unpin(nil, g.m[0])
	g.is(g.m[0], L4, 1, 2)
	g.unpin(nil, g.m[9])
	g.is(g.m[0], L4, 0, 1)
}
