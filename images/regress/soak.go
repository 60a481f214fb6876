package regress

import (
	"fmt"
	"time"

	"nidus/images/builder"
)

func soakCases() []Case {
	parts := []string{builder.Vmlinux, builder.RootInitrd, builder.RootImage}
	const what = "8 guests use disks and network; one is killed and made again every 10 s; in the end no frame, grant, event channel or goroutine is missing"
	return []Case{
		{Name: "soak-30min", What: what + ": 30 minutes", Long: true, Needs: parts, Timeout: 45 * time.Minute, Run: func(t *T) error { return soak(t, 30*time.Minute) }},
		{Name: "soak-3min", What: what + ": 3 minutes", Needs: parts, Timeout: 25 * time.Minute, Run: func(t *T) error { return soak(t, 3*time.Minute) }},
	}
}

const (
	soakGuests = 8
	soakPeriod = 10 * time.Second
	soakLeast  = 4 // kills, however slow this machine is
	// soakLimit is for what takes some seconds on an idle machine.
	soakLimit = 5 * time.Minute
)

// soak keeps guests busy for a time, and kills each in turn.
func soak(t *T, length time.Duration) error {
	configs := map[string][]byte{}
	for i := range soakGuests {
		configs[soaker(i)+".cfg"] = config(soaker(i), builder.Vmlinux, 1, 96, fmt.Sprintf("ramdisk = %q", builder.RootInitrd),
			fmt.Sprintf("disk = [ 'ram:16M,raw,xvda,w', 'file:/%s,xvdb,w' ]", builder.RootImage), "vif = [ '' ]",
			fmt.Sprintf(`extra = "console=hvc0 loglevel=4 panic=1 net=10.0.0.%d/24 peer=10.0.0.%d test=soak"`, i+1, (i+1)%soakGuests+1),
			`on_crash = "destroy"`, `on_reboot = "destroy"`)
	}
	h, err := t.bootGuests(Boot{CPUs: 3, MemoryMiB: 2048}, []string{builder.Vmlinux, builder.RootInitrd, builder.RootImage}, configs)
	if err != nil {
		return err
	}
	// What the first guest leaves in caches is no loss.
	if err := h.soakBegin(0); err != nil {
		return err
	}
	if err := h.soakEnd(0); err != nil {
		return err
	}
	before, err := h.holdings()
	if err != nil {
		return err
	}
	start := time.Now()
	for i := range soakGuests {
		if err := h.soakBegin(i); err != nil {
			return err
		}
	}
	killed := 0
	for ; time.Since(start) < length || killed < soakLeast; killed++ {
		next := time.Now().Add(soakPeriod)
		if err := h.soakKill(killed % soakGuests); err != nil {
			return fmt.Errorf("kill %d: %w", killed, err)
		}
		time.Sleep(time.Until(next))
	}
	fmt.Fprintf(t.Say, "%d guests were killed and made again\n", killed)
	for i := range soakGuests {
		if err := h.soakEnd(i); err != nil {
			return err
		}
	}
	after, err := h.holdings()
	if err != nil {
		return err
	}
	if err := before.left(after); err != nil {
		return err
	}
	return h.powerOff()
}

// soaker is a guest's name.
func soaker(i int) string { return fmt.Sprintf("g%d", i) }

// soakBegin makes a guest, and waits until it has used its disks.
func (h *Host) soakBegin(i int) error {
	if _, err := h.mustDo("xl create %s.cfg", soaker(i)); err != nil {
		return err
	}
	return h.ticks(soaker(i), 1, soakLimit)
}

func (h *Host) soakEnd(i int) error {
	if _, err := h.mustDo("xl destroy %s", soaker(i)); err != nil {
		return err
	}
	return h.gone(soaker(i), 20*time.Second)
}

// soakKill ends a guest and makes it again. Then all are there, and the oldest one, which
// is the next to be killed, goes on, and has sent something.
func (h *Host) soakKill(i int) error {
	if err := h.soakEnd(i); err != nil {
		return err
	}
	if _, err := h.mustDo("xl create %s.cfg", soaker(i)); err != nil {
		return err
	}
	if ds, err := h.list(); err != nil || len(ds) != 1+soakGuests {
		return fmt.Errorf("xl list: %+v, %v", ds, err)
	}
	oldest := soaker((i + 1) % soakGuests)
	if err := h.ticks(oldest, 2, soakLimit); err != nil {
		return err
	}
	_, err := h.inGuest(oldest, "", `NIDUS-GUEST-TICK \d+ sent [1-9]`, soakLimit)
	return err
}
