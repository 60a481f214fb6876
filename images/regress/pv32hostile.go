package regress

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	"nidus/images/builder"
)

// pv32Attacks are the words of images/guests/pv32-hostile.
var pv32Attacks = []attack{
	{"iret0", 1, true, `crashed: iret to ring 0`},
	{"iret2", 1, true, `crashed: iret to ring 2`},
	{"vm86", 1, true, `crashed: iret to virtual 8086 mode`},
	{"virt", 1, true, `crashed: |ended: poweroff`}, // the former is QEMU's
	{"fuzz", 1, true, `ended: poweroff`},
	{"push", 1, true, `crashed: the stack of the guest's kernel can't be written`},
}

// pv32Hostile lets the guest pv32-hostile try everything, beside one that ticks. What has to
// come of an attack is in the guest: no Xen of Debian's runs 32-bit PV guests to compare with.
func pv32Hostile(t *T) error {
	configs := map[string][]byte{"good.cfg": linux("good", builder.Vmlinux, 1, "tick"), "bad.cfg": pv.guest(config("bad", builder.PV32Hostile, 2, 32))}
	for _, a := range pv32Attacks {
		configs[a.word+".cfg"] = pv.guest(config("bad", builder.PV32Hostile, a.vcpus, 32, `extra = "`+a.word+`"`, `on_crash = "destroy"`))
	}
	h, err := t.bootGuests(pv.host(Boot{CPUs: 3}), []string{builder.PV32Hostile, builder.Vmlinux, builder.Initrd}, configs)
	if err != nil {
		return err
	}
	before, err := h.besideGood()
	if err != nil {
		return err
	}
	if err := h.pv32Outcomes("bad"); err != nil {
		return err
	}
	if err := h.attackedBy(pv32Attacks, before); err != nil {
		return err
	}
	return h.powerOff()
}

// unrefused is an attack that got what it should not have.
var unrefused = regexp.MustCompile(`PV-HOSTILE [^\n]* NOT REFUSED`)

// pv32Outcomes runs the guest pv32-hostile, whose configuration is name.cfg, to its end.
func (h *Host) pv32Outcomes(name string) error {
	if err := h.Send("xl create -c " + name + ".cfg\r"); err != nil {
		return err
	}
	m, err := h.expect(`PV-HOSTILE END (\d+) not refused|PV unexpected [^\r\n]*`, time.Minute)
	if err != nil {
		return err
	}
	if m.Groups[1] != "0" {
		bad := unrefused.FindAllString(logLine.ReplaceAllString(m.Before, ""), -1)
		return fmt.Errorf("%s: %s", m.Groups[0], strings.Join(bad, "; "))
	}
	if err := h.prompt(20 * time.Second); err != nil { // the console ends with its domain
		return err
	}
	return h.gone(name, 20*time.Second)
}
