package pvmmu

import "testing"

// TestLeaks: where the processor reads by entries that are not present, none of any level names
// memory, whether it is written or there when the table is made one.
func TestLeaks(t *testing.T) {
	const end = 1 << 30
	for _, x := range []struct {
		e     entry
		leaks bool
	}{
		{0, false}, {0x0ff0, false}, {noExec | dirtied, false},
		{entryOf(1), true}, {entryOf(base) | user | writable, true}, {end - 2, true}, {end, false},
		{end - 0x1000 | noExec, true},
		{^entryOf(base) &^ present, false},       // as Linux has it
		{1<<44 | end - 0x1000, true},             // which the cache takes for the same
		{1<<51 | 0x5000, true}, {1 << 51, false}, // the same of the first page's
		{1 << 43, false}, {1<<43 | 0x3000, false},
	} {
		for level := 1; level <= 4; level++ {
			for _, on := range []bool{true, false} {
				k := newMachine(t, 64)
				g := k.guest(myself, 16, func(c *Config) {
					if on {
						c.Leaks = end
					}
				})
				g.tree(writable)
				m := g.m[4-level]
				var want error
				if on && x.leaks {
					want = ErrLeak
				}
				g.put(m, 200, x.e)
				g.pin(want, g.m[0], 4)
				if want == nil {
					g.unpin(nil, g.m[0])
				}
				g.put(m, 200, 0)
				g.pin(nil, g.m[0], 4)
				g.update(want, m, 200, x.e)
				if got := g.entry(m, 200); want != nil && got != 0 || want == nil && got != x.e {
					t.Errorf("level %d: %#x became %#x", level, x.e, got)
				}
				g.update(nil, m, 200, 0)
				g.unpin(nil, g.m[0])
				g.end()
			}
		}
	}
}
