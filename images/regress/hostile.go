package regress

import (
	"fmt"
	"regexp"
	"time"

	"nidus/images/builder"
)

func hostileCases() []Case {
	return []Case{{Name: "hostile-guest", What: "a guest that does all the wrong it can: its neighbour and the shell go on",
		Needs: []string{builder.Vmlinux, builder.Initrd, builder.Hostile}, Timeout: 8 * time.Minute, Run: hostileGuest}}
}

// attacks are the words of images/guests/hostile, and whether the guest has to
// live to its end: what ends it earlier must be its own crash.
var attacks = []struct {
	word    string
	ends    bool // it ends by itself
	crashes bool // it must crash, with a line in the log
}{
	{"triple", true, true},
	{"spin", false, false},
	{"hypercalls", true, false},
	{"events", true, false},
	{"msrs", true, false},
	{"ports", true, false},
	{"apic", true, false},
	{"memory", true, false},
}

func hostileGuest(t *T) error {
	configs := map[string][]byte{"good.cfg": linux("good", builder.Vmlinux, 1, "tick")}
	for _, a := range attacks {
		configs[a.word+".cfg"] = config("bad", builder.Hostile, 1, 64, `extra = "`+a.word+`"`, `on_crash = "destroy"`, `on_reboot = "destroy"`, `on_poweroff = "destroy"`)
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
	for _, a := range attacks {
		if _, err := h.mustDo("xl create %s.cfg", a.word); err != nil {
			return err
		}
		if err := h.watch(a.ends); err != nil {
			return fmt.Errorf("attack %s: %w", a.word, err)
		}
		log, err := h.mustDo("xl dmesg")
		if err != nil {
			return err
		}
		if a.crashes && !regexp.MustCompile(`(?i)triple fault`).MatchString(log) {
			return fmt.Errorf("attack %s: the log says nothing of a triple fault", a.word)
		}
		if err := h.ticks("good", 2, 20*time.Second); err != nil {
			return fmt.Errorf("after attack %s: %w", a.word, err)
		}
		if err := h.freeAgain(free); err != nil {
			return fmt.Errorf("after attack %s: %w", a.word, err)
		}
	}
	return h.powerOff()
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
