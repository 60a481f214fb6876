package debian

import (
	"archive/tar"
	"bytes"
	"testing"
)

func TestFind(t *testing.T) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range []struct{ name, data string }{{"./boot/config-1", "c"}, {"./boot/vmlinuz-6.1", "kernel"}, {"./bin/busybox", "bb"}} {
		if err := w.WriteHeader(&tar.Header{Name: f.name, Size: int64(len(f.data)), Typeflag: tar.TypeReg}); err != nil {
			t.Fatal(err)
		}
		w.Write([]byte(f.data))
	}
	w.Close()
	for _, c := range []struct{ pattern, want string }{{"boot/vmlinuz-*", "kernel"}, {"bin/busybox", "bb"}, {"vmlinuz-*", ""}, {"boot", ""}} {
		got, err := find(bytes.NewReader(b.Bytes()), c.pattern)
		if string(got) != c.want || (err == nil) != (c.want != "") {
			t.Errorf("find(%q) = %q, %v; want %q", c.pattern, got, err, c.want)
		}
	}
	if _, err := find(bytes.NewReader(b.Bytes()[:700]), "bin/busybox"); err == nil {
		t.Error("no error for a truncated archive")
	}
}

func TestMissing(t *testing.T) {
	if got := Missing("no-such-package-nidus"); len(got) != 1 {
		t.Errorf("Missing = %q, want the one package", got)
	}
}
