package regress

import (
	"fmt"
	"math/rand/v2"
	"time"

	"nidus/images/builder"
)

// wakeups types commands into the shell of an idle guest after pauses of all lengths.
// Each one wakes several vcpus, by events and timers: a wake-up that is lost shows as
// a command that ends when something else comes, seconds later or never.
func wakeups(t *T) error {
	const (
		vcpus   = 8
		typing  = 12 * time.Second // of typing
		longest = 6 * time.Second  // on a machine that others use as well
	)
	h, err := t.bootGuests(Boot{CPUs: 3}, []string{builder.Vmlinux, builder.Initrd}, map[string][]byte{"g.cfg": linux("g", builder.Vmlinux, vcpus, "shell")})
	if err != nil {
		return err
	}
	if err := h.guestShell(vcpus, 2*time.Minute); err != nil {
		return err
	}
	commands := []string{"true", "cut -d' ' -f1 /proc/uptime", "seq 30 | tr 1 2 | wc -l", "sleep 0.1", "sh -c 'cat /proc/uptime | cut -c1-4'"}
	n := 0
	for end := time.Now().Add(typing); time.Now().Before(end); n++ {
		time.Sleep(time.Duration(rand.ExpFloat64() * 150e6))
		line := commands[rand.IntN(len(commands))]
		if err := h.Send(fmt.Sprintf("%s; echo =%d=\r", line, n)); err != nil {
			return err
		}
		if _, err := h.expect(fmt.Sprintf(`\n=%d=\r?\n`, n), longest); err != nil {
			if err := h.Send("\x1d"); err != nil {
				return err
			}
			_, _ = h.xl("xl debug-keys t") // for the log
			return fmt.Errorf("command %d, %q: %w", n, line, err)
		}
		if _, err := h.expect(`guest# `, longest); err != nil {
			return err
		}
	}
	if n < 10 {
		return fmt.Errorf("only %d commands in %v", n, typing)
	}
	if err := h.leave(); err != nil {
		return err
	}
	return h.powerOff()
}
