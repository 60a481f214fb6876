package disk

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// fake makes a /sys and /proc with one disk, sdx, of 1000 sectors and a
// partition sdx1; more replaces or adds files.
func fake(t *testing.T, more map[string]string) system {
	t.Helper()
	root := t.TempDir()
	files := map[string]string{
		"sys/block/sdx/size": "1000\n", "sys/block/sdx/removable": "1\n", "sys/block/sdx/ro": "0\n", "sys/block/sdx/dev": "8:240\n",
		"sys/block/sdx/device/model": "Stick   \n", "sys/block/sdx/device/vendor": "Acme \n", "sys/block/sdx/sdx1/dev": "8:241\n", "sys/block/sdx/sdx1/size": "800\n", "blkid/dev/sdx1": "vfat PHOTOS",
		"run/udev/data/b8:240": "S:disk/by-id/x\nE:ID_SERIAL_SHORT=4711\n",
		"proc/self/mountinfo":  "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n", "proc/swaps": "Filename Type\n",
	}
	for name, data := range more {
		files[name] = data
	}
	for name, data := range files {
		if strings.HasPrefix(name, "blkid") {
			continue
		}
		p := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return system{root, func(path string) (string, string) {
		typ, label, _ := strings.Cut(files["blkid"+path], " ")
		return typ, label
	}}
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
		{why: "large blocks", name: "sdx", force: true, more: map[string]string{"sys/block/sdx/queue/logical_block_size": "4096\n"}, want: "blocks of 4096"},
		{why: "pool", name: "sdx", more: map[string]string{"blkid/dev/sdx1": "zfs_member tank"}, want: "sdx1 is a zfs_member tank"},
		{why: "pool, whole", name: "sdx", more: map[string]string{"blkid/dev/sdx": "linux_raid_member"}, want: "sdx is a linux_raid_member:"},
		{why: "LVM in use", name: "sdx", force: true, more: map[string]string{"sys/block/sdx/holders/dm-1": ""}, want: "sdx belongs to dm-1"},
		{why: "read-only", name: "sdx", more: map[string]string{"sys/block/sdx/ro": "1\n"}, want: "write-protected"},
	} {
		d, err := fake(t, c.more).checkName("/dev/"+c.name, c.name, c.force)
		if c.want == "" {
			if err != nil || d.Bytes != 512000 || d.String() != "/dev/sdx (Acme Stick, 0.5 MB, serial 4711)" {
				t.Errorf("%s: %v, %v", c.why, d, err)
			}
		} else if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", c.why, err, c.want)
		}
	}
	ours := func(string) bool { return false }
	if _, err := Check(filepath.Join(t.TempDir(), "none"), true, ours); err == nil {
		t.Error("a path that is not there passed")
	}
	if _, err := Check(os.DevNull, true, ours); err == nil {
		t.Error("a character device passed")
	}
	if _, err := Check(t.TempDir(), true, ours); err == nil {
		t.Error("a folder passed")
	}
}

func TestForcedMember(t *testing.T) {
	d, err := fake(t, map[string]string{"blkid/dev/sdx1": "zfs_member tank"}).checkName("/dev/sdx", "sdx", true)
	if err != nil {
		t.Fatal(err)
	}
	if got := d.Describe(); !strings.Contains(got, "sdx1") || !strings.Contains(got, `zfs_member "tank"`) || strings.Count(got, "\n") != 1 {
		t.Errorf("described as %q", got)
	}
}

func TestSerialAndModel(t *testing.T) {
	for _, c := range []struct {
		more          map[string]string
		model, serial string
	}{
		{map[string]string{"sys/block/sdx/device/serial": "S4EV\n", "run/udev/data/b8:240": ""}, "Acme Stick", "S4EV"},
		{map[string]string{"sys/block/sdx/device/vpd_pg80": "\x00\x80\x00\x06 AB12 ", "run/udev/data/b8:240": ""}, "Acme Stick", "AB12"},
		{map[string]string{"sys/block/sdx/device/vpd_pg80": "\x00", "run/udev/data/b8:240": ""}, "Acme Stick", ""},
		{map[string]string{"sys/block/sdx/device/model": "", "sys/block/sdx/device/vendor": "", "sys/block/sdx/device/name": "SD32G\n"}, "SD32G", "4711"},
		{map[string]string{"sys/block/sdx/device/model": ""}, "unknown model", "4711"},
	} {
		d, err := fake(t, c.more).checkName("/dev/sdx", "sdx", false)
		if err != nil || d.Model != c.model || d.Serial != c.serial {
			t.Errorf("%v: %q, %q, %v", c.more, d.Model, d.Serial, err)
		}
	}
}

func TestCheckFile(t *testing.T) {
	for _, c := range []struct {
		why         string
		data        []byte
		force, ours bool
		ok          bool
	}{
		{"empty", make([]byte, 3<<20+5), false, false, true},
		{"a text", append(make([]byte, 2<<20), "text"...), false, false, false},
		{"a text, forced", []byte("text"), true, false, true},
		{"one of ours", []byte("image"), false, true, true},
	} {
		file := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(file, c.data, 0o600); err != nil {
			t.Fatal(err)
		}
		d, err := Check(file, c.force, func(string) bool { return c.ours })
		if (err == nil) != c.ok || d.Bytes != int64(len(c.data)) {
			t.Errorf("%s: %+v, %v", c.why, d, err)
		}
	}
}

func TestWrite(t *testing.T) {
	const size = 4<<20 + 512
	dev := filepath.Join(t.TempDir(), "dev")
	old := bytes.Repeat([]byte{0xa5}, size)
	if err := os.WriteFile(dev, old, 0o644); err != nil {
		t.Fatal(err)
	}
	image := bytes.Repeat([]byte("image67"), size/7+1)[:size]
	d := Device{Path: dev, Bytes: size}
	extents := []Extent{{1 << 20, 2<<20 - 512}, {size - 1536, 1536}, {0, 4096}}
	var said bytes.Buffer
	if err := Write(context.Background(), bytes.NewReader(image), extents, d, &said); err != nil {
		t.Fatal(err)
	}
	want := bytes.Clone(old)
	for _, e := range extents {
		copy(want[e.First:e.First+e.Count], image[e.First:])
	}
	if got, err := os.ReadFile(dev); err != nil || !bytes.Equal(got, want) {
		t.Errorf("the device holds something else, %v", err)
	}
	if s := said.String(); !strings.Contains(s, "writing    [##############################] 100 %") || !strings.Contains(s, "verifying  [##############################] 100 %") {
		t.Errorf("said %q", s)
	}
	d.Bytes = 1000
	if err := Write(context.Background(), bytes.NewReader(image), extents, d, io.Discard); err == nil {
		t.Error("an image larger than the device was written")
	}
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	d.Bytes = size
	if err := Write(cancelled, bytes.NewReader(image), extents, d, io.Discard); err == nil {
		t.Error("a cancelled Write succeeded")
	}
	if err := Write(context.Background(), bytes.NewReader(image[:1<<20]), extents, d, io.Discard); err == nil {
		t.Error("an image that ends early was written")
	}
}

// changing reads differently the second time, as a bad disk would.
type changing struct{ reads int }

func (c *changing) ReadAt(b []byte, _ int64) (int, error) {
	clear(b)
	b[len(b)/2] = byte(c.reads)
	c.reads++
	return len(b), nil
}

func TestVerify(t *testing.T) {
	dev := filepath.Join(t.TempDir(), "dev")
	if err := os.WriteFile(dev, make([]byte, 8192), 0o644); err != nil {
		t.Fatal(err)
	}
	err := Write(context.Background(), &changing{}, []Extent{{0, 8192}}, Device{Path: dev, Bytes: 8192}, io.Discard)
	if err == nil || !strings.Contains(err.Error(), "reads back differently") {
		t.Errorf("a bad device: %v", err)
	}
}

func TestProgress(t *testing.T) {
	var said bytes.Buffer
	now := time.Unix(100, 0)
	p := newProgress(&said, "writing", 100e6)
	p.now, p.start = func() time.Time { return now }, now
	now = now.Add(time.Second)
	p.add(25e6)
	p.add(1) // too soon
	if got, want := said.String(), "\rwriting    [#######.......................]  25 %    25.0 MB/s  3s left\x1b[K"; got != want {
		t.Errorf("showed %q, want %q", got, want)
	}
}
