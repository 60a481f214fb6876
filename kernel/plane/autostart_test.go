package plane

import (
	"slices"
	"testing"

	"nidus/kernel/core"
)

func TestAutostartNames(t *testing.T) {
	modules := []core.Module{{Name: "vmlinuz"}, {Name: "z.cfg", Args: "auto"}, {Name: "one.cfg"}, {Name: "two"}, {Name: "two.cfg"}, {Name: "a.cfg", Args: "x auto"}, {Name: "no.cfg", Args: "automatic"}}
	for _, c := range []struct{ listed, want []string }{
		{nil, []string{"a.cfg", "z.cfg"}},
		{[]string{"two", "one"}, []string{"two", "one.cfg", "a.cfg", "z.cfg"}},
		{[]string{"z", "one.cfg", "one"}, []string{"z.cfg", "one.cfg", "a.cfg"}},
		{[]string{"/data/domains/one", "/x/two", "missing"}, []string{"one.cfg", "/x/two", "missing", "a.cfg", "z.cfg"}},
	} {
		if got := AutostartNames(c.listed, modules); !slices.Equal(got, c.want) {
			t.Errorf("%v: %v, want %v", c.listed, got, c.want)
		}
	}
	if got := AutostartNames(nil, nil); len(got) != 0 {
		t.Errorf("without anything: %v", got)
	}
}
