package regress

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	"nidus/images/builder"
)

// realMode is what a vcpu of images/guests/sipi says at port 0xe9.
var realMode = regexp.MustCompile(`SIPI real mode\r*\n`)

// sipiGuest lets a guest start its vcpus in every way that there is.
func sipiGuest(t *T) error {
	configs := map[string][]byte{"2.cfg": config("g", builder.SIPI, 2, 64), "16.cfg": config("g", builder.SIPI, 16, 64)}
	h, err := t.bootGuests(Boot{CPUs: 3}, []string{builder.SIPI}, configs)
	if err != nil {
		return err
	}
	free := 0
	for _, n := range []int{16, 2, 16} {
		if err := h.Send(fmt.Sprintf("xl create -c %d.cfg\r", n)); err != nil {
			return err
		}
		if err := h.sipi(n); err != nil {
			return fmt.Errorf("%d vcpus: %w", n, err)
		}
		if err := h.prompt(10 * time.Second); err != nil {
			return fmt.Errorf("%d vcpus, after the guest's end: %w", n, err)
		}
		if err := h.gone("g", 10*time.Second); err != nil {
			return err
		}
		if free == 0 { // the threads of 16 vcpus stay, for the next ones
			if free, err = h.info("free_memory"); err != nil {
				return err
			}
		}
	}
	if err := h.freeAgain(free); err != nil {
		return err
	}
	return h.powerOff()
}

// sipi reads what the guest says: each round with all of n vcpus but the first, or
// the one that the hypercall starts.
func (h *Host) sipi(n int) error {
	m, err := h.expect(`NIDUS-GUEST-END|SIPI FAIL [^\r\n]*`, 30*time.Second)
	if err != nil {
		return err
	}
	if strings.Contains(m.Groups[0], "FAIL") {
		return fmt.Errorf("the guest says: %s", m.Groups[0])
	}
	// The port's lines come between those of the console's ring, or amid them.
	said := realMode.ReplaceAllString(m.Before, "")
	for round, want := range map[string]int{"vcpus": n, "vcpuop": 1, "xapic": n - 1, "x2apic": n - 1, "broadcast": n - 1, "initialise": 1} {
		if !contains(said, fmt.Sprintf(`SIPI %s %d\r*\n`, round, want)) {
			return fmt.Errorf("no %q with %d vcpus in %q", round, want, said)
		}
	}
	if got := len(realMode.FindAllString(m.Before, -1)); got != 2*(n-1) {
		return fmt.Errorf("%d times real mode, want twice %d", got, n-1)
	}
	return nil
}
