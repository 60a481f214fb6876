package regress

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"nidus/images/builder"
)

func hostileCases() []Case {
	return []Case{{Name: "hostile-guest", What: "a guest that does all the wrong it can: its neighbour and the shell go on",
		Needs: []string{builder.Vmlinux, builder.Initrd, builder.Hostile}, Timeout: 8 * time.Minute, Run: hostileGuest}}
}

// attack is a word of images/guests/hostile, and how it ends.
type attack struct {
	word  string
	vcpus int
	ends  bool   // by itself; else it is destroyed after some seconds
	log   string // what the log has to say
}

var attacks = []attack{
	{"triple", 1, true, `triple fault`},
	{"spin", 1, false, ``},
	{"spin4", 4, false, ``},
	{"hypercalls", 1, true, `ended: poweroff`},
	{"events", 1, true, `ended: poweroff`},
	{"msrs", 1, true, `ended: poweroff`},
	{"ports", 1, true, `ended: poweroff`},
	{"apic", 1, true, `ended: poweroff`},
	{"memory", 1, true, `ended: poweroff`},
	{"exec", 1, true, `crashed: the guest executes at 0xf0000000(?s:.*)rip 00000000f0000000`},
	{"walk", 1, true, `crashed: the guest's page table is at 0xf0000000(?s:.*)rip `},
	{"regs", 1, true, `ended: poweroff`},
	{"shrink", 1, true, `crashed: (?s:.*)rip `},
	{"physmap", 1, true, `triple fault|crashed: `},
	{"areas", 1, true, `ended: poweroff`},
	{"watchdog", 1, true, `ended: watchdog`},
	{"hlt", 1, false, ``},
	{"timer", 1, false, ``}, // under emulation an interrupt costs the period
	{"conflood", 1, true, `ended: poweroff`},
	{"storeflood", 1, true, `ended: poweroff`},
	{"storm", 4, true, `ended: `},
	{"breaks", 4, true, `ended: poweroff`},
	{"grants", 1, true, `ended: poweroff`},
	{"args", 1, true, `ended: poweroff`},
	{"x2apic", 1, true, `ended: poweroff`},
	{"strings", 1, true, `ended: poweroff`},
	{"odd", 1, true, `ended: poweroff`},
}

func hostileGuest(t *T) error {
	configs := map[string][]byte{"good.cfg": linux("good", builder.Vmlinux, 1, "tick")}
	for _, a := range attacks {
		configs[a.word+".cfg"] = config("bad", builder.Hostile, a.vcpus, 64, `extra = "`+a.word+`"`, `on_crash = "destroy"`, `on_reboot = "destroy"`, `on_poweroff = "destroy"`, `on_watchdog = "destroy"`)
	}
	h, err := t.bootGuests(Boot{CPUs: 3}, []string{builder.Vmlinux, builder.Initrd, builder.Hostile}, configs)
	if err != nil {
		return err
	}
	before, err := h.besideGood()
	if err != nil {
		return err
	}
	if err := h.attackedBy(attacks, before); err != nil {
		return err
	}
	return h.powerOff()
}

// attackSlack is how much free memory may be missing after an attack beyond
// heapSlack, in MiB: Go's heap grows with what runs at the same time. What was the
// guest's own is counted exactly.
const attackSlack = 8

// besideGood starts the guest good, which ticks, and counts what is in use then.
func (h *Host) besideGood() (holdings, error) {
	if _, err := h.mustDo("xl create good.cfg"); err != nil {
		return holdings{}, err
	}
	if err := h.ticks("good", 2, time.Minute); err != nil {
		return holdings{}, err
	}
	return h.holdings()
}

// attackedBy lets guests do one attack after the other.
func (h *Host) attackedBy(list []attack, before holdings) error {
	for _, a := range list {
		if err := h.attacked(a, before); err != nil {
			return fmt.Errorf("attack %s: %w", a.word, err)
		}
	}
	return nil
}

// attacked lets a guest do one attack; then its neighbour ticks on, and nothing of
// it is left.
func (h *Host) attacked(a attack, before holdings) error {
	if _, err := h.mustDo("xl dmesg -c"); err != nil {
		return err
	}
	if _, err := h.mustDo("xl create %s.cfg", a.word); err != nil {
		return err
	}
	if err := h.watch(a.ends); err != nil {
		return err
	}
	log, err := h.mustDo("xl dmesg")
	if err != nil {
		return err
	}
	if !regexp.MustCompile(a.log).MatchString(log) {
		return fmt.Errorf("the log has no %q: %q", a.log, log[max(0, len(log)-300):])
	}
	if err := h.ticks("good", 2, 20*time.Second); err != nil {
		return err
	}
	if err := h.framesAgain(before.frames); err != nil {
		return err
	}
	if err := h.freeAgain(before.freeMiB - attackSlack); err != nil {
		return err
	}
	return h.goroutinesAgain(before.goroutines)
}

// starved is how long the emulator's threads have wanted to run and could not, as
// other programs of this machine did (Linux' Documentation/scheduler/sched-stats):
// it says nothing about what they emulate. 0 where Linux doesn't tell.
func (h *Host) starved() time.Duration {
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", h.PID()))
	all := time.Duration(0)
	for _, f := range files {
		b, err := os.ReadFile(f)
		if v := strings.Fields(string(b)); err == nil && len(v) == 3 { // run, waited, times; in ns
			ns, _ := strconv.ParseInt(v[1], 10, 64)
			all += time.Duration(ns)
		}
	}
	return all
}

// watch measures how long the shell takes to answer while the domain bad runs:
// at most a second. A domain that does not end is destroyed after some seconds.
func (h *Host) watch(ends bool) error {
	limit := 60 * time.Second
	if !ends {
		limit = 5 * time.Second
	}
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		begin, waited := time.Now(), h.starved()
		ds, err := h.list()
		if err != nil {
			return err
		}
		if took := time.Since(begin) - (h.starved() - waited); took > time.Second {
			return fmt.Errorf("the shell took %v to answer", took)
		}
		if len(ds) == 2 { // Domain-0 and good
			return nil
		}
	}
	if ends {
		return fmt.Errorf("the domain did not end within %v", limit)
	}
	if _, err := h.mustDo("xl destroy bad"); err != nil {
		return err
	}
	return h.gone("bad", 10*time.Second)
}
