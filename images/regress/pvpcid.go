package regress

import (
	"fmt"
	"time"

	"nidus/images/builder"
)

// pvPCID runs the guest pv-pcid in Bochs, on processors with and without what tags the TLB, with and
// without isolation.
func pvPCID(t *T) error {
	const on, off = `the TLB is tagged`, `the TLB is not tagged`
	for _, x := range []struct {
		model                string
		cpus                 int
		line, says, isolated string
	}{
		{"corei7_skylake_x", 2, "", on, "are isolated"},
		{"corei7_skylake_x", 1, "xpti=off", on, "xpti=off has switched off"},
		{"corei7_skylake_x", 1, "pcid=off", off, "are isolated"},
		{"corei7_sandy_bridge_2600k", 1, "", on, "are isolated"}, // without INVPCID, SMEP, SMAP, FSGSBASE
		{"corei7_sandy_bridge_2600k", 1, "xpti=off", on, "xpti=off has switched off"},
	} {
		if err := t.pcidIn(x.model, x.cpus, x.line, x.isolated, x.says); err != nil {
			return fmt.Errorf("%s %q: %w", x.model, x.line, err)
		}
	}
	return nil
}

// pcidIn does so on one model, where the log says so.
func (t *T) pcidIn(model string, cpus int, line string, says ...string) error {
	h, err := t.bochs(model, cpus, "xendomains="+builder.PVPCIDCfg+" "+line, builder.PVPCID, builder.PVPCIDCfg)
	if err != nil {
		return err
	}
	defer h.Close()
	defer keepLog(t)
	m, err := h.expect(`PV-PCID (PASS|FAIL[^\r\n]*)`, time.Minute)
	if err != nil {
		return err
	}
	for _, want := range says {
		if !contains(m.Before, want) {
			return fmt.Errorf("the log does not say %q: %q", want, m.Before)
		}
	}
	if m.Groups[1] != "PASS" {
		return fmt.Errorf("the guest says: %s", m.Groups[1])
	}
	return nil
}
