package regress

import (
	"fmt"
	"regexp"
	"time"

	"nidus/images/builder"
)

func hostileCases() []Case {
	return []Case{{Name: "hostile-guest", Long: true, What: "a guest that does all the wrong it can: its neighbour and the shell go on",
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
	// What the emulator lets into a register, and VMRUN then refuses, ends it.
	{"regs", 1, true, `ended: (poweroff|crash)`},
	{"shrink", 1, true, `crashed: (?s:.*)rip `},
	{"physmap", 1, true, `triple fault|crashed: `},
	{"areas", 1, true, `ended: poweroff`},
	{"watchdog", 1, true, `ended: watchdog`},
	{"hlt", 1, false, ``},
	{"timer", 1, false, ``}, // under emulation an interrupt costs the period
	{"conflood", 1, true, `ended: poweroff`},
	{"storeflood", 1, true, `ended: poweroff`},
	{"storm", 4, true, `ended: `},
}

func hostileGuest(t *T) error {
	configs := map[string][]byte{"good.cfg": linux("good", builder.Vmlinux, 1, "tick")}
	for _, a := range attacks {
		configs[a.word+".cfg"] = config("bad", builder.Hostile, a.vcpus, 64, `extra = "`+a.word+`"`, `on_crash = "destroy"`, `on_reboot = "destroy"`, `on_poweroff = "destroy"`, `on_watchdog = "destroy"`)
	}
	h, err := t.bootGuests(Boot{CPUs: 2}, []string{builder.Vmlinux, builder.Initrd, builder.Hostile}, configs)
	if err != nil {
		return err
	}
	if _, err := h.mustDo("xl create good.cfg"); err != nil {
		return err
	}
	if err := h.ticks("good", 2, time.Minute); err != nil {
		return err
	}
	free, err := h.info("free_memory")
	if err != nil {
		return err
	}
	goroutines, err := h.goroutines()
	if err != nil {
		return err
	}
	for _, a := range attacks {
		if err := h.attacked(a, free, goroutines); err != nil {
			return fmt.Errorf("attack %s: %w", a.word, err)
		}
	}
	return h.powerOff()
}

// attackSlack is how much free memory may be missing after an attack, in MiB: Go's
// heap grows with what runs at the same time.
const attackSlack = 8

// attacked lets a guest do one attack; then its neighbour ticks on, and nothing of
// it is left.
func (h *Host) attacked(a attack, free, goroutines int) error {
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
	if err := h.freeAgain(free - attackSlack); err != nil {
		return err
	}
	if now, err := h.goroutines(); err != nil || now > goroutines+2 {
		return fmt.Errorf("%d goroutines before, %d after: %v", goroutines, now, err)
	}
	return nil
}

// watch measures how long the shell takes to answer while the domain bad runs:
// at most a second. A domain that does not end is destroyed after some seconds.
func (h *Host) watch(ends bool) error {
	limit := 60 * time.Second
	if !ends {
		limit = 5 * time.Second
	}
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		begin := time.Now()
		ds, err := h.list()
		if err != nil {
			return err
		}
		if took := time.Since(begin); took > time.Second {
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
