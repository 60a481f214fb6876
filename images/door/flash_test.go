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
	for _, c := range []struct {
		args string
		want flashArgs
		bad  bool
	}{
		{args: "/dev/sdb", want: flashArgs{device: "/dev/sdb"}},
		{args: "--force /dev/sdb --yes", want: flashArgs{device: "/dev/sdb", force: true, yes: true}},
		{args: "--data my --erase-data sdb", want: flashArgs{device: "sdb", data: "my", renewing: true}},
		{args: "--keep-data sdb", want: flashArgs{device: "sdb", keep: true}},
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
	}
}

// TestPrevious flashes a file as flash does: another kernel makes the old one the
// previous version; the same kernel again changes nothing.
func TestPrevious(t *testing.T) {
	if _, err := exec.LookPath("mformat"); err != nil {
		t.Skip(err)
	}
	file := filepath.Join(t.TempDir(), "disk")
	for i, step := range []struct{ kernel, previous string }{{"one", ""}, {"two", "one"}, {"two", "one"}, {"three", "two"}, {"one", "three"}} {
		var old *media.Disk
		if i > 0 {
			var err error
			if old, err = media.Open(file); err != nil {
				t.Fatal(err)
			}
		}
		before, err := previous(old, []byte(step.kernel))
		if err != nil || !bytes.Equal(before, []byte(step.previous)) {
			t.Errorf("step %d: previous version %q, %v, want %q", i, before, err, step.previous)
		}
		if _, err := media.WriteDisk(file, media.LeastBytes, media.Contents{Kernel: []byte(step.kernel), Previous: before}, nil); err != nil {
			t.Fatal(err)
		}
	}
}

// TestFlashRefuses asks for what must not be done; nothing is written or built.
func TestFlashRefuses(t *testing.T) {
	for _, p := range media.Packages {
		if exec.Command("dpkg-query", "-W", p).Run() != nil {
			t.Skip(p, "is not installed")
		}
	}
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
