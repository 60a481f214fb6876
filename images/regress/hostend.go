package regress

import (
	"bufio"
	"bytes"
	"fmt"
	"os/exec"
	"regexp"
	"strings"
	"time"

	"nidus/images/builder"
)

func autostart() Case {
	return Case{Name: "autostart", What: "domains of xendomains= and of auto/ start in order, those that can't do not stop the others",
		Needs: []string{builder.Hostile}, Timeout: time.Minute, Run: startByThemselves}
}

// startByThemselves has configurations that start and some that don't, in an order
// that is not that of their names.
func startByThemselves(t *T) error {
	b := Boot{CPUs: 2, MemoryMiB: 1024, Line: `xendomains="second bad.cfg,first none nokernel.cfg second" conswitch=ax`,
		Modules: []string{builder.Hostile}, Auto: []string{"zeta.cfg", "syntax.cfg", "alpha.cfg", "first.cfg"}}
	for name, text := range map[string][]byte{
		"bad.cfg": []byte("name = \"bad\"\ntype = \"hmv\"\n"), "syntax.cfg": []byte("name = [\n"),
		"nokernel.cfg": config("nokernel", "not-there", 1, 64),
		"second.cfg":   short("second"), "first.cfg": short("first"), "alpha.cfg": short("alpha"), "zeta.cfg": short("zeta"),
	} {
		if err := t.file(name, text); err != nil {
			return err
		}
	}
	b.Modules = append(b.Modules, "bad.cfg", "nokernel.cfg", "second.cfg")
	if err := t.part(builder.Hostile, ""); err != nil {
		return err
	}
	h, err := t.boot(b)
	if err != nil {
		return err
	}
	// The last of all in the order.
	if err := h.lists("zeta"); err != nil {
		return err
	}
	ds, err := h.list()
	if err != nil {
		return err
	}
	var names []string
	for _, d := range ds {
		names = append(names, d.name)
	}
	if got, want := strings.Join(names, " "), "Domain-0 second first alpha zeta"; got != want {
		return fmt.Errorf("domains by number: %s, want %s", got, want)
	}
	log, err := h.mustDo("xl dmesg")
	if err != nil {
		return err
	}
	for _, want := range []string{`autostart of bad\.cfg: bad\.cfg:`, `autostart of none: no boot module "none"`, `autostart of nokernel\.cfg: .*not-there`, `autostart of syntax\.cfg: syntax\.cfg:`} {
		if !regexp.MustCompile(want).MatchString(log) {
			return fmt.Errorf("the log has no line like %q", want)
		}
	}
	return h.powerOff()
}

// short is a domain that ends at once, and stays.
func short(name string) []byte {
	return config(name, builder.Hostile, 1, 64, `extra = "hlt"`, `on_poweroff = "preserve"`)
}

// lists waits until there is a domain of a name.
func (h *Host) lists(name string) error {
	for end := time.Now().Add(h.t.within(30 * time.Second)); ; time.Sleep(200 * time.Millisecond) {
		ds, err := h.list()
		if err != nil {
			return err
		}
		for _, d := range ds {
			if d.name == name {
				return nil
			}
		}
		if time.Now().After(end) {
			return fmt.Errorf("there is no domain %s: %+v", name, ds)
		}
	}
}

func cleanShutdown() Case {
	return Case{Name: "clean-shutdown", What: "xl poweroff from outside: the newest domain first, a limit for one that ignores it, a paused one, one without drivers; the clients hear of the end",
		Needs: []string{builder.Vmlinux, builder.Initrd, builder.Hostile}, Timeout: 3 * time.Minute, Run: shutsDown}
}

// stopLimit is how long each domain has in clean-shutdown.
const stopLimit = 8 * time.Second

// The steps between which the deaf domain has its time.
const (
	deafAsked = `Domain 3 (deaf) is asked to power off`
	deafEnded = `Domain 3 (deaf) is destroyed: it did not power off in time`
)

// endSteps are what xl poweroff has to print, in order. For stopLimit after its creation
// mute would be waited for, which is a step more: its driver might yet start. But deaf,
// which is newer, has had as long when it is mute's turn, however fast the machine is.
var endSteps = []string{
	`The host powers off; domains before it: 4, with 8s for each`,
	`Domain 4 (held) is unpaused and asked to power off`,
	`Domain 4 (held) has shut down (poweroff)`,
	deafAsked,
	deafEnded,
	`Domain 2 (mute) is destroyed: it has no driver that could hear`,
	`Domain 1 (good) is asked to power off`,
	`Domain 1 (good) has shut down (poweroff)`,
	`No domain is left: the host powers off now`,
}

// follower is a client that goes on until the host's end.
type follower struct {
	*exec.Cmd
	out, errs bytes.Buffer
}

func (r *remote) follow(args ...string) (*follower, error) {
	f := &follower{Cmd: r.command(args...)}
	f.Stdout, f.Stderr = &f.out, &f.errs
	if _, err := f.StdinPipe(); err != nil { // its end would be that of a console
		return nil, err
	}
	return f, f.Start()
}

func shutsDown(t *T) error {
	r, err := t.shared(Boot{CPUs: 4, MemoryMiB: 1536, Line: fmt.Sprintf("xendomains_stop_maxwait=%d", stopLimit/time.Second)},
		[]string{builder.Vmlinux, builder.Initrd, builder.Hostile}, map[string][]byte{
			"good.cfg": linux("good", builder.Vmlinux, 1, "tick"), "deaf.cfg": linux("deaf", builder.Vmlinux, 1, "deaf"),
			"held.cfg": linux("held", builder.Vmlinux, 1, "tick", `on_poweroff = "restart"`), "mute.cfg": config("mute", builder.Hostile, 1, 64, `extra = "spin"`)})
	if err != nil {
		return err
	}
	for _, g := range []string{"good", "mute", "deaf", "held"} {
		if _, err := r.must("create", "-q", g+".cfg"); err != nil {
			return err
		}
	}
	for _, g := range []string{"good", "deaf", "held"} {
		if err := r.consoleUntil(g, "NIDUS-GUEST-TICK 2"); err != nil {
			return err
		}
	}
	if _, err := r.must("pause", "held"); err != nil {
		return err
	}
	console, err := r.follow("console", "good")
	if err != nil {
		return err
	}
	watch, err := r.follow("xenstore-watch", "/none")
	if err != nil {
		return err
	}
	if err := r.endsAsItSays(); err != nil {
		return err
	}
	told := time.Now()
	if status, err := r.Wait(t.within(10 * time.Second)); err != nil || status != 0 {
		return fmt.Errorf("the emulator after the host's end: status %d, %v", status, err)
	}
	// The last domain's end and the host's are next to each other: either is a console's.
	const ended = "the host has ended"
	if err := console.Wait(); err != nil && !strings.Contains(console.errs.String(), ended) || !strings.Contains(console.out.String(), "NIDUS-GUEST-POWEROFF") {
		return fmt.Errorf("the console of good ends with %v, %q and %q, want its poweroff", err, console.errs.String(), lastOf(console.out.String()))
	}
	if watch.Wait() == nil || !strings.Contains(watch.errs.String(), ended) {
		return fmt.Errorf("a client that watches says %q", watch.errs.String())
	}
	if took := time.Since(told); took > 10*time.Second {
		return fmt.Errorf("%v passed from the host's last word until all clients had ended", took)
	}
	return nil
}

// endsAsItSays runs xl poweroff and compares what it says with endSteps.
func (r *remote) endsAsItSays() error {
	off := r.command("poweroff")
	var errs bytes.Buffer
	off.Stderr = &errs
	out, err := off.StdoutPipe()
	if err != nil {
		return err
	}
	if err := off.Start(); err != nil {
		return err
	}
	var said []string
	var asked, limit time.Duration
	begin := time.Now()
	for lines := bufio.NewScanner(out); lines.Scan(); {
		said = append(said, lines.Text())
		switch lines.Text() {
		case deafAsked:
			asked = time.Since(begin)
			if err := r.refuses(1, "shutting down: no domain can be created", "create", "-q", "good.cfg", `name="late"`); err != nil {
				return err
			}
		case deafEnded:
			limit = time.Since(begin) - asked
		}
	}
	last := time.Now()
	if err := off.Wait(); err != nil || strings.Join(said, "\n") != strings.Join(endSteps, "\n") {
		return fmt.Errorf("out/xl poweroff: %v, %q, it says %q, want %q", err, errs.String(), said, endSteps)
	}
	if took := time.Since(last); took > 2*time.Second {
		return fmt.Errorf("out/xl poweroff goes on for %v after its last word", took)
	}
	if limit < stopLimit-time.Second || limit > stopLimit+5*time.Second {
		return fmt.Errorf("the domain that ignores the request had %v, not %v", limit, stopLimit)
	}
	return nil
}

// lastOf is the end of a long text.
func lastOf(s string) string { return s[max(0, len(s)-200):] }
