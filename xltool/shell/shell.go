// Package shell is the xl command: its subcommands, and an interactive prompt
// for them that works on a raw serial line.
//
// Arguments, output columns and exit statuses are those of xl(1) of Xen 4.17,
// because scripts read them: NetBSD's and FreeBSD's xendomains skip the first
// two lines of xl list and take columns 1 and 5. The prompt is "nidus# " and
// stays so, for scripts that wait for it.
//
// The line editor is an own one. golang.org/x/term's Terminal has no reverse
// search, ends the session at ^C, and can't give the line away to a guest's
// console or be cancelled by a context.
package shell

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"nidus/rpc/control"
	"nidus/xltool/xlcfg"
)

// Exit statuses, as xl's.
const (
	ExitSuccess = 0
	ExitFailure = 1
	ExitUsage   = 2 // a command's arguments are wrong
)

// Prompt is what the interactive shell prints before it reads a line.
const Prompt = "nidus# "

// Session runs commands against a control plane.
type Session struct {
	// Plane is what commands talk to; if it is nil, the first that needs it calls
	// Connect.
	Plane   control.Plane
	Connect func(ctx context.Context) (control.Plane, error)

	Stdin  io.Reader
	Stdout io.Writer
	Stderr io.Writer
	// ReadFile returns a configuration file's text; where it is nil, or says
	// fs.ErrNotExist, the boot modules are looked through.
	ReadFile func(name string) ([]byte, error)
	// Keys are this program's, for hosts of the network; nil in the host's own shell.
	Keys Keys
	// Open opens a file that a configuration names by local:; nil where there are none.
	Open func(name string) (File, error)
	// Interactive: Stderr is a terminal, on which work that takes long shows how far
	// it is.
	Interactive bool
	// Raw makes Stdin's terminal pass each byte as it is typed while a guest's console
	// is attached, and returns what undoes that; nil where it always does.
	Raw func() (restore func(), err error)

	prompting bool // it is Run's
}

// Main is the xl command: it runs args, which don't include the program's name,
// and returns the exit status. Files are boot modules.
func Main(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer, plane control.Plane) int {
	s := Session{Plane: plane, Stdin: stdin, Stdout: stdout, Stderr: stderr}
	return s.Exec(ctx, args)
}

// Exec runs one command and returns its exit status. A leading "xl" is allowed,
// or "xm", and xl's global options that change nothing here.
func (s *Session) Exec(ctx context.Context, args []string) int {
	if len(args) > 0 && args[0] == "xm" {
		fmt.Fprintln(s.Stderr, "xm is an alias of xl here, with xl's commands and options")
	}
	cmd, args, err := lookup(args)
	if err != nil {
		return s.report("", err)
	}
	c := call{Session: s, cmd: cmd}
	if err := c.parse(args); err != nil {
		return s.report(cmd.name, err)
	}
	if c.opt("h", "help") {
		c.usage()
		return ExitSuccess
	}
	if s.Plane == nil && !cmd.offline {
		var err error
		if s.Plane, err = s.Connect(ctx); err != nil {
			return s.report(cmd.name, err)
		}
	}
	return s.report(cmd.name, cmd.run(ctx, &c))
}

// errSilent is a command's failure that only its exit status tells.
var errSilent = errors.New("no")

// report prints an error, one line for each that it joins, and returns the status.
func (s *Session) report(cmd string, err error) int {
	if err == nil {
		return ExitSuccess
	}
	if errors.Is(err, errSilent) {
		return ExitFailure
	}
	if cmd != "" {
		cmd = " " + cmd
	}
	if errors.Is(err, context.Canceled) {
		err = errors.New("interrupted")
	}
	for line := range strings.SplitSeq(err.Error(), "\n") {
		fmt.Fprintf(s.Stderr, "xl%s: %s\n", cmd, printable(line))
	}
	if errors.As(err, new(usageError)) {
		return ExitUsage
	}
	return ExitFailure
}

// printable keeps what comes from elsewhere from moving the cursor.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return '?'
		}
		return r
	}, s)
}

func (s *Session) readFile(ctx context.Context, name string) ([]byte, error) {
	if s.ReadFile != nil {
		if b, err := s.ReadFile(name); !errors.Is(err, fs.ErrNotExist) {
			return b, err
		}
	}
	b, err := control.ReadAllModule(ctx, s.Plane, name, xlcfg.MaxFileSize)
	if base := path.Base(name); base != name && errors.Is(err, control.ErrNoFile) {
		// Modules have no folders, and howtos name them by those of a host.
		if b, berr := control.ReadAllModule(ctx, s.Plane, base, xlcfg.MaxFileSize); !errors.Is(berr, control.ErrNoFile) {
			return b, berr
		}
	}
	if s.ReadFile != nil && control.CodeOf(err) == control.ErrNoFile {
		err = control.Errorf(control.ErrNoFile, "%s is neither a file here nor a boot module of the host; \"xl modules\" lists those", name)
	}
	return b, err
}
