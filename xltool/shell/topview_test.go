package shell

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"nidus/rpc/control"
)

func TestTopKeys(t *testing.T) {
	const def = 3 * time.Second
	for keys, want := range map[string]topView{
		"":              {delay: def},
		"v":             {delay: def, vcpus: true},
		"vV":            {delay: def},
		"sS":            {delay: def, order: 2},
		"ssss":          {delay: def},
		"d0.5\r":        {delay: time.Second / 2, typed: "0.5"},
		"D12\x7f\n":     {delay: time.Second, typed: "1"},
		"d\r":           {delay: def},
		"d0\r":          {delay: def, typed: "0"},
		"d5\x1bs":       {delay: def, typed: "5", order: 1},
		"d1q2vs":        {delay: def, typed: "12", ask: true},
		"d123456789\r":  {delay: def, typed: "12345678"},
		"d\x7f\x7f\x7f": {delay: def, ask: true},
		"xnb \x00\xff":  {delay: def},
	} {
		v := topView{delay: def}
		for i := range len(keys) {
			if v.quits(keys[i]) {
				t.Errorf("%q: %q quits", keys, keys[i])
			}
			v.key(keys[i])
		}
		if v != want {
			t.Errorf("%q: %+v, want %+v", keys, v, want)
		}
	}
	for _, k := range "qQ\x1b" {
		if v := (topView{}); !v.quits(byte(k)) {
			t.Errorf("%q does not quit", k)
		}
	}
}

func TestTopOrder(t *testing.T) {
	a := control.DomainInfo{ID: 1, Name: "c", CPUTime: 100, MemoryBytes: 1}
	b := control.DomainInfo{ID: 2, Name: "a", CPUTime: 90, MemoryBytes: 3}
	d := control.DomainInfo{ID: 3, Name: "b", CPUTime: 80, MemoryBytes: 2}
	last := map[control.DomID]control.DomainInfo{1: {CPUTime: 100}, 2: {CPUTime: 10}, 3: {CPUTime: 10}}
	for i, want := range []string{"c a b", "a b c", "a b c", "a b c"} {
		ds := []control.DomainInfo{a, b, d}
		(&topView{order: i}).sort(ds, last)
		if got := ds[0].Name + " " + ds[1].Name + " " + ds[2].Name; got != want {
			t.Errorf("by %s: %s, want %s", orders[i].name, got, want)
		}
	}
}

// TestTopTyped types into top, in the shell and in xl.
func TestTopTyped(t *testing.T) {
	in := newInput()
	in.feed([]byte("vsq"))
	for _, s := range []Session{{Stdin: in}, {Stdin: strings.NewReader("vs\x03")}} {
		raw := 0
		var out bytes.Buffer
		s.Plane, s.Stdout, s.Stderr, s.Interactive = newFake(), &out, &out, true
		s.Raw = func() (func(), error) { raw++; return func() { raw-- }, nil }
		if st := s.Exec(t.Context(), []string{"top", "-d", "3600"}); st != 0 || raw != 0 {
			t.Errorf("status %d, raw %d", st, raw)
		}
		if got := out.String(); !strings.Contains(got, "sort order: by CPU   q  quit") || !strings.Contains(got, "VCPUs(sec):   0:          0s") {
			t.Errorf("%q", got)
		}
	}
}
