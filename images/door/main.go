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
	"syscall"

	"nidus/images/builder"
)

const usage = `usage: ./build.sh VERB

  build              make out/nidus
  run                boot it in QEMU with a Debian guest, and type into the guest's shell
  test               host tests, fuzzing, and the regressions that fit 40 minutes
  regress [NAME...]  regressions in QEMU: all, or those named; -l lists them
  bench [NAME...]    figures, as a table; -l lists them, --peer xen puts Xen's beside them
  flash DEVICE       write a bootable image to a disk or USB stick; --force for a disk that
                     is not removable
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
		return none(func() error { return build(b, stdout) })
	case "run":
		return none(func() error { return runGuest(ctx, b) })
	case "test":
		return none(func() error { return test(ctx, b, stdout) })
	case "regress":
		return regressions(ctx, b, args, stdout)
	case "bench":
		return bench(ctx, b, args, stdout)
	case "flash":
		return flash(ctx, b, args, stdout)
	case "help", "-h", "--help":
		_, err := io.WriteString(stdout, usage)
		return err
	}
	return fmt.Errorf("%w: there is no verb %q", errUsage, verb)
}

func build(b *builder.Builder, stdout io.Writer) error {
	if err := b.Image(); err != nil {
		return err
	}
	s, err := os.Stat(b.Out("nidus"))
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(stdout, "out/nidus: %.1f MiB, for QEMU's -kernel and GRUB's multiboot and multiboot2\n", float64(s.Size())/(1<<20))
	return err
}
