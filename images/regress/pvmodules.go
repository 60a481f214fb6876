package regress

import (
	"fmt"
	"math/bits"
	"regexp"
	"time"

	"nidus/images/builder"
	"nidus/kernel/xenabi"
)

// pvModules gives guests packages of three modules, and a lone one with a command line, and
// compares what they read there.
func pvModules(t *T) error {
	files := map[string][]byte{
		"five":   pattern(5000, 3), // a page and a part
		"one":    {0xa5},
		"twelve": pattern(12288, 7), // whole pages
	}
	three := `ramdisk = [ "five first module, with words", "one", "twelve last=1" ]`
	lone := `ramdisk = [ "five alone" ]`
	type guest struct {
		kernel, ramdisk string
		flags           uint32
		want            []string
	}
	all := []string{line(files["five"], "first module, with words"), line(files["one"], ""), line(files["twelve"], "last=1")}
	guests := map[string]guest{
		"m64":   {builder.PVModules, three, xenabi.SIFMultibootMod | xenabi.SIFModStartPFN | xenabi.SIFVirtP2M, all},
		"m32":   {builder.PV32Modules, three, xenabi.SIFMultibootMod | xenabi.SIFVirtP2M, all},
		"one64": {builder.PVModules, lone, xenabi.SIFMultibootMod | xenabi.SIFModStartPFN | xenabi.SIFVirtP2M, []string{line(files["five"], "alone")}},
	}
	parts := map[string][]byte{}
	for name, data := range files {
		parts[name] = data
	}
	for name, g := range guests {
		parts[name+".cfg"] = pv.guest(config(name, g.kernel, 1, 32, g.ramdisk))
	}
	h, err := t.bootGuests(pv.host(Boot{}), []string{builder.PVModules, builder.PV32Modules}, parts)
	if err != nil {
		return err
	}
	for name, g := range guests {
		if err := h.Send("xl create -c " + name + ".cfg\r"); err != nil {
			return err
		}
		m, err := h.expect(`PV-MODULES END|PV unexpected [^\r\n]*[\r\n]`, time.Minute)
		if err != nil {
			return err
		}
		for _, want := range append([]string{fmt.Sprintf("flags %d", g.flags)}, g.want...) {
			if !contains(logLine.ReplaceAllString(m.Before, ""), `PV-MODULES `+regexp.QuoteMeta(want)+` ?\r*\n`) {
				return fmt.Errorf("%s: no %q in %q", name, want, m.Before)
			}
		}
		if err := h.prompt(20 * time.Second); err != nil { // the console ends with its domain
			return err
		}
		if err := h.gone(name, 20*time.Second); err != nil {
			return err
		}
	}
	return h.powerOff()
}

// pattern is n bytes in no simple order.
func pattern(n, step int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*step ^ i>>8)
	}
	return b
}

// line is what the guests print of a module behind their name.
func line(data []byte, cmdline string) string {
	sum := uint32(0)
	for _, b := range data {
		sum = bits.RotateLeft32(sum, 1) + uint32(b)
	}
	return fmt.Sprintf("%d %d %s", len(data), sum, cmdline)
}
