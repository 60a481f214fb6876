package regress

import (
	"errors"
	"strings"
	"testing"
)

func TestParseList(t *testing.T) {
	out := "Name                                        ID   Mem VCPUs\tState\tTime(s)\n" +
		"Domain-0                                     0   512     2     r-----       3.1\n" +
		"a                                            7   256     1     -b----       0.4\n"
	ds, err := parseList(out)
	if err != nil || len(ds) != 2 || ds[1] != (domain{"a", 7, 1, 256, "-b----"}) {
		t.Errorf("parseList = %+v, %v", ds, err)
	}
	logged := "nidus# nidus# nidus# xlnidus# xl list\n" + strings.Replace(out, "3.1\n", "3.1(NID) [    6.607331] d2v0: triple fault\n\n", 1) + "(NID) [  41.448391] d7 v0 reads MSR 0x11\n"
	if ds, err := parseList(logged); err != nil || len(ds) != 2 {
		t.Errorf("parseList with lines of the log = %+v, %v", ds, err)
	}
	for _, bad := range []string{"", "Name ID\n", "a 1 2 3 ------ 0.0\n", "Domain-0 x 2 3 ------ 0.0\n"} {
		if ds, err := parseList(bad); err == nil {
			t.Errorf("parseList(%q) = %+v", bad, ds)
		}
	}
}

func TestPrompt(t *testing.T) {
	for _, c := range []struct {
		out  string
		want bool
	}{
		{"hello\r\n\rnidus# \x1b[K", true},
		{"hello\r\nnidus# ", true},
		{"\rnidus# xl li\x1b[K", false}, // a redraw
		{"xl list\r\n", false},
	} {
		if got := prompt.MatchString(c.out); got != c.want {
			t.Errorf("prompt in %q: %v", c.out, got)
		}
	}
}

func TestComparePV(t *testing.T) {
	const xen = "PV-HOSTILE a: -22\nPV-HOSTILE b: fault 14 3\nPV-HOSTILE c, d: 0\n"
	if err := comparePV(xen, "Parsing\r\nPV-HOSTILE a: -22\r\r\nPV-HOSTILE b(NID) [  119.288066] d2 says\r\n: fault 14 3\r\nPV-HOSTILE c, d: 0\r\nPV-HOSTILE more: 1\r\n", nil); err != nil {
		t.Error(err)
	}
	also := map[string]string{"b": "fault 14 1"}
	if err := comparePV(xen, "PV-HOSTILE a: -22\nPV-HOSTILE b: fault 14 1\nPV-HOSTILE c, d: 0\n", also); err != nil {
		t.Error(err)
	}
	if err := comparePV(xen, "PV-HOSTILE a: -22\nPV-HOSTILE b: fault 14 2\nPV-HOSTILE c, d: 0\n", also); err == nil {
		t.Error("an outcome that is neither Xen's nor the other one")
	}
	for bad, want := range map[string]string{
		"PV-HOSTILE a: -22\nPV-HOSTILE b: fault 14 3\n":                                 "c, d: no such line",
		"PV-HOSTILE a: 0 NOT REFUSED\nPV-HOSTILE b: fault 14 3\nPV-HOSTILE c, d: 0\n":   "a: 0, not refused",
		"PV-HOSTILE a: -22\nPV-HOSTILE b: fault 13 3\nPV-HOSTILE c, d: 0\n":             "b: fault 13 3, not fault 14 3",
		"PV-HOSTILE a: -22\nPV-HOSTILE b: fault 14 3\nPV-HOSTILE c, d: 1 NOT REFUSED\n": "c, d: 1, not 0",
	} {
		if err := comparePV(xen, bad, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("comparePV of %q: %v, want %q", bad, err, want)
		}
	}
}

func TestSelect(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range Cases() {
		if seen[c.Name] || c.Timeout == 0 || c.What == "" || c.Run == nil {
			t.Errorf("case %q is incomplete or there twice", c.Name)
		}
		seen[c.Name] = true
	}
	if cs, err := Select([]string{"pvh-smp4", "boot-bios"}); err != nil || len(cs) != 2 || cs[0].Name != "pvh-smp4" {
		t.Errorf("Select: %v, %v", cs, err)
	}
	if _, err := Select([]string{"no-such"}); err == nil || !strings.Contains(err.Error(), "no-such") {
		t.Errorf("Select of an unknown name: %v", err)
	}
	if got := oneLine(errors.New("a\n b\tc" + strings.Repeat("x", 1000))); strings.ContainsAny(got, "\n\t") || len(got) > 410 {
		t.Errorf("oneLine = %q", got)
	}
}
