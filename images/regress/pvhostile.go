package regress

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"nidus/images/builder"
	"nidus/images/guests"
)

// pvAttack is a line of images/guests/pv-hostile.
var pvAttack = regexp.MustCompile(`(?m)^PV-HOSTILE (.+): (-?\d+|fault \d+ \d+)( NOT REFUSED)?\r*$`)

// pvDiffers are outcomes that are not Xen's on purpose, by the attack's name.
var pvDiffers = map[string]string{
	// What the hypervisor shares with a guest is not the guest's to give back. Xen counts it
	// as given back, and keeps the dead domain for it.
	"decrease_reservation of the shared page": "0", "decrease_reservation of a frame of the grant table": "0",
	// Page tables of all levels can be written by MOV, also by who did not ask for it.
	"write an entry for a page into a table": "-1",
	// Xen takes the area's address, and then doesn't write there.
	"register_runstate in a page table": "-14",
}

// pvAttacks are the words of images/guests/pv-hostile. A guest to which a word's attack gave
// what it should not have, crashes.
var pvAttacks = []attack{
	{"race", 2, true, `ended: poweroff`},
	{"push", 1, true, `crashed: `},
	{"spin", 1, false, ``},
	{"fuzz", 1, true, `ended: poweroff`},
}

// pvHostile compares what a hostile PV guest gets with what Xen gives it, and lets it do
// what has no outcome.
func pvHostile(t *T) error {
	configs := map[string][]byte{"good.cfg": linux("good", builder.Vmlinux, 1, "tick"), "bad.cfg": pv.guest(config("bad", builder.PVHostile, 2, 32))}
	for _, a := range pvAttacks {
		configs[a.word+".cfg"] = pv.guest(config("bad", builder.PVHostile, a.vcpus, 32, `extra = "`+a.word+`"`, `on_crash = "destroy"`))
	}
	h, err := t.bootGuests(pv.host(Boot{CPUs: 3}), []string{builder.PVHostile, builder.Vmlinux, builder.Initrd}, configs)
	if err != nil {
		return err
	}
	before, err := h.besideGood()
	if err != nil {
		return err
	}
	if err := h.pvOutcomes("bad", nil); err != nil {
		return err
	}
	if err := h.attackedBy(pvAttacks, before); err != nil {
		return err
	}
	return h.powerOff()
}

// pvOutcomes runs the guest pv-hostile, whose configuration is name.cfg, to its end, and
// compares. Outcomes in also are good, too.
func (h *Host) pvOutcomes(name string, also map[string]string) error {
	if err := h.Send("xl create -c " + name + ".cfg\r"); err != nil {
		return err
	}
	m, err := h.expect(`PV-HOSTILE END \d+ not refused|PV unexpected [^\r\n]*`, 2*time.Minute)
	if err != nil {
		return err
	}
	if err := comparePV(guests.PVHostileXen, m.Before, also); err != nil {
		return err
	}
	if err := h.prompt(20 * time.Second); err != nil { // the console ends with its domain
		return err
	}
	return h.gone(name, 20*time.Second)
}

// comparePV compares what the guest printed under Xen and here, line by line: all that
// differs, and is not in also, in one error.
func comparePV(xen, here string, also map[string]string) error {
	got := map[string]string{}
	var errs []error
	for _, m := range pvAttack.FindAllStringSubmatch(logLine.ReplaceAllString(strings.ReplaceAll(here, "\r", ""), ""), -1) {
		got[m[1]] = m[2]
		if m[3] != "" {
			errs = append(errs, fmt.Errorf("%s: %s, not refused", m[1], m[2]))
		}
	}
	for _, m := range pvAttack.FindAllStringSubmatch(xen, -1) {
		want := m[2]
		if w, ok := pvDiffers[m[1]]; ok {
			want = w
		}
		switch g, ok := got[m[1]]; {
		case !ok:
			errs = append(errs, fmt.Errorf("%s: no such line", m[1]))
		case g != want && g != also[m[1]]:
			errs = append(errs, fmt.Errorf("%s: %s, not %s", m[1], g, want))
		}
	}
	return errors.Join(errs...)
}
