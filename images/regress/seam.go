package regress

import (
	"debug/elf"
	"errors"
	"fmt"
	"regexp"
	"sort"
	"strconv"
	"strings"
	"time"

	"nidus/images/qemu"
)

// The seam to stock Go, shown by an image of its own (images/selftest).

func seamCases() []Case {
	return []Case{
		{Name: "seam-selftest", What: "Go's runtime on the bare machine: one, two and four CPUs", Timeout: 15 * time.Minute, Run: seamSelfTest},
		{Name: "seam-echo-20", What: "20 boots with a TCP echo on four CPUs", Timeout: 10 * time.Minute, Run: func(t *T) error { return seamEcho(t, 20) }},
		{Name: "seam-echo-200", What: "200 boots with a TCP echo on four CPUs", Long: true, Timeout: 90 * time.Minute, Run: func(t *T) error { return seamEcho(t, 200) }},
	}
}

func seamSelfTest(t *T) error {
	if err := t.SelfTest(); err != nil {
		return err
	}
	for _, cpus := range []int{1, 2, 4} {
		if err := t.selfTest(cpus, "", 4*time.Minute); err != nil {
			return fmt.Errorf("%d CPUs: %w", cpus, err)
		}
	}
	return nil
}

func seamEcho(t *T, boots int) error {
	if err := t.SelfTest(); err != nil {
		return err
	}
	for i := range boots {
		if err := t.selfTest(4, "only=echo", time.Minute); err != nil {
			return fmt.Errorf("boot %d of %d: %w", i+1, boots, err)
		}
	}
	return nil
}

var selfTestDone = regexp.MustCompile(`selftest: done (\d+) passed, (\d+) failed`)

// selfTest boots the self-test image and waits for its end. Where the CPUs were
// when it stalled goes into the log.
func (t *T) selfTest(cpus int, line string, timeout time.Duration, devices ...string) error {
	args := append(QEMUArgs(cpus, 512), "-serial", "stdio", "-monitor", "none",
		"-kernel", t.Out("nidus-selftest"), "-append", strings.TrimSpace(CommandLine+" "+line))
	args = append(append(args, monitorArgs()...), devices...)
	m, err := qemu.Start(qemu.Command{Dir: t.dir, Args: args, Log: t.log, Fatal: regexp.MustCompile(`\*\*\* FATAL`)})
	if err != nil {
		return err
	}
	defer m.Close()
	done, err := m.Expect(selfTestDone, t.within(timeout))
	if err != nil {
		if errors.Is(err, qemu.ErrTimeout) {
			where, werr := t.whereCPUs(t.Out("nidus-selftest.elf"))
			err = errors.Join(err, werr, qemu.AppendLog(t.log, "where the CPUs are", []byte(where)))
		}
		return err
	}
	if failed := regexp.MustCompile(`selftest: FAIL .*`).FindString(done.Before); failed != "" || done.Groups[1] == "0" || done.Groups[2] != "0" {
		return fmt.Errorf("%s: %s", done.Groups[0], failed)
	}
	_, err = m.Wait(t.within(20 * time.Second))
	return err
}

// whereCPUs asks QEMU's monitor for the CPUs' registers and names their RIPs.
func (t *T) whereCPUs(kernel string) (string, error) {
	m, err := t.monitor()
	if err != nil {
		return "", err
	}
	defer m.Close()
	lines, err := m.ask("info registers -a")
	if err != nil {
		return "", err
	}
	names, err := symbols(kernel)
	if err != nil {
		return "", err
	}
	var out strings.Builder
	rip := regexp.MustCompile(`RIP=([0-9a-f]{16})`)
	for _, l := range lines {
		fmt.Fprintln(&out, strings.TrimSpace(l))
		if m := rip.FindStringSubmatch(l); m != nil {
			pc, _ := strconv.ParseUint(m[1], 16, 64) // as the expression says
			fmt.Fprintln(&out, "    in", names(pc))
		}
	}
	return out.String(), nil
}

// symbols reads a kernel's symbols and returns what names an address.
func symbols(file string) (func(pc uint64) string, error) {
	f, err := elf.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	syms, err := f.Symbols()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	sort.Slice(syms, func(i, k int) bool { return syms[i].Value < syms[k].Value })
	return func(pc uint64) string {
		i := sort.Search(len(syms), func(i int) bool { return syms[i].Value > pc })
		if i == 0 || pc-syms[i-1].Value > 1<<20 {
			return "no known function"
		}
		return fmt.Sprintf("%s+%#x", syms[i-1].Name, pc-syms[i-1].Value)
	}, nil
}
