// Command xl drives Nidus from Linux, with the commands of its own shell (package
// shell): xl [-H TARGET] COMMAND [ARGUMENTS].
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"nidus/rpc/client"
	"nidus/rpc/control"
	"nidus/xltool/shell"
	"nidus/xltool/xlcfg"
)

const targets = `
Options before COMMAND:
 -H TARGET   the host: shm:FILE, memory that QEMU shares with it, unix:SOCKET, or
             tls:HOST[:PORT], over the network (see cert-init and cert-trust).
             Without it, the environment's NIDUS_HOST says so; without that, it is
             what ./build.sh run booted, if this program is still where it was built
`

// sharedName is the file beside the program that ./build.sh run shares with QEMU.
const sharedName = "nidus.shm"

// connectTime is how long a host may take to answer at first. One whose control plane
// is just being made anew does so within a second.
const connectTime = 10 * time.Second

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run is the program; it returns the exit status.
func run(ctx context.Context, args []string, in *os.File, out, errs io.Writer) int {
	target, args, err := hostOption(args)
	if err != nil {
		fmt.Fprintln(errs, "xl:", err)
		return shell.ExitUsage
	}
	var conn *client.Client
	s := shell.Session{
		Connect: func(ctx context.Context) (_ control.Plane, err error) {
			if conn, err = connect(ctx, target); err != nil {
				return nil, err
			}
			return local{conn}, nil
		},
		Stdin: in, Stdout: out, Stderr: errs,
		ReadFile: readFile, Open: func(name string) (shell.File, error) { return os.Open(name) },
		Keys: keys{}, Interactive: isTerminal(errs),
		Raw: func() (func(), error) { return raw(in) },
	}
	status := s.Exec(ctx, args)
	if len(args) == 0 || len(args) == 1 && args[0] == "help" {
		io.WriteString(out, targets)
	}
	if conn != nil {
		conn.Close() // all that was asked for is done
	}
	return status
}

var errNoTarget = errors.New("option -H needs a TARGET, shm:FILE, unix:SOCKET or tls:HOST")

// hostOption takes -H and its value off the arguments' front.
func hostOption(args []string) (target string, rest []string, err error) {
	target = os.Getenv("NIDUS_HOST")
	for len(args) > 0 && strings.HasPrefix(args[0], "-H") {
		if target = strings.TrimPrefix(args[0], "-H"); target == "" {
			if len(args) == 1 {
				return "", nil, errNoTarget
			}
			target, args = args[1], args[1:]
		}
		if args = args[1:]; target == "" {
			return "", nil, errNoTarget
		}
	}
	return target, args, nil
}

// connect connects to a target, or to what ./build.sh run booted.
func connect(ctx context.Context, target string) (*client.Client, error) {
	if target == "" {
		self, err := os.Executable()
		if err != nil {
			return nil, err
		}
		file := filepath.Join(filepath.Dir(self), sharedName)
		if _, err := os.Stat(file); err != nil {
			return nil, control.Errorf(control.ErrBadArgument, "which host? Say -H TARGET, or set NIDUS_HOST, to shm:FILE, unix:SOCKET or tls:HOST; or start one with ./build.sh run")
		}
		target = "shm:" + file
	}
	return client.Dial(ctx, target, client.WithName("xl"), client.WithTransport("shm", dialShared), client.WithTransport("tls", dialTLS))
}

// readFile returns a configuration's text.
func readFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, xlcfg.MaxFileSize+1))
	if err == nil && len(b) > xlcfg.MaxFileSize {
		err = control.Errorf(control.ErrTooBig, "%s is no configuration: it has more than %d bytes", name, xlcfg.MaxFileSize)
	}
	return b, err
}

// local is a host's control plane, seen from here: its files are not ours.
type local struct{ *client.Client }

// Create implements control.Plane.
func (l local) Create(ctx context.Context, cfg control.DomainConfig, opt control.CreateOptions) (control.DomID, error) {
	id, err := l.Client.Create(ctx, cfg, opt)
	if control.CodeOf(err) == control.ErrNoFile {
		names := []string{cfg.Kernel, cfg.Ramdisk}
		for _, text := range cfg.Modules {
			file, _ := control.SplitModule(text)
			names = append(names, file)
		}
		for _, name := range names {
			if _, here := os.Stat(name); name != "" && here == nil {
				return id, control.Errorf(control.ErrNoFile, "%v (%s is a file here only: write \"local:%s\", and xl uploads it)", err, name, name)
			}
		}
	}
	return id, err
}
