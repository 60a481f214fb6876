package main

import (
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"nidus/rpc/control"
	"nidus/rpc/ring"
	"nidus/rpc/server"
)

// plane is a host that has one boot module.
type plane struct {
	control.Plane // nil: nothing else is asked for
}

func (plane) HostInfo(context.Context) (control.HostInfo, error) {
	return control.HostInfo{Hostname: "far"}, nil
}
func (plane) Modules(context.Context) ([]control.Module, error) {
	return []control.Module{{Name: "there.cfg", Size: int64(len(there))}}, nil
}
func (plane) ReadModule(_ context.Context, _ string, p []byte, off int64) (int, error) {
	return copy(p, there[off:]), nil
}
func (plane) Domain(_ context.Context, ref string) (control.DomainInfo, error) {
	return control.DomainInfo{}, control.Errorf(control.ErrNoDomain, "no %s", ref)
}
func (plane) FindUploaded(ctx context.Context, sum control.FileSum) (string, error) {
	return control.NotYet{}.FindUploaded(ctx, sum)
}
func (plane) Upload(ctx context.Context, name string, sum control.FileSum, r io.Reader) (string, error) {
	return control.NotYet{}.Upload(ctx, name, sum, r)
}
func (plane) Create(_ context.Context, cfg control.DomainConfig, _ control.CreateOptions) (control.DomID, error) {
	return 0, control.Errorf(control.ErrNoFile, "no boot module %q", cfg.Kernel)
}

const there = "name='t'\ntype='pvh'\nkernel='vmlinuz'\nmemory=64\n"

// serve serves the plane at targets of both kinds.
func serve(t *testing.T) (shm, socket string) {
	dir := t.TempDir()
	file, sock := filepath.Join(dir, "shm"), filepath.Join(dir, "sock")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	size := ring.Size(2, 64<<10)
	if err := f.Truncate(int64(size)); err != nil {
		t.Fatal(err)
	}
	region, err := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	l1, err := ring.Listen(region, ring.Options{Slots: 2})
	if err != nil {
		t.Fatal(err)
	}
	l2, err := net.Listen("unix", sock)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 2)
	for _, l := range []net.Listener{l1, l2} {
		go func() { done <- server.New(plane{}, server.Options{}).Serve(ctx, l) }()
	}
	t.Cleanup(func() {
		cancel()
		for range 2 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	})
	return "shm:" + file, "unix:" + sock
}

func TestRun(t *testing.T) {
	shm, socket := serve(t)
	dir := t.TempDir()
	mine, kernel := filepath.Join(dir, "mine.cfg"), filepath.Join(dir, "kernel")
	for name, text := range map[string]string{mine: "name='m'\ntype='pvh'\nkernel='" + kernel + "'\nmemory=64\n", kernel: "x"} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		host, args string
		status     int
		want       string // in all that is printed
	}{
		{"", "-H " + shm + " info", 0, "host                   : far\n"},
		{"", "-H" + socket + " info", 0, "far"},
		{shm, "info", 0, "far"},
		{"unix:/none", "-H " + shm + " info --json", 0, `"far"`},
		{socket, "create there.cfg", 1, `xl create: domain t from there.cfg: no boot module "vmlinuz"` + "\n"},
		{socket, "create " + mine, 1, `is a file here only: write "local:` + kernel + `"`},
		{socket, "create " + mine + " kernel=local:" + kernel, 1, "upload of files"},
		{socket, "create " + mine + " kernel=local:" + dir, 1, "no regular file"},
		{socket, "create " + mine + " kernel=local:/none", 1, "no such file"},
		{socket, "create none.cfg", 1, "neither a file here nor a boot module"},
		{socket, "create " + dir, 1, "is a directory"},
		{socket, "uptime 5", 1, "xl uptime: no domain"},
		{"unix:/none", "info", 1, "xl info: the control plane can't be reached at unix:/none: "},
		{"shm:" + dir, "info", 1, "can't be reached"},
		{"shm:" + kernel, "info", 1, "region of 1 bytes"},
		{"nowhere", "info", 1, "shm:PATH or tls:HOST or unix:PATH"},
		{"tcp:far:1", "info", 1, "write tls:HOST"},
		// None of these needs a host.
		{"unix:/none", "info -x", 2, "unknown option -x; usage: xl info"},
		{"unix:/none", "pause", 2, "an argument is missing"},
		{"unix:/none", "frob", 1, "unknown command"},
		{"unix:/none", "vncviewer 0", 1, "not there yet"},
		{"unix:/none", "help list", 0, "usage: xl list"},
		{"unix:/none", "", 0, "-H TARGET"},
		{"", "-H", 2, "xl: option -H needs"},
		{"", "info", 1, "which host?"},
	} {
		t.Setenv("NIDUS_HOST", c.host)
		var out bytes.Buffer
		status := run(t.Context(), strings.Fields(c.args), nil, &out, &out)
		if status != c.status || !strings.Contains(out.String(), c.want) {
			t.Errorf("NIDUS_HOST=%s xl %s: %d, %q; want %d, %q", c.host, c.args, status, out.String(), c.status, c.want)
		}
		lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
		lines = slices.DeleteFunc(lines, func(s string) bool { return strings.HasPrefix(s, "Parsing ") })
		if status != 0 && len(lines) != 1 {
			t.Errorf("xl %s: not one line: %q", c.args, out.String())
		}
	}
}

func TestRawOfNoTerminal(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	restore, err := raw(r)
	if err != nil {
		t.Fatal(err)
	}
	restore()
}
