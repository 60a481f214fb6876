package regress

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"nidus/images/builder"
	"nidus/rpc/ring"
)

func xlOverIvshmem() Case {
	return Case{Name: "xl-over-ivshmem", What: "xl of Linux drives the image through QEMU's shared memory, uploads kernel and ramdisk; killed clients leave nothing, a new control plane takes the next",
		Needs: []string{builder.Vmlinux, builder.Initrd}, Timeout: 4 * time.Minute, Run: xlFromOutside}
}

// remote is the Linux program xl, and a host that it reaches.
type remote struct {
	*Host
	file string // shared memory
}

// command is xl with arguments, not yet started.
func (r *remote) command(args ...string) *exec.Cmd {
	cmd := exec.CommandContext(r.t.ctx, r.t.Out("xl"), args...)
	cmd.Env = append(os.Environ(), "NIDUS_HOST=shm:"+r.file)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// run runs xl and returns what it printed, and its status.
func (r *remote) run(args ...string) (out, errs string, status int, err error) {
	cmd := r.command(args...)
	var o, e bytes.Buffer
	cmd.Stdout, cmd.Stderr = &o, &e
	err = cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Exited() {
		status, err = exit.ExitCode(), nil
	}
	return o.String(), e.String(), status, err
}

// must runs xl, which has to succeed.
func (r *remote) must(args ...string) (string, error) {
	out, errs, status, err := r.run(args...)
	if err == nil && status != 0 {
		err = fmt.Errorf("exit status %d, %s", status, errs)
	}
	if err != nil {
		return "", fmt.Errorf("out/xl %s: %w", strings.Join(args, " "), err)
	}
	return out, nil
}

// refuses runs xl, which has to fail with one line that matches.
func (r *remote) refuses(status int, re string, args ...string) error {
	_, errs, got, err := r.run(args...)
	if err == nil && (got != status || !regexp.MustCompile(`^xl[^\n]*(`+re+`)[^\n]*\n$`).MatchString(errs)) {
		err = fmt.Errorf("exit status %d and %q, want %d and a line like %q", got, errs, status, re)
	}
	if err != nil {
		return fmt.Errorf("out/xl %s: %w", strings.Join(args, " "), err)
	}
	return nil
}

// shared boots a host with guests, and memory that it shares.
func (t *T) shared(b Boot, parts []string, configs map[string][]byte) (*remote, error) {
	if err := t.XL(); err != nil {
		return nil, err
	}
	r := &remote{file: filepath.Join(t.dir, "shared")}
	if err := errors.Join(os.WriteFile(r.file, nil, 0o600), os.Truncate(r.file, ShareSize)); err != nil {
		return nil, err
	}
	b.Args = append(b.Args, ShareArgs("shared")...)
	var err error
	r.Host, err = t.bootGuests(b, parts, configs)
	return r, err
}

func xlFromOutside(t *T) error {
	if err := errors.Join(t.file("authorized", []byte(authorizedOne)), t.file("host.key", []byte("secret"))); err != nil {
		return err
	}
	r, err := t.shared(Boot{CPUs: 3, Modules: []string{certsModule, certsKeyModule}}, []string{builder.Vmlinux, builder.Initrd}, map[string][]byte{
		"good.cfg": linux("good", builder.Vmlinux, 1, "tick"), "other.cfg": linux("other", builder.Vmlinux, 1, "tick")})
	if err != nil {
		return err
	}
	for _, step := range []func() error{r.drives, r.errors, r.clients, r.uploads, r.killClients, r.newControlPlane, r.clientsStay} {
		if err := step(); err != nil {
			return err
		}
	}
	return r.powerOff()
}

// drives takes a domain through its life.
func (r *remote) drives() error {
	if err := r.sameList(); err != nil {
		return err
	}
	out, err := r.must("info")
	if err != nil {
		return err
	}
	if !regexp.MustCompile(`(?m)^nr_cpus\s*: 3$`).MatchString(out) {
		return fmt.Errorf("out/xl info printed %q, without the 3 CPUs", out)
	}
	// A file here, whose kernel is a module of the host.
	if _, err := r.must("create", filepath.Join(r.t.dir, "good.cfg")); err != nil {
		return err
	}
	if err := r.consoleUntil("good", "NIDUS-GUEST-TICK 2"); err != nil {
		return err
	}
	for _, c := range []struct{ do, state string }{{"pause", `^--p---$`}, {"unpause", `^[rb-]-----$|^-b----$`}} {
		if _, err := r.must(c.do, "good"); err != nil {
			return err
		}
		out, err := r.must("list", "good")
		if err != nil {
			return err
		}
		if f := strings.Fields(out); len(f) < 2 || !regexp.MustCompile(c.state).MatchString(f[len(f)-2]) {
			return fmt.Errorf("out/xl list after %s: %q, want the state %s", c.do, out, c.state)
		}
	}
	if err := r.sameList(); err != nil {
		return err
	}
	if out, err = r.must("list", "--json", "good"); err == nil && !strings.Contains(out, `"name": "good"`) {
		err = fmt.Errorf("out/xl list --json printed %q", out)
	}
	return err
}

// shellList is what the shell's xl list prints. Log lines, and the prompts that follow
// them, may come before.
var shellList = regexp.MustCompile(`(?s)(Name  [^\n]*Time\(s\)\r?\n.*?)\n\r?nidus# `)

// sameList compares the list with the shell's, but for states, times, and the memory of
// domain 0, which is the heap's at the moment.
func (r *remote) sameList() error {
	here, err := r.must("list")
	if err != nil {
		return err
	}
	if err := r.Send("xl list\r"); err != nil {
		return err
	}
	m, err := r.Expect(shellList, r.t.within(20*time.Second))
	if err != nil {
		return err
	}
	there := strings.ReplaceAll(m.Groups[1], "\r", "")
	ours, ourErr := parseList(here)
	theirs, theirErr := parseList(there)
	lasting := func(ds []domain) []domain {
		for i := range ds {
			if ds[i].state = ""; ds[i].id == 0 {
				ds[i].memMiB = 0
			}
		}
		return ds
	}
	header, _, _ := strings.Cut(there, "\n")
	if err := errors.Join(ourErr, theirErr); err != nil || !strings.HasPrefix(here, header+"\n") || !slices.Equal(lasting(ours), lasting(theirs)) || strings.Count(here, "\n") != len(ours)+1 {
		return fmt.Errorf("out/xl list printed %q, the shell's %q: %v", here, there, err)
	}
	return nil
}

// free is the host's free memory in MiB.
func (r *remote) free() (int, error) {
	out, err := r.must("info")
	if err != nil {
		return 0, err
	}
	m := regexp.MustCompile(`(?m)^free_memory\s*: (\d+)$`).FindStringSubmatch(out)
	if m == nil {
		return 0, fmt.Errorf("out/xl info printed %q, without free_memory", out)
	}
	return strconv.Atoi(m[1])
}

// consoleUntil attaches to a console, waits for a text and leaves by ^].
func (r *remote) consoleUntil(name, text string) error {
	cmd := r.command("console", name)
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	var seen []string
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if seen = append(seen, lines.Text()); strings.Contains(lines.Text(), text) {
			_, err = io.WriteString(in, "\x1d")
			break
		}
	}
	io.Copy(io.Discard, out)
	if err = errors.Join(err, cmd.Wait()); err != nil || len(seen) == 0 || !strings.Contains(seen[len(seen)-1], text) {
		return fmt.Errorf("out/xl console %s: waiting for %q: %v, %q", name, text, err, seen)
	}
	return nil
}

// errors asks for what can't be.
func (r *remote) errors() error {
	return errors.Join(
		r.refuses(1, `no domain "nobody"; "list" shows`, "pause", "nobody"),
		r.refuses(2, `usage: xl pause DOM`, "pause"),
		r.refuses(1, `exists|taken|good`, "create", "-q", "good.cfg"),
		r.refuses(1, `vmlinuz?.*is a file here only`, "create", "-q", "other.cfg", "kernel='"+r.t.Out("guest", builder.Vmlinux)+"x'", "ramdisk='"+r.t.Out("guest", builder.Initrd)+"'"),
		r.refuses(1, `can't be reached`, "-H", "shm:"+r.t.log, "list"),
	)
}

const killedClients = 6

// killClients kills clients in the midst of create, or interrupts them, which the host
// hears of. Each time there is the whole domain, or nothing of it.
func (r *remote) killClients() error {
	free, err := r.free()
	if err != nil {
		return err
	}
	var whole time.Duration
	for range 2 { // the first takes longer
		begin := time.Now()
		if _, err := r.must("create", "-q", "other.cfg"); err != nil {
			return err
		}
		whole = time.Since(begin)
		if err := r.without("other", free); err != nil {
			return err
		}
	}
	for i := range killedClients {
		cmd := r.command("create", "-q", "other.cfg")
		if err := cmd.Start(); err != nil {
			return err
		}
		time.Sleep(whole * time.Duration(i+1) / (killedClients + 1)) // when it dies, not a wait
		if err := cmd.Process.Signal([]os.Signal{os.Kill, os.Interrupt}[i%2]); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return err
		}
		cmd.Wait() // its status says how far it was
		if err := r.without("other", free); err != nil {
			return fmt.Errorf("client killed in create, %d of %d: %w", i+1, killedClients, err)
		}
	}
	return r.sameList()
}

// without destroys a domain, should it be there, or come because a client that is gone
// had asked for it, and sees that all of its memory is free again.
func (r *remote) without(name string, before int) error {
	now := 0
	const noSign = 30 * time.Second // by then the host has noticed that a client is gone
	for end := time.Now().Add(r.t.within(noSign + 10*time.Second)); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if _, errs, status, err := r.run("destroy", name); err != nil || status != 0 && !strings.Contains(errs, "no domain") {
			return fmt.Errorf("out/xl destroy %s: %s, %v", name, errs, err)
		}
		out, err := r.must("list")
		if err != nil {
			return err
		}
		ds, err := parseList(out)
		if err != nil {
			return err
		}
		if now, err = r.free(); err != nil {
			return err
		}
		there := slices.ContainsFunc(ds, func(d domain) bool { return d.name == name })
		if !there && now >= before-heapSlack {
			return nil
		}
	}
	return fmt.Errorf("domain %s, or some of it, stays: %d MiB are free, %d were before it", name, now, before)
}

// newControlPlane has the control plane die in the midst of a client's create: that
// client is told, and the next one finds the new one and the guest that goes on.
func (r *remote) newControlPlane() error {
	if _, err := r.must("debug-keys", "k"); err != nil {
		return err
	}
	if err := r.refuses(1, `connection to the control plane has ended|interrupted`, "create", "-q", "other.cfg"); err != nil {
		return err
	}
	if _, err := r.expect(`control plane: restarted after point \d+`, 30*time.Second); err != nil {
		return err
	}
	out, err := r.must("list")
	if err != nil {
		return err
	}
	if ds, err := parseList(out); err != nil || len(ds) != 2 || ds[1].name != "good" {
		return fmt.Errorf("out/xl list after the control plane was made anew: %q, %w", out, err)
	}
	if err := r.consoleUntil("good", "NIDUS-GUEST-TICK"); err != nil {
		return err
	}
	_, err = r.must("destroy", "good")
	return err
}

// allSlots attaches as many clients as the memory has slots, all at a time.
func (r *remote) allSlots() error {
	const slots = 8 // rpc/ring's default, which the image has
	ctx, cancel := context.WithTimeout(r.t.ctx, 5*time.Second)
	defer cancel()
	for i := range slots {
		conn, err := ring.DialFile(ctx, r.file, ring.Options{})
		if err != nil {
			return fmt.Errorf("slot %d of %d is lost: %w", i+1, slots, err)
		}
		defer conn.Close()
	}
	return nil
}
