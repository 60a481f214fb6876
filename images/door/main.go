// Command door is what build.sh hands over to: it builds, runs, tests and
// measures. Each verb gets what it needs by itself.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"

	"nidus/images/builder"
)

const usage = `usage: ./build.sh VERB

  build              make out/nidus, and with it out/nidus.img for disks and USB sticks
                     and out/nidus.iso for CDs, --data FOLDER puts its files there; and
                     out/xl, which drives Nidus from Linux
  run                boot it in QEMU with a Debian guest, and type into the guest's shell;
                     out/xl in another terminal reaches it
  test               host tests, fuzzing, and the regressions that fit 40 minutes
  regress [NAME...]  regressions in QEMU: all, or those named; -l lists them
  bench [NAME...]    figures, as a table; -l lists them, --peer xen puts Xen's beside them
  flash DEVICE       write Nidus to a disk or USB stick, or a file that stands for one:
                     --force       also to a disk that is not removable
                     --keep-data   only to one with Nidus; its data stays, as it does anyway
                     --erase-data  make a new data partition on one with Nidus
                     --data FOLDER put its files there
                     --yes         don't ask at the terminal
`

// errUsage asks for the usage text.
var errUsage = errors.New("wrong arguments")

// errReported is a failure that was printed already.
var errReported = errors.New("failed")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	switch {
	case err == nil:
		return
	case errors.Is(err, errUsage):
		fmt.Fprintf(os.Stderr, "build.sh: %v\n\n%s", err, usage)
		os.Exit(2)
	case !errors.Is(err, errReported):
		fmt.Fprintln(os.Stderr, "build.sh:", err)
	}
	os.Exit(1)
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	root, err := os.Getwd() // build.sh goes there
	if err != nil {
		return err
	}
	b := &builder.Builder{Root: root, Say: stderr}
	if len(args) == 0 {
		return fmt.Errorf("%w: the verb is missing", errUsage)
	}
	verb, args := args[0], args[1:]
	none := func(f func() error) error {
		if len(args) > 0 {
			return fmt.Errorf("%w: %s takes none", errUsage, verb)
		}
		return f()
	}
	switch verb {
	case "build":
		return build(b, args, stdout)
	case "run":
		return none(func() error { return runGuest(ctx, b) })
	case "test":
		return none(func() error { return test(ctx, b, stdout) })
	case "regress":
		return regressions(ctx, b, args, stdout)
	case "bench":
		return bench(ctx, b, args, stdout)
	case "flash":
		return flash(ctx, b, args, os.Stdin, stdout)
	case "help", "-h", "--help":
		_, err := io.WriteString(stdout, usage)
		return err
	}
	return fmt.Errorf("%w: there is no verb %q", errUsage, verb)
}

// build makes the image and what it boots from.
func build(b *builder.Builder, args []string, stdout io.Writer) error {
	data, args, err := valueOf("--data", args)
	if err != nil {
		return err
	}
	if len(args) > 0 {
		return fmt.Errorf("%w: build takes --data FOLDER, not %q", errUsage, args[0])
	}
	if err := b.Image(); err != nil {
		return err
	}
	if err := b.Media(fromCaller(data)); err != nil {
		return err
	}
	if err := b.XL(); err != nil {
		return err
	}
	for _, o := range []struct{ name, use string }{
		{"nidus", "for QEMU's -kernel and GRUB's multiboot and multiboot2"},
		{"nidus.img", "for disks and USB sticks; ./build.sh flash writes it"},
		{"nidus.iso", "for CDs, and disks and USB sticks that are only read"},
		{"xl", "for Linux: drives what ./build.sh run boots"},
	} {
		s, err := os.Stat(b.Out(o.name))
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(stdout, "out/%s: %.1f MiB, %s\n", o.name, float64(s.Size())/(1<<20), o.use); err != nil {
			return err
		}
	}
	return nil
}

// fromCaller makes a path of the caller's, who may be in another folder, absolute.
func fromCaller(path string) string {
	if from := os.Getenv("NIDUS_FROM"); path != "" && from != "" && !filepath.IsAbs(path) {
		return filepath.Join(from, path)
	}
	return path
}

// valueOf takes an option and its value out of arguments.
func valueOf(option string, args []string) (value string, rest []string, err error) {
	i := slices.Index(args, option)
	if i < 0 {
		return "", args, nil
	}
	if i+1 == len(args) {
		return "", nil, fmt.Errorf("%w: %s needs a value", errUsage, option)
	}
	return args[i+1], slices.Delete(slices.Clone(args), i, i+2), nil
}
