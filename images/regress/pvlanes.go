package regress

import (
	"fmt"
	"time"

	"nidus/images/builder"
)

// underSMAP are outcomes in images/guests/pv-hostile that are QEMU 7.2's: its IRET reads the
// stack as the supervisor does, also in ring 3.
var underSMAP = map[string]string{"IRETQ to ring 0": "fault 14 1"}

// pvLane runs guests on a host that handles the exits of PV guests as its log says: those
// without an operating system, and Debian's kernel if debian names its parts.
func pvLane(t *T, p personality, says string, debian []string) error {
	configs := map[string][]byte{
		"count.cfg": p.guest(config("count", builder.PV32SMP, 4, 32)), "bad.cfg": p.guest(config("bad", builder.PVHostile, 2, 32)),
		"bad32.cfg": p.guest(config("bad32", builder.PV32Hostile, 2, 32)),
	}
	if debian != nil {
		configs["linux.cfg"] = p.guest(linux("linux", builder.Vmlinux, 1, "up"))
	}
	h, err := t.bootGuests(p.host(Boot{CPUs: 3}), append([]string{builder.PV32SMP, builder.PVHostile, builder.PV32Hostile}, debian...), configs)
	if err != nil {
		return err
	}
	log, err := h.mustDo("xl dmesg")
	if err != nil {
		return err
	}
	if !contains(log, says) {
		return fmt.Errorf("no %q in the log: %q", says, log)
	}
	used, err := h.guestFrames()
	if err != nil {
		return err
	}
	if err := h.pv32Counts("count"); err != nil {
		return err
	}
	var also map[string]string
	if p == pvSMAP {
		also = underSMAP
	}
	if err := h.pvOutcomes("bad", also); err != nil {
		return err
	}
	if err := h.pv32Outcomes("bad32"); err != nil {
		return err
	}
	if debian != nil {
		if err := h.linuxEnds("linux"); err != nil {
			return err
		}
	}
	if err := h.framesAgain(used); err != nil {
		return err
	}
	return h.powerOff()
}

// bothKinds boots a host with PV guests of both widths, count and linux, and a PVH one, pvh.
func (t *T) bothKinds(p personality) (*Host, error) {
	return t.bootGuests(p.host(Boot{CPUs: 3}), []string{builder.PV32SMP, builder.Vmlinux, builder.Initrd}, map[string][]byte{
		"pvh.cfg": linux("pvh", builder.Vmlinux, 1, "up"), "linux.cfg": p.guest(linux("linux", builder.Vmlinux, 1, "up")),
		"count.cfg": p.guest(config("count", builder.PV32SMP, 4, 32)),
	})
}

// pvOldCPU runs guests of each kind where the host does without what processors got later.
func pvOldCPU(t *T) error {
	h, err := t.bothKinds(pvOld)
	if err != nil {
		return err
	}
	if err := h.pv32Counts("count"); err != nil {
		return err
	}
	for _, name := range []string{"linux", "pvh"} {
		if err := h.linuxEnds(name); err != nil {
			return err
		}
	}
	return h.powerOff()
}

// pvOnly runs PV guests of both widths on a host without hardware virtualization.
func pvOnly(t *T) error {
	h, err := t.bothKinds(pvAlone)
	if err != nil {
		return err
	}
	if err := h.mustFail(`needs hardware virtualization`, "xl create pvh.cfg"); err != nil {
		return err
	}
	if err := h.pv32Counts("count"); err != nil {
		return err
	}
	if err := h.linuxEnds("linux"); err != nil {
		return err
	}
	return h.powerOff()
}

// linuxEnds boots a guest that powers itself off.
func (h *Host) linuxEnds(name string) error {
	if err := h.Send("xl create -c " + name + ".cfg\r"); err != nil {
		return err
	}
	if _, err := h.guestUp(1, time.Minute); err != nil {
		return err
	}
	if err := h.prompt(20 * time.Second); err != nil {
		return err
	}
	return h.gone(name, 20*time.Second)
}
