// Package regress boots the image in an emulator and finds out, at its console,
// whether it does what it should (Case), and how fast (Bench).
package regress

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"nidus/images/builder"
)

// Case is one regression.
type Case struct {
	Name string
	// What says in a line what it proves.
	What string
	// Long leaves it out of what ./build.sh test runs.
	Long bool
	// Needs are the guests' parts (builder.Guests) that it uses.
	Needs []string
	// Timeout bounds Run.
	Timeout time.Duration
	Run     func(t *T) error
}

// Cases returns all regressions, in the order in which they run.
func Cases() []Case {
	return slices.Concat(
		bootCases(),
		mediaCases(),
		optionCases(),
		seamCases(),
		pvhCases(),
		pvCases(),
		lifeCases(),
		diskCases(),
		netCases(),
		hostNetCases(),
		hostileCases(),
		[]Case{hostileFronts(), grantCase(), balloonCase(), schedCase(), restartControlPlane()},
		[]Case{xlOverIvshmem(), autostart(), cleanShutdown(), vmxHello()},
		soakCases(),
		hostDiskCases(),
		hostNICCases(),
		hostUnplugCases(),
		cardGuestCases(),
		killClientCases(),
		ringFuzzCases(),
		hostCases(),
	)
}

// Select returns the cases with the names, or all without a name.
func Select(names []string) ([]Case, error) {
	if len(names) == 0 {
		return Cases(), nil
	}
	var out []Case
	all := Cases()
	for _, n := range names {
		i := slices.IndexFunc(all, func(c Case) bool { return c.Name == n })
		if i < 0 {
			return nil, fmt.Errorf("there is no regression %q; \"./build.sh regress -l\" lists them", n)
		}
		out = append(out, all[i])
	}
	return out, nil
}

// ForTest returns the cases that ./build.sh test runs.
func ForTest() []Case {
	return slices.DeleteFunc(Cases(), func(c Case) bool { return c.Long })
}

// T is what a case runs with.
type T struct {
	*builder.Builder
	ctx  context.Context
	name string
	dir  string // a folder for the case's files, removed afterwards
	log  string
	open []func() error
}

// Run runs cases one after another and prints "PASS name seconds" or "FAIL name
// why" for each. Logs are out/regress/NAME.log. The image must be there.
func Run(ctx context.Context, b *builder.Builder, out io.Writer, cases []Case) (passed, failed int) {
	for _, c := range cases {
		if ctx.Err() != nil {
			break
		}
		begin := time.Now()
		if err := runOne(ctx, b, c); err != nil {
			failed++
			fmt.Fprintf(out, "FAIL %s %s\n", c.Name, oneLine(err))
			continue
		}
		passed++
		fmt.Fprintf(out, "PASS %s %.1f\n", c.Name, time.Since(begin).Seconds())
	}
	return passed, failed
}

func runOne(ctx context.Context, b *builder.Builder, c Case) (err error) {
	if err := b.Guests(c.Needs...); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	t := &T{Builder: b, ctx: ctx, name: c.Name, log: b.Out("regress", c.Name+".log")}
	if err := os.MkdirAll(b.Out("regress"), 0o755); err != nil {
		return err
	}
	if err := os.RemoveAll(t.log); err != nil {
		return err
	}
	if t.dir, err = os.MkdirTemp(b.Out("regress"), c.Name+"-"); err != nil {
		return err
	}
	defer os.RemoveAll(t.dir)
	defer t.closeAll()
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the regression itself panicked: %v", p)
		}
	}()
	return c.Run(t)
}

func (t *T) closeAll() {
	for _, f := range slices.Backward(t.open) {
		f() // its error would hide the case's own
	}
	t.open = nil
}

// file makes a file in the case's folder.
func (t *T) file(name string, data []byte) error {
	return os.WriteFile(filepath.Join(t.dir, name), data, 0o644)
}

// part puts a guest's part into the case's folder under another name, or its
// own if as is empty. It may be there already.
func (t *T) part(name, as string) error {
	if as == "" {
		as = name
	}
	if err := os.Symlink(t.Out("guest", name), filepath.Join(t.dir, as)); !errors.Is(err, os.ErrExist) {
		return err
	}
	return nil
}

// within is the rest of the case's time, at most d.
func (t *T) within(d time.Duration) time.Duration {
	if end, ok := t.ctx.Deadline(); ok {
		d = min(d, time.Until(end))
	}
	return max(d, time.Millisecond)
}

var spaces = regexp.MustCompile(`\s+`)

// oneLine makes an error one line of bearable length.
func oneLine(err error) string {
	s := strings.TrimSpace(spaces.ReplaceAllString(err.Error(), " "))
	if len(s) > 400 {
		s = s[:400] + "..."
	}
	return s
}
