package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"nidus/images/builder"
	"nidus/images/debian"
	"nidus/images/media"
	"nidus/images/regress"
)

// fuzzTime is how long each target is fuzzed; fuzzAtOnce run at a time, with a worker
// each: two share a CPU of the two that a machine for tests has, so that all of them
// take minutes.
const (
	fuzzTime   = 30 * time.Second
	fuzzAtOnce = 4
)

// tally counts what a verb ran.
type tally struct{ passed, failed int }

// close prints the line that ends a run, and is the run's result.
func (c tally) close(out io.Writer) error {
	fmt.Fprintf(out, "%d passed, %d failed\n", c.passed, c.failed)
	if c.failed > 0 {
		return errReported
	}
	return nil
}

func (c *tally) add(ok bool) {
	if ok {
		c.passed++
	} else {
		c.failed++
	}
}

// test runs all that a change has to pass.
func test(ctx context.Context, b *builder.Builder, out io.Writer) error {
	// Tests compare structures with Xen's public headers, and images and file systems with what
	// others make of them; they are skipped where these programs are missing.
	packages := append([]string{"binutils", "qemu-system-x86", "libxen-dev", "qemu-utils", "e2fsprogs", "dosfstools"}, media.Packages...)
	if err := debian.Install(b.Say, packages...); err != nil {
		return err
	}
	var count tally
	begin := time.Now()
	step := func(format string, args ...any) {
		fmt.Fprintf(out, "== %5s  %s\n", time.Since(begin).Round(time.Second), fmt.Sprintf(format, args...))
	}
	step("go vet ./...")
	count.add(vet(ctx, b, out))
	step("go test ./...")
	if err := hostTests(ctx, b, out, &count); err != nil {
		return err
	}
	targets, err := fuzzTargets(ctx, b)
	if err != nil {
		return err
	}
	step("fuzzing %d targets for %v each, %d at a time", len(targets), fuzzTime, fuzzAtOnce)
	fuzz(ctx, b, out, targets, &count)
	step("building the image")
	if err := b.Image(); err != nil {
		fmt.Fprintln(out, "FAIL build", err)
		count.failed++
		return count.close(out)
	}
	cases := regress.ForTest()
	step("%d regressions; logs are out/regress/NAME.log", len(cases))
	passed, failed := regress.Run(ctx, b, out, cases)
	count.passed += passed
	count.failed += failed
	if ctx.Err() != nil {
		return ctx.Err()
	}
	step("done")
	return count.close(out)
}

// goCommand is a go command in the repository.
func goCommand(ctx context.Context, b *builder.Builder, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = b.Root
	return cmd
}

func vet(ctx context.Context, b *builder.Builder, out io.Writer) bool {
	text, err := goCommand(ctx, b, "vet", "./...").CombinedOutput()
	if err != nil {
		fmt.Fprintf(out, "FAIL go vet: %v\n%s", err, text)
	}
	return err == nil
}

// event is a line of go test -json (cmd/test2json).
type event struct {
	Action, Package, Test, Output string
	Elapsed                       float64
	FailedBuild                   string
}

// hostTests runs go test, prints a line for each package and what failed, and
// counts tests.
func hostTests(ctx context.Context, b *builder.Builder, out io.Writer, count *tally) error {
	cmd := goCommand(ctx, b, "test", "-json", "./...")
	cmd.Stderr = os.Stderr
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	said := map[string][]string{} // what a test that may yet fail printed
	failedTests := map[string]bool{}
	lines := bufio.NewScanner(pipe)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var e event
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			continue
		}
		key := e.Package + " " + e.Test
		switch e.Action {
		case "output", "build-output":
			said[key] = append(said[key], e.Output)
		case "pass", "fail", "build-fail":
			if e.Action != "pass" {
				io.WriteString(out, strings.Join(said[key], ""))
			}
			delete(said, key)
			if e.Test != "" {
				count.add(e.Action == "pass")
				failedTests[e.Package] = failedTests[e.Package] || e.Action == "fail"
				continue
			}
			if e.Package == "" {
				continue
			}
			if e.Action == "fail" && !failedTests[e.Package] { // it did not build, or died
				count.failed++
			}
			fmt.Fprintf(out, "%s %s %.1f\n", strings.ToUpper(e.Action), e.Package, e.Elapsed)
		}
	}
	if err := lines.Err(); err != nil {
		return err
	}
	if err := cmd.Wait(); err != nil && count.failed == 0 {
		fmt.Fprintln(out, "FAIL go test:", err)
		count.failed++
	}
	return ctx.Err()
}

// target is a fuzz target of a package.
type target struct{ pkg, name string }

var fuzzName = regexp.MustCompile(`(?m)^func (Fuzz\w*)\(`)

// fuzzTargets finds all fuzz targets in the tree.
func fuzzTargets(ctx context.Context, b *builder.Builder) ([]target, error) {
	cmd := goCommand(ctx, b, "list", "-f", `{{range .TestGoFiles}}{{$.ImportPath}} {{$.Dir}}/{{.}}{{"\n"}}{{end}}{{range .XTestGoFiles}}{{$.ImportPath}} {{$.Dir}}/{{.}}{{"\n"}}{{end}}`, "./...")
	list, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w", err)
	}
	var targets []target
	for line := range strings.Lines(string(list)) {
		pkg, file, ok := strings.Cut(strings.TrimSpace(line), " ")
		if !ok {
			continue
		}
		src, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		for _, m := range fuzzName.FindAllSubmatch(src, -1) {
			targets = append(targets, target{pkg, string(m[1])})
		}
	}
	slices.SortFunc(targets, func(a, b target) int { return strings.Compare(a.pkg+a.name, b.pkg+b.name) })
	return targets, nil
}

// deadlineOnly says that go test failed with no finding but that the time given
// is over. internal/fuzz means to end well then, but takes its parent context's
// error for a failure when that one is done an instant before its own is.
func deadlineOnly(text string) bool {
	return strings.Contains(text, "\n    context deadline exceeded\n") &&
		!strings.Contains(text, "Failing input") && !strings.Contains(text, "panic") &&
		!strings.Contains(text, "hung")
}

// fuzz runs the targets.
func fuzz(ctx context.Context, b *builder.Builder, out io.Writer, targets []target, count *tally) {
	var mu sync.Mutex
	var all sync.WaitGroup
	slots := make(chan struct{}, fuzzAtOnce)
	for _, t := range targets {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			if ctx.Err() != nil {
				return
			}
			begin := time.Now()
			cmd := goCommand(ctx, b, "test", "-run=^$", "-fuzz=^"+t.name+"$", fmt.Sprintf("-fuzztime=%v", fuzzTime), "-fuzzminimizetime=20x", "-parallel=1", t.pkg)
			text, err := cmd.CombinedOutput()
			mu.Lock()
			defer mu.Unlock()
			if deadlineOnly(string(text)) {
				err = nil
			}
			count.add(err == nil)
			if err != nil {
				fmt.Fprintf(out, "FAIL %s %s: %v\n%s", t.pkg, t.name, err, text)
				return
			}
			fmt.Fprintf(out, "PASS %s %s %.1f\n", t.pkg, t.name, time.Since(begin).Seconds())
		})
	}
	all.Wait()
}

// regressions is the verb regress.
func regressions(ctx context.Context, b *builder.Builder, args []string, out io.Writer) error {
	if len(args) > 0 && args[0] == "-l" {
		for _, c := range regress.Cases() {
			long := ""
			if c.Long {
				long = " (not in test)"
			}
			fmt.Fprintf(out, "%-22s %s%s\n", c.Name, c.What, long)
		}
		return nil
	}
	cases, err := regress.Select(args)
	if err != nil {
		return err
	}
	if err := debian.Install(b.Say, "qemu-system-x86"); err != nil {
		return err
	}
	if err := b.Image(); err != nil {
		return err
	}
	var count tally
	count.passed, count.failed = regress.Run(ctx, b, out, cases)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return count.close(out)
}
