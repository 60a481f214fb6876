package regress

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"time"
)

// hostTest makes a case of tests that need no machine: pkgs' tests with these names. Behind
// "-args" in pkgs are flags of theirs.
// They are Long because ./build.sh test runs them as what they are.
func hostTest(name, what string, tests []string, pkgs ...string) Case {
	return Case{Name: name, What: what, Long: true, Timeout: 3 * time.Minute, Run: func(t *T) error {
		return t.hostTests(tests, pkgs)
	}}
}

// hostCases are the promises that are kept without a guest.
func hostCases() []Case {
	return []Case{
		hostTest("xl-golden", "xl's output and what it makes of configurations, against files",
			[]string{"TestCommands", "TestListColumns", "TestGolden"}, "./xltool/shell", "./xltool/xlcfg"),
		hostTest("xl-howtos", "every configuration and command line of the howtos",
			[]string{"TestHowtoConsole", "TestCreateForeground", "TestXendomains", "TestHowtoDisks", "TestHowtoVIFs", "TestHowtoPCI", "TestHowtoLines"},
			"./xltool/shell", "./xltool/xlcfg"),
		hostTest("xenstore-model", "random operations of several clients on xenstore against a simple model",
			[]string{"TestModel"}, "./kernel/xenstore"),
		hostTest("pv-mmu-model", "hostile PV guests change page tables, a million times each, against what a processor could reach, and by several vcpus at once",
			[]string{"TestModel", "TestRaces"}, "./mm/pvmmu", "-args", "-steps=1000000"),
	}
}

// passed matches the end of a test that passed, in the output of go test -v.
var passed = regexp.MustCompile(`(?m)^--- PASS: (\w+) `)

// goTest runs go test in the repository. The output is there after an error, too.
func (t *T) goTest(args ...string) (out string, err error) {
	cmd := exec.CommandContext(t.ctx, "go", append([]string{"test"}, args...)...)
	cmd.Dir = t.Root
	b, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s: %w", strings.Join(cmd.Args, " "), err)
	}
	return string(b), err
}

// hostTests runs the tests with these names, each of which has to be there and to pass.
func (t *T) hostTests(tests, pkgs []string) error {
	out, err := t.goTest(append([]string{"-count=1", "-v", "-run", "^(" + strings.Join(tests, "|") + ")$"}, pkgs...)...)
	if logErr := os.WriteFile(t.log, []byte(out), 0o666); logErr != nil {
		return errors.Join(err, logErr)
	}
	if err != nil {
		return fmt.Errorf("%w: %s", err, failures(out))
	}
	var ran []string
	for _, m := range passed.FindAllStringSubmatch(out, -1) {
		ran = append(ran, m[1])
	}
	for _, name := range tests {
		if !slices.Contains(ran, name) {
			return fmt.Errorf("%s did not run; those that passed: %v", name, ran)
		}
	}
	return nil
}

// failures are the lines that say what failed.
func failures(out string) string {
	var w []string
	for line := range strings.Lines(out) {
		if strings.Contains(line, "FAIL") || strings.Contains(line, "_test.go:") {
			w = append(w, strings.TrimSpace(line))
		}
	}
	return strings.Join(w, "; ")
}
