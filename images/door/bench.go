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

// bench prints figures as they come, and with a peer a table of both.
func bench(ctx context.Context, b *builder.Builder, args []string, out io.Writer) error {
	if len(args) > 0 && args[0] == "-l" {
		for _, m := range regress.Benches() {
			fmt.Fprintf(out, "%-10s %s\n", m.Name, m.What)
		}
		return nil
	}
	peer := false
	if i := slices.Index(args, "--peer"); i >= 0 {
		if i+1 == len(args) || args[i+1] != "xen" {
			return fmt.Errorf("%w: the only peer is --peer xen", errUsage)
		}
		peer, args = true, slices.Delete(slices.Clone(args), i, i+2)
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
	version, err := exec.CommandContext(ctx, regress.QEMU(), "--version").Output()
	if err != nil {
		return err
	}
	first, _, _ := strings.Cut(string(version), "\n")
	fmt.Fprintf(out, "# %s; %s\n", first, strings.Join(regress.QEMUArgs(1, 4096)[1:], " "))
	var ours []regress.Figure
	ourErr := regress.Measure(ctx, b, benches, func(f regress.Figure) {
		ours = append(ours, f)
		f.Print(out)
	})
	if !peer || ctx.Err() != nil {
		return ourErr
	}
	fmt.Fprintln(out, "\n# Xen 4.17 with Debian's dom0")
	theirs := map[string]regress.Figure{}
	peerErr := regress.Peer(ctx, b, benches, func(f regress.Figure) {
		theirs[f.Row()] = f
		f.Print(out)
	})
	fmt.Fprintf(out, "\n%-44s %8s %8s %7s\n", "# row", "Nidus", "Xen", "ratio")
	for _, f := range ours {
		if x, ok := theirs[f.Row()]; ok && x.Median != 0 {
			f.Compare(x, out)
		}
	}
	return errors.Join(ourErr, peerErr)
}
