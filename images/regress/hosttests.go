package regress

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"time"
)

// hostTest makes a case of tests that need no machine: pkgs' tests that match pattern.
// They are Long because ./build.sh test runs them as what they are.
func hostTest(name, what string, tests []string, pkgs ...string) Case {
	return Case{Name: name, What: what, Long: true, Timeout: 3 * time.Minute, Run: func(t *T) error {
		return t.goTest(tests, pkgs)
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
	}
}

// passed matches the end of a test that passed, in the output of go test -v.
var passed = regexp.MustCompile(`(?m)^--- PASS: (\w+) `)

// goTest runs the tests with these names, each of which has to be there and to pass.
func (t *T) goTest(tests, pkgs []string) error {
	log, err := os.Create(t.log)
	if err != nil {
		return err
	}
	defer log.Close()
	var out strings.Builder
	args := append([]string{"test", "-count=1", "-v", "-run", "^(" + strings.Join(tests, "|") + ")$"}, pkgs...)
	cmd := exec.CommandContext(t.ctx, "go", args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = t.Root, &out, &out
	err = cmd.Run()
	fmt.Fprint(log, out.String())
	if err != nil {
		return fmt.Errorf("go %s: %w: %s", strings.Join(args, " "), err, failures(out.String()))
	}
	var ran []string
	for _, m := range passed.FindAllStringSubmatch(out.String(), -1) {
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
