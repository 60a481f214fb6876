package gnttab

import (
	"testing"

	"nidus/kernel/xenabi"
)

// TestMaxVersion: max_grant_version=1 is a table of before version 2 was invented.
func TestMaxVersion(t *testing.T) {
	g, _ := newTable(t, func(c *Config) { c.MaxVersion = 1 })
	for _, v := range []uint32{0, 1, 2, 3} {
		if err := g.SetVersion(v); err != xenabi.ENOSYS || g.Version() != 1 {
			t.Errorf("version %d: %v, and now it is %d", v, err, g.Version())
		}
	}
	for _, most := range []int{0, 2} {
		g, _ := newTable(t, func(c *Config) { c.MaxVersion = most })
		if err := g.SetVersion(2); err != nil || g.Version() != 2 {
			t.Errorf("at most %d: %v", most, err)
		}
	}
	for _, most := range []int{-1, 3} {
		if _, err := New(Config{MaxVersion: most}); err == nil {
			t.Errorf("at most version %d is accepted", most)
		}
	}
}
