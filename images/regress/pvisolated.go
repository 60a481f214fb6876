package regress

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"nidus/images/builder"
)

var (
	pvIsolated    = personality{"pv", "EPYC,+svm,+npt,-smap", "pv-nosmap xpti=on"}
	pvNotIsolated = personality{"pv", "EPYC,+svm,+npt,-smap", "pv-nosmap xpti=off"}
	// A processor that Meltdown is possible on, as far as the host can tell, without SMAP.
	pvLeaks = personality{kind: "pv", cpu: "Haswell"}
)

// Where the hypervisor is in page tables (docs/address-space.md), but for what guests may see.
const (
	hiddenFrom = 0xffff8280_00000000
	hiddenTo   = 0xffff8800_00000000
)

// pvXPTI looks, by QEMU's monitor, at what is mapped while PV guests run: of the hypervisor a
// few pages if they are isolated, and all of it if not.
func pvXPTI(t *T) error {
	for _, x := range []struct {
		personality
		says     string
		isolated bool
	}{{pvNotIsolated, `not isolated`, false}, {pvIsolated, `guests are isolated`, true}, {pvLeaks, `guests are isolated`, true}} {
		h, err := t.isolationHost(x.personality, x.says)
		if err != nil {
			return err
		}
		for name, cpl := range map[string]int{"linux": 3, "count": 1} {
			if !x.isolated && name != "count" {
				continue // which shows that there is something to see
			}
			shown, err := h.shownTo(name, cpl)
			if err != nil {
				return err
			}
			if x.isolated && (shown == 0 || shown > 16<<12) || !x.isolated && shown < 512<<20 {
				return fmt.Errorf("%q: %d bytes of the hypervisor are mapped while %s runs", x.line, shown, name)
			}
		}
		if err := h.powerOff(); err != nil {
			return err
		}
	}
	return nil
}

// isolationHost boots a host with PV guests of both widths, and a monitor, whose log says so.
func (t *T) isolationHost(p personality, says string) (*Host, error) {
	h, err := t.bootGuests(p.host(Boot{CPUs: 3, Args: monitorArgs()}),
		[]string{builder.PV32SMP, builder.Vmlinux, builder.Initrd}, map[string][]byte{
			"linux.cfg": p.guest(linux("linux", builder.Vmlinux, 1, "up")),
			"count.cfg": p.guest(config("count", builder.PV32SMP, 4, 32)),
		})
	if err != nil {
		return nil, err
	}
	log, err := h.mustDo("xl dmesg")
	if err != nil {
		return nil, err
	}
	if !contains(log, says) {
		return nil, fmt.Errorf("no %q in the log: %q", says, log)
	}
	return h, nil
}

// shownTo has a guest run to its end, and returns how many bytes of the hypervisor are mapped while
// its code runs in a ring.
func (h *Host) shownTo(name string, cpl int) (bytes uint64, err error) {
	m, err := h.t.monitor()
	if err != nil {
		return 0, err
	}
	defer m.Close()
	if err := h.Send("xl create -c " + name + ".cfg\r"); err != nil {
		return 0, err
	}
	cpu := ""
	for end := time.Now().Add(time.Minute); cpu == ""; {
		if time.Now().After(end) {
			return 0, fmt.Errorf("no code of %s was seen in ring %d for a minute", name, cpl)
		}
		if cpu, err = m.stopIn(cpl); err != nil {
			return 0, err
		}
	}
	lines, err := m.ask("cpu " + cpu + "\ninfo mem")
	if err != nil {
		return 0, err
	}
	for _, l := range lines {
		r := mapped.FindStringSubmatch(l)
		if r == nil {
			continue
		}
		lo, err1 := strconv.ParseUint(r[1], 16, 64)
		hi, err2 := strconv.ParseUint(r[2], 16, 64)
		if err := errors.Join(err1, err2); err != nil {
			return 0, err
		}
		if lo >= hiddenFrom && hi <= hiddenTo {
			bytes += hi - lo
		}
	}
	if err := m.do("cont"); err != nil {
		return 0, err
	}
	if name == "linux" {
		_, err = h.guestUp(1, time.Minute)
	} else {
		_, err = h.expect(`PV32-SMP PASS`, time.Minute)
	}
	if err := errors.Join(err, h.prompt(20*time.Second)); err != nil {
		return 0, err
	}
	return bytes, h.gone(name, 20*time.Second)
}

// mapped is a line of the monitor's info mem.
var mapped = regexp.MustCompile(`^([0-9a-f]{16})-([0-9a-f]{16}) [0-9a-f]{16} `)

// stopIn stops the machine, and lets it go on unless a CPU is in ring cpl, whose number it returns.
func (m hmp) stopIn(cpl int) (cpu string, err error) {
	lines, err := m.ask("stop\ninfo registers -a")
	if err != nil {
		return "", err
	}
	for _, l := range lines {
		if n, ok := strings.CutPrefix(strings.TrimSpace(l), "CPU#"); ok {
			cpu = n
		}
		if strings.Contains(l, fmt.Sprintf(" CPL=%d ", cpl)) {
			return cpu, nil
		}
	}
	return "", m.do("cont")
}
