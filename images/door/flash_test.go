package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"nidus/images/builder"
	"nidus/images/media"
)

func TestParseFlash(t *testing.T) {
	t.Setenv("NIDUS_FROM", "") // build.sh sets it
	for _, c := range []struct {
		args string
		want flashArgs
		bad  bool
	}{
		{args: "/dev/sdb", want: flashArgs{device: "/dev/sdb"}},
		{args: "--force /dev/sdb --yes", want: flashArgs{device: "/dev/sdb", force: true, yes: true}},
		{args: "--data my --erase-data sdb", want: flashArgs{device: "sdb", data: "my", renewing: true}},
		{args: "--keep-data sdb --built", want: flashArgs{device: "sdb", keep: true, built: true}},
		{args: "", bad: true},
		{args: "--force", bad: true},
		{args: "/dev/sdb /dev/sdc", bad: true},
		{args: "--forse /dev/sdb", bad: true},
		{args: "--forse", bad: true},
		{args: "/dev/sdb --data", bad: true},
		{args: "--keep-data --erase-data sdb", bad: true},
		{args: "--keep-data --data my sdb", bad: true},
	} {
		got, err := parseFlash(strings.Fields(c.args))
		if c.bad != errors.Is(err, errUsage) || !c.bad && got != c.want {
			t.Errorf("%q: %+v, %v", c.args, got, err)
		}
		if again, err := parseFlash(got.args()); !c.bad && (err != nil || again != got) {
			t.Errorf("%q: args %q are %+v, %v", c.args, got.args(), again, err)
		}
	}
}

func TestRootCommand(t *testing.T) {
	f := flashArgs{device: "/dev/sdb", data: "/home/me/my", force: true}
	if got, want := strings.Join(rootCommand(t.Context(), "/x/door", f).Args, " "), "sudo /x/door flash --force --built --data /home/me/my /dev/sdb"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestFromCaller(t *testing.T) {
	t.Setenv("NIDUS_FROM", "/home/me")
	for path, want := range map[string]string{"": "", "my": "/home/me/my", "/dev/sdb": "/dev/sdb", "../x": "/home/x"} {
		if got := fromCaller(path); got != want {
			t.Errorf("%q: %q, want %q", path, got, want)
		}
	}
}

// packages skips a test where the programs are not installed.
func packages(t *testing.T) {
	t.Helper()
	for _, p := range media.Packages {
		if exec.Command("dpkg-query", "-W", p).Run() != nil {
			t.Skip(p, "is not installed")
		}
	}
}

// TestFlash flashes a file again and again: another kernel makes the old one the
// previous version, the same kernel changes nothing, and the data stays until it is to
// be erased.
func TestFlash(t *testing.T) {
	packages(t)
	dir := t.TempDir()
	b := &builder.Builder{Root: dir, Say: t.Output()}
	file := filepath.Join(dir, "disk")
	err := errors.Join(os.Mkdir(b.Out(), 0o755), os.WriteFile(file, nil, 0o600), os.Truncate(file, media.LeastBytes+5<<20+512))
	if err != nil {
		t.Fatal(err)
	}
	const data = "@@69206016" // 66 MiB
	for i, step := range []struct {
		kernel, previous string
		options          []string
		mine             bool // a file that was put there after the first step is there
	}{
		{"one", "", nil, false},
		{"two", "one", nil, true},
		{"two", "one", []string{"--keep-data"}, true},
		{"three", "two", nil, true},
		{"one", "three", []string{"--erase-data"}, false},
	} {
		if err := os.WriteFile(b.Out("nidus"), []byte(step.kernel), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := flash(t.Context(), b, append(step.options, "--built", "--yes", file), os.Stdin, t.Output()); err != nil {
			t.Fatalf("step %d: %v", i, err)
		}
		d, err := media.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		now, before, err := d.Kernels()
		if err != nil || !bytes.Equal(now, packed(t, step.kernel)) || !bytes.Equal(before, packed(t, step.previous)) {
			t.Errorf("step %d: kernels %q and %q, %v", i, now, before, err)
		}
		if mine := exec.Command("mdir", "-i", file+data, "::domains/mine").Run() == nil; mine != step.mine {
			t.Errorf("step %d: the data is there: %v", i, mine)
		}
		if i == 0 {
			if out, err := exec.Command("mcopy", "-i", file+data, b.Out("nidus"), "::domains/mine").CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
		}
	}
	if left, _ := filepath.Glob(b.Out("*")); len(left) != 1 {
		t.Errorf("left in out/: %q", left)
	}
}

// packed is a kernel as the disk has it, nil for none.
func packed(t *testing.T, kernel string) []byte {
	if kernel == "" {
		return nil
	}
	b, err := media.Pack([]byte(kernel))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestFlashRefuses asks for what must not be done; nothing is written or built.
func TestFlashRefuses(t *testing.T) {
	packages(t)
	dir := t.TempDir()
	make := func(name string, size int64, text string) string {
		p := filepath.Join(dir, name)
		err := os.WriteFile(p, []byte(text), 0o600)
		if err == nil && size > 0 {
			err = os.Truncate(p, size)
		}
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	ours := filepath.Join(dir, "ours")
	if _, err := media.WriteDisk(ours, media.LeastBytes, media.Contents{Kernel: []byte("x")}, nil); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{make("text", 0, "something"), "--yes"}, "--force"},
		{[]string{make("small", 1<<20, ""), "--yes"}, "too small"},
		{[]string{make("empty", media.LeastBytes, ""), "--keep-data"}, "not a disk with Nidus"},
		{[]string{ours, "--data", dir}, "--erase-data"},
		{[]string{filepath.Join(dir, "none")}, "no such file"},
		{[]string{"/dev/null"}, "not a disk"},
	} {
		err := flash(t.Context(), &builder.Builder{Root: dir, Say: t.Output()}, c.args, os.Stdin, t.Output())
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v, want %q", c.args, err, c.want)
		}
	}
}
