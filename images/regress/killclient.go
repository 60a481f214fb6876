package regress

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"time"

	"nidus/images/builder"
)

func killClientCases() []Case {
	one := func(name string, long bool, kills int, timeout time.Duration) Case {
		return Case{Name: name, Long: long, What: fmt.Sprintf("a client killed at %d random moments of create: the domain is whole, or there is nothing of it", kills),
			Needs: []string{builder.Vmlinux, builder.Initrd}, Timeout: timeout, Run: func(t *T) error { return killClient(t, kills) }}
	}
	return []Case{
		one("rpc-kill-client", true, 100, 10*time.Minute),
		one("rpc-kill-client-15", false, 15, 3*time.Minute),
	}
}

// settle is how long it may take after a kill until there is a whole domain or nothing.
const settle = 10 * time.Second

// killer kills clients in the midst of create.
type killer struct {
	*remote
	random *rand.Rand
	frames string // of guests, before (guestFrames)
	store  string // xenstore, before
	free   int    // MiB, before

	whole, nothing int           // how the kills ended
	slowest        time.Duration // from a kill to what it left
}

func killClient(t *T, kills int) error {
	r, err := t.shared(Boot{CPUs: 3}, []string{builder.Vmlinux, builder.Initrd}, map[string][]byte{
		"victim.cfg": linux("victim", builder.Vmlinux, 1, "tick")})
	if err != nil {
		return err
	}
	random, seeded, err := t.random()
	if err != nil {
		return err
	}
	k := &killer{remote: r, random: random}
	return seeded(k.run(kills))
}

func (k *killer) run(kills int) error {
	create, err := k.measure()
	if err != nil {
		return err
	}
	// Each part of the create's time gets as many, in random order. The last part is
	// after its end, because a create may take longer than those that were measured.
	for n, part := range k.random.Perm(kills) {
		after := time.Duration((float64(part) + k.random.Float64()) / float64(kills) * 1.2 * float64(create))
		if err := k.kill(after, n%10 == 0); err != nil {
			return fmt.Errorf("kill %d of %d, after %v of a create of %v: %w", n+1, kills, after, create, err)
		}
	}
	// On a machine that others slow down a create takes longer now than it was
	// measured: the moments go on until one is after its end.
	for after := create * 3 / 2; k.whole == 0 && after < 20*create; after = after * 3 / 2 {
		kills++
		if err := k.kill(after, true); err != nil {
			return fmt.Errorf("kill %d, after %v of a create of %v: %w", kills, after, create, err)
		}
	}
	fmt.Fprintf(k.t.Say, "%d clients killed in a create of %v: %d domains whole, %d not begun or undone; the slowest took %v\n",
		kills, create.Round(time.Millisecond), k.whole, k.nothing, k.slowest.Round(time.Millisecond))
	if k.whole == 0 || k.nothing == 0 {
		return fmt.Errorf("%d kills left a domain, %d none: the moments did not cover create", k.whole, k.nothing)
	}
	if err := k.allSlots(); err != nil {
		return err
	}
	if err := k.freeAgain(k.free); err != nil {
		return err
	}
	return k.powerOff()
}

// measure notes what there is before, and how long a create takes, start of the
// program to its end: the median of 5, after one that takes longer.
func (k *killer) measure() (time.Duration, error) {
	var took []time.Duration
	for i := range 6 {
		begin := time.Now()
		if _, err := k.must("create", "-q", "victim.cfg"); err != nil {
			return 0, err
		}
		if i > 0 {
			took = append(took, time.Since(begin))
		}
		if _, err := k.must("destroy", "victim"); err != nil {
			return 0, err
		}
		if err := k.gone("victim", settle); err != nil {
			return 0, err
		}
	}
	var err error
	if k.free, err = k.info("free_memory"); err != nil {
		return 0, err
	}
	if k.frames, err = k.guestFrames(); err != nil {
		return 0, err
	}
	if k.store, err = k.must("xenstore-ls"); err != nil {
		return 0, err
	}
	slices.Sort(took)
	return took[len(took)/2], nil
}

// kill kills a client that long after its start, and sees what it left. A whole domain
// has to run; thorough waits until its programs do.
func (k *killer) kill(after time.Duration, thorough bool) error {
	if there, _, err := k.victim(); err != nil || there {
		return fmt.Errorf("the domain that the client before had not made is there now (%v)", err)
	}
	cmd := k.command("create", "-q", "victim.cfg")
	if err := cmd.Start(); err != nil {
		return err
	}
	time.Sleep(after) // when it dies, not a wait
	cmd.Process.Kill()
	cmd.Wait() // its status says how far it was
	begin := time.Now()
	there, err := k.settled()
	if err != nil {
		return err
	}
	k.slowest = max(k.slowest, time.Since(begin))
	if !there {
		k.nothing++
		return nil
	}
	k.whole++
	if thorough {
		if err := k.consoleUntil("victim", "NIDUS-GUEST-TICK"); err != nil {
			return err
		}
	}
	if _, err := k.must("destroy", "victim"); err != nil {
		return err
	}
	if there, err = k.settled(); err == nil && there {
		err = errors.New("the whole domain was destroyed, and is still there")
	}
	return err
}

// settled waits until the domain is whole and runs, or there is nothing of it.
func (k *killer) settled() (there bool, err error) {
	for end := time.Now().Add(k.t.within(settle)); time.Now().Before(end); {
		there, runs, err := k.victim()
		if err != nil || runs {
			return runs, err
		}
		if there {
			continue
		}
		frames, err := k.guestFrames()
		if err != nil {
			return false, err
		}
		store, err := k.must("xenstore-ls")
		if err != nil {
			return false, err
		}
		if frames == k.frames && store == k.store {
			return false, nil
		}
	}
	out, _ := k.must("list")
	frames, _ := k.guestFrames()
	store, _ := k.must("xenstore-ls")
	return false, fmt.Errorf("after %v there is half a domain: list %q; frames of guests %q, %q before; xenstore %q, %q before",
		settle, out, frames, k.frames, store, k.store)
}

// ran matches the time that a domain which ran has used, in seconds.
var ran = regexp.MustCompile(`[1-9]`)

// victim says whether the domain is in the list, and whether it runs: it is neither
// paused nor dying, and has used time of a CPU.
func (k *killer) victim() (there, runs bool, err error) {
	out, err := k.must("list")
	if err != nil {
		return false, false, err
	}
	for line := range strings.Lines(out) {
		f := strings.Fields(line)
		if len(f) == 6 && f[0] == "victim" {
			return true, !strings.ContainsAny(f[4], "pscd") && ran.MatchString(f[5]), nil
		}
	}
	return false, false, nil
}
