package regress

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"nidus/images/qemu"
	"nidus/xltool/shell"
)

// Host is a host that an emulator runs with the image, and its console.
type Host struct {
	*qemu.Machine
	t *T
}

// Boot says how to boot a host. The zero value is one CPU and 512 MiB, by
// multiboot 1 without a boot loader.
type Boot struct {
	CPUs      int
	MemoryMiB int
	Image     string   // under out/; "nidus" if empty
	Line      string   // added to the command line
	Modules   []string // files of the case's folder
	Auto      []string // such files that are marked as those of auto/
	Args      []string // further arguments; with -cdrom and the like, NoKernel
	CPU       string   // QEMU's -cpu, if not what QEMUArgs has
	NoKernel  bool
	// NoPrompt returns before the shell's prompt.
	NoPrompt bool
	Timeout  time.Duration // for the prompt; a minute if 0
}

// CommandLine is what every boot has.
const CommandLine = "console=com1 com1=115200,8n1 loglvl=all guest_loglvl=all noreboot"

var (
	// A prompt that is freshly printed stands at the start of a line; one that
	// the line editor redraws does not follow a line's end.
	prompt = regexp.MustCompile(`\n\r?` + regexp.QuoteMeta(shell.Prompt))
	// What Go and the kernel print when they die.
	fatal = regexp.MustCompile(`(?m)^\r?(panic: |fatal error: |unexpected fault|runtime: |\*\*\* (double fault|machine check|NMI|PANIC|FATAL))`)
	// A line of the log can come anywhere in a command's output.
	logLine = regexp.MustCompile(`\(NID\) \[ *[0-9.]+\] [^\n]*\n`)
	escapes = regexp.MustCompile(`\x1b\[[0-9;]*[A-Za-z]`)
)

// QEMU is the emulator that is run: what NIDUS_QEMU names, or Debian's.
func QEMU() string {
	return cmp.Or(os.Getenv("NIDUS_QEMU"), "qemu-system-x86_64")
}

// QEMUArgs are the arguments that every run of QEMU here has, the program first.
func QEMUArgs(cpus, memoryMiB int) []string {
	return []string{QEMU(), "-accel", "tcg,thread=multi", "-machine", "q35", "-cpu", "EPYC,+svm,+npt",
		"-smp", strconv.Itoa(max(cpus, 1)), "-m", strconv.Itoa(memoryMiB), "-display", "none", "-no-reboot", "-nic", "none"}
}

// withCPU gives arguments that QEMUArgs made another -cpu.
func withCPU(args []string, cpu string) []string {
	if i := slices.Index(args, "-cpu"); cpu != "" {
		args[i+1] = cpu
	}
	return args
}

// ShareSize is the memory that QEMU shares for the control plane, in bytes: a power of
// two, as QEMU wants it.
const ShareSize = 4 << 20

// ShareArgs are QEMU's arguments to share memory with the host, for the control plane;
// the file has ShareSize bytes. A comma in its name would end it.
func ShareArgs(file string) []string {
	return []string{"-object", fmt.Sprintf("memory-backend-file,id=control,share=on,mem-path=%s,size=%d", file, ShareSize),
		"-device", "ivshmem-plain,memdev=control"}
}

// boot starts a host and waits for the shell's prompt.
func (t *T) boot(b Boot) (*Host, error) {
	if b.MemoryMiB == 0 {
		b.MemoryMiB = 512
	}
	args := append(withCPU(QEMUArgs(b.CPUs, b.MemoryMiB), b.CPU), "-serial", "stdio", "-monitor", "none")
	if !b.NoKernel {
		image := b.Image
		if image == "" {
			image = "nidus"
		}
		args = append(args, "-kernel", t.Out(image), "-append", strings.TrimSpace(CommandLine+" "+b.Line))
		var mods []string
		for _, m := range b.Modules {
			mods = append(mods, m+" "+m)
		}
		for _, m := range b.Auto {
			mods = append(mods, m+" "+m+" auto")
		}
		if len(mods) > 0 {
			args = append(args, "-initrd", strings.Join(mods, ","))
		}
	}
	return t.start(b, append(args, b.Args...))
}

// start starts any emulator and waits for the prompt.
func (t *T) start(b Boot, args []string) (*Host, error) {
	m, err := qemu.Start(qemu.Command{Dir: t.dir, Args: args, Log: t.log, Fatal: fatal})
	if err != nil {
		return nil, err
	}
	t.open = append(t.open, m.Close)
	h := &Host{m, t}
	if b.NoPrompt {
		return h, nil
	}
	if b.Timeout == 0 {
		b.Timeout = time.Minute
	}
	return h, h.prompt(b.Timeout)
}

// prompt waits for the shell's prompt.
func (h *Host) prompt(timeout time.Duration) error {
	_, err := h.Expect(prompt, h.t.within(timeout))
	return err
}

// expect waits for a regular expression.
func (h *Host) expect(re string, timeout time.Duration) (qemu.Match, error) {
	return h.Machine.Expect(regexp.MustCompile(re), h.t.within(timeout))
}

// xl runs a command of the shell and returns what it printed.
func (h *Host) xl(format string, args ...any) (string, error) {
	return h.xlWithin(20*time.Second, format, args...)
}

func (h *Host) xlWithin(timeout time.Duration, format string, args ...any) (string, error) {
	line := fmt.Sprintf(format, args...)
	if err := h.Send(line + "\r"); err != nil {
		return "", err
	}
	m, err := h.Expect(prompt, h.t.within(timeout))
	if err != nil {
		return "", fmt.Errorf("%s: %w", line, err)
	}
	// The echo ends with the first line.
	_, out, _ := strings.Cut(m.Before, "\n")
	out = escapes.ReplaceAllString(strings.ReplaceAll(out, "\r", ""), "")
	return out, nil
}

// mustFail runs a command that has to fail with a message that matches.
func (h *Host) mustFail(re, format string, args ...any) error {
	out, err := h.xl(format, args...)
	if err != nil {
		return err
	}
	if !regexp.MustCompile(`(?m)^xl`).MatchString(out) || !regexp.MustCompile(re).MatchString(out) {
		return fmt.Errorf("%s: got %q, want an error like %q", fmt.Sprintf(format, args...), out, re)
	}
	return nil
}

// mustDo runs a command that has to print no error.
func (h *Host) mustDo(format string, args ...any) (string, error) {
	out, err := h.xl(format, args...)
	if err == nil && regexp.MustCompile(`(?m)^xl( \S+)?: `).MatchString(out) {
		err = fmt.Errorf("%s: %s", fmt.Sprintf(format, args...), strings.TrimSpace(out))
	}
	return out, err
}

// domain is a line of xl list.
type domain struct {
	name      string
	id, vcpus int
	memMiB    int
	state     string
}

// list runs xl list.
func (h *Host) list() ([]domain, error) {
	out, err := h.mustDo("xl list")
	if err != nil {
		return nil, err
	}
	return parseList(out)
}

func parseList(out string) ([]domain, error) {
	var ds []domain
	for line := range strings.Lines(logLine.ReplaceAllString(out, "")) {
		f := strings.Fields(line)
		// A prompt that is drawn again, under a line of the log, is no domain.
		if len(f) != 6 || f[0] == "Name" || strings.Contains(line, shell.Prompt) {
			continue
		}
		var n [3]int
		for i := range n {
			var err error
			if n[i], err = strconv.Atoi(f[i+1]); err != nil {
				return nil, fmt.Errorf("xl list: %q: %w", line, err)
			}
		}
		ds = append(ds, domain{name: f[0], id: n[0], memMiB: n[1], vcpus: n[2], state: f[4]})
	}
	if len(ds) == 0 || ds[0].name != "Domain-0" {
		return nil, fmt.Errorf("xl list printed %q, without Domain-0", out)
	}
	return ds, nil
}

// gone waits until there is no domain of a name.
func (h *Host) gone(name string, timeout time.Duration) error {
	end := time.Now().Add(h.t.within(timeout))
	for {
		ds, err := h.list()
		if err != nil {
			return err
		}
		there := false
		for _, d := range ds {
			there = there || d.name == name
		}
		if !there {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("domain %s is still there after %v", name, timeout)
		}
		time.Sleep(200 * time.Millisecond)
	}
}

// info runs xl info and returns one of its numbers.
func (h *Host) info(key string) (int, error) {
	out, err := h.mustDo("xl info")
	if err != nil {
		return 0, err
	}
	m := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(key) + `\s*: (\d+)`).FindStringSubmatch(logLine.ReplaceAllString(out, ""))
	if m == nil {
		return 0, fmt.Errorf("xl info has no number %s: %q", key, out)
	}
	return strconv.Atoi(m[1])
}

// leave leaves a guest's console.
func (h *Host) leave() error {
	if err := h.Send("\x1d"); err != nil {
		return err
	}
	return h.prompt(10 * time.Second)
}

// powerOff turns the host off, with what domains there are, and waits for the
// emulator's end.
func (h *Host) powerOff() error {
	if err := h.Send("poweroff -F\r"); err != nil {
		return err
	}
	if _, err := h.Wait(h.t.within(30 * time.Second)); err != nil {
		return fmt.Errorf("poweroff: %w", err)
	}
	return nil
}

// guestUp waits for the guests' init and checks what it counts.
func (h *Host) guestUp(cpus int, timeout time.Duration) (qemu.Match, error) {
	m, err := h.expect(`NIDUS-GUEST-UP cpus=(\d+) mem=(\d+) uptime=([\d.]+)`, timeout)
	if err != nil {
		return m, err
	}
	if m.Groups[1] != strconv.Itoa(cpus) {
		err = fmt.Errorf("the guest has %s CPUs, not %d", m.Groups[1], cpus)
	}
	return m, err
}

// guestShell creates the domain of g.cfg, with its console, and waits up to timeout
// for its init, and then for its shell.
func (h *Host) guestShell(cpus int, timeout time.Duration) error {
	if err := h.Send("xl create -c g.cfg\r"); err != nil {
		return err
	}
	if _, err := h.guestUp(cpus, timeout); err != nil {
		return err
	}
	_, err := h.expect(`guest# `, 20*time.Second)
	return err
}

var errNotYet = errors.New("the image does not offer what this needs")
