package disk

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// fake makes a /sys and /proc with one disk, sdx, of 1000 sectors and a
// partition sdx1; more replaces or adds files.
func fake(t *testing.T, more map[string]string) system {
	t.Helper()
	root := t.TempDir()
	files := map[string]string{
		"sys/block/sdx/size": "1000\n", "sys/block/sdx/removable": "1\n", "sys/block/sdx/ro": "0\n", "sys/block/sdx/dev": "8:240\n",
		"sys/block/sdx/device/model": "Stick   \n", "sys/block/sdx/device/vendor": "Acme \n", "sys/block/sdx/sdx1/dev": "8:241\n",
		"proc/self/mountinfo": "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n", "proc/swaps": "Filename Type\n",
	}
	for name, data := range more {
		files[name] = data
	}
	for name, data := range files {
		p := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return system{root}
}

func TestCheckName(t *testing.T) {
	for _, c := range []struct {
		why   string
		name  string
		force bool
		more  map[string]string
		want  string // in the error; "" for none
	}{
		{why: "good", name: "sdx"},
		{why: "partition", name: "sdx1", want: "not a whole disk"},
		{why: "fixed", name: "sdx", more: map[string]string{"sys/block/sdx/removable": "0\n"}, want: "--force"},
		{why: "fixed, forced", name: "sdx", force: true, more: map[string]string{"sys/block/sdx/removable": "0\n"}},
		{why: "mounted", name: "sdx", force: true, more: map[string]string{"proc/self/mountinfo": "22 1 8:241 / /mnt rw - vfat /dev/sdx1 rw\n"}, want: "sdx1 is mounted at /mnt"},
		{why: "mounted, by name", name: "sdx", more: map[string]string{"proc/self/mountinfo": "22 1 0:40 / /mnt rw shared:1 - btrfs /dev/sdx rw\n"}, want: "sdx is mounted at /mnt"},
		{why: "mounts unknown", name: "sdx", more: map[string]string{"proc/self/mountinfo": ""}, want: "mountinfo"},
		{why: "swap", name: "sdx", force: true, more: map[string]string{"proc/swaps": "Filename\n/dev/sdx1 partition 1 0 -2\n"}, want: "swap"},
		{why: "held", name: "sdx", force: true, more: map[string]string{"sys/block/sdx/sdx1/holders/dm-0": ""}, want: "dm-0"},
		{why: "no medium", name: "sdx", more: map[string]string{"sys/block/sdx/size": "0\n"}, want: "medium"},
		{why: "read-only", name: "sdx", more: map[string]string{"sys/block/sdx/ro": "1\n"}, want: "write-protected"},
	} {
		d, err := fake(t, c.more).checkName("/dev/"+c.name, c.name, c.force)
		if c.want == "" {
			if err != nil || d.Bytes != 512000 || d.String() != "/dev/sdx (Acme Stick, 0.0 GB)" {
				t.Errorf("%s: %v, %v", c.why, d, err)
			}
		} else if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", c.why, err, c.want)
		}
	}
	if _, err := Check(filepath.Join(t.TempDir(), "none"), true); err == nil {
		t.Error("a path that is not there passed")
	}
	if _, err := Check(os.DevNull, true); err == nil {
		t.Error("a character device passed")
	}
}

func TestWrite(t *testing.T) {
	dev := filepath.Join(t.TempDir(), "dev")
	if err := os.WriteFile(dev, make([]byte, 4<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	image := bytes.Repeat([]byte("image"), 1<<19+3)
	d := Device{Path: dev, Bytes: 4 << 20}
	var said bytes.Buffer
	if err := Write(context.Background(), bytes.NewReader(image), d, &said); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(dev)
	if err != nil || len(got) != 4<<20 || !bytes.HasPrefix(got, image) {
		t.Errorf("the device holds %d bytes, %v", len(got), err)
	}
	if !strings.Contains(said.String(), "verifying: 100 %") {
		t.Errorf("said %q", said.String())
	}
	d.Bytes = 1000
	if err := Write(context.Background(), bytes.NewReader(image), d, io.Discard); err == nil {
		t.Error("an image larger than the device was written")
	}
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	d.Bytes = 4 << 20
	if err := Write(cancelled, bytes.NewReader(image), d, io.Discard); err == nil {
		t.Error("a cancelled Write succeeded")
	}
}
