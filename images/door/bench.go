package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"

	"nidus/images/builder"
	"nidus/images/debian"
	"nidus/images/regress"
)

// bench prints figures as they come.
func bench(ctx context.Context, b *builder.Builder, args []string, out io.Writer) error {
	if len(args) > 0 && args[0] == "-l" {
		for _, m := range regress.Benches() {
			fmt.Fprintf(out, "%-10s %s\n", m.Name, m.What)
		}
		return nil
	}
	if slices.Contains(args, "--peer") {
		return errors.New("--peer xen is not there yet; docs/performance.md says how Xen's figures were measured")
	}
	benches, err := regress.SelectBenches(args)
	if err != nil {
		return err
	}
	if err := debian.Install(b.Say, "qemu-system-x86"); err != nil {
		return err
	}
	if err := b.Image(); err != nil {
		return err
	}
	version, err := exec.CommandContext(ctx, "qemu-system-x86_64", "--version").Output()
	if err != nil {
		return err
	}
	first, _, _ := strings.Cut(string(version), "\n")
	fmt.Fprintf(out, "# %s; %s\n", first, strings.Join(regress.QEMUArgs(1, 4096)[1:], " "))
	return regress.Measure(ctx, b, benches, func(f regress.Figure) { f.Print(out) })
}
