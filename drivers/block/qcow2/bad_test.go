package qcow2

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"nidus/drivers/block"
)

// TestFull: an image that can't grow says so, and goes on once something is discarded.
func TestFull(t *testing.T) {
	b := newBench(t)
	b.must("create", "-f", "qcow2", "i", "64M")
	d := b.load("i", 1<<20)
	i, err := b.open(d, false)
	if err != nil {
		t.Fatal(err)
	}
	data := bytes.Repeat([]byte{7}, 64<<10)
	n := 0
	for ; err == nil; n++ {
		err = b.do(i, block.Write, n*128, data)
	}
	if !errors.Is(err, block.ErrNoSpace) || n < 10 {
		t.Fatalf("after %d clusters: %v", n, err)
	}
	if err := b.do(i, block.Discard, 128, make([]byte, 64<<10)); err != nil {
		t.Fatal(err)
	}
	if err := b.do(i, block.Write, 900*128, data); err != nil {
		t.Errorf("after a discard: %v", err)
	}
	if err := i.Close(); err != nil {
		t.Error(err)
	}
	b.save("i", d.b)
	if out, err := b.qemuImg("check", "i"); err != nil {
		t.Errorf("qemu-img check: %v: %s", err, out)
	}
}

// TestMedium: errors of the disk below are the guest's, and nothing hangs.
func TestMedium(t *testing.T) {
	b := newBench(t)
	b.must("create", "-f", "qcow2", "i", "8M")
	d := b.load("i", 1<<20)
	i, err := b.open(d, false)
	if err != nil {
		t.Fatal(err)
	}
	data := make([]byte, 4096)
	if err := b.do(i, block.Write, 0, data); err != nil {
		t.Fatal(err)
	}
	d.fail = errors.New("medium")
	for _, op := range []block.Op{block.Write, block.WriteFUA, block.Read} {
		if err := b.do(i, op, 0, data); err == nil {
			t.Errorf("operation %d went well", op)
		}
	}
	if err := b.do(i, block.Flush, 0, nil); err == nil {
		t.Error("flush went well")
	}
	if err := i.Close(); err == nil {
		t.Error("close went well")
	}
	if err := b.do(i, block.Read, 0, data); !errors.Is(err, block.ErrGone) {
		t.Error(err)
	}
}

// TestBadHeaders: what is refused says why.
func TestBadHeaders(t *testing.T) {
	b := newBench(t)
	b.must("create", "-f", "qcow2", "-b", "x", "-F", "raw", "-u", "i", "8M")
	good := b.load("i", 0).b
	for _, c := range []struct {
		at   int
		data string
		why  string
	}{
		{0, "QFI\x00", "no qcow2 image"},
		{4, "\x00\x00\x00\x01", "version 1"},
		{4, "\x00\x00\x00\x04", "version 4"},
		{8, "\xff\xff\xff\xff\xff\xff\xff\xff", "name of its backing file"},
		{16, "\xff\xff\xff\xff", "name of its backing file"},
		{20, "\x00\x00\x00\x08", "clusters of 2^8"},
		{20, "\xff\xff\xff\xff", "clusters of 2^"},
		{24, "\xff\xff\xff\xff\xff\xff\xff\xff", "a disk of"},
		{24, "\x00\x00\x00\x00\x00\x00\x00\x00", "a disk of 0"},
		{32, "\x00\x00\x00\x02", "encrypted"},
		{36, "\xff\xff\xff\xff", "L1 table"},
		{40, "\xff\xff\xff\xff\xff\xff\x00\x00", "L1 table"},
		{40, "\x00\x00\x00\x00\x00\x00\x00\x08", "L1 table"},
		{48, "\x7f\xff\xff\xff\xff\xff\x00\x00", "reference counts"},
		{56, "\xff\xff\xff\xff", "reference counts"},
		{79, "\x01", "dirty"},
		{79, "\x02", "corrupt"},
		{79, "\x04", "external data file"},
		{79, "\x10", "subclusters"},
		{72, "\x01", "bit 56"},
		{96, "\x00\x00\x00\x07", "2^7 bits"},
		{100, "\xff\xff\xff\xff", "header is said"},
		{116, "\x7f\xff\xff\xff", "extension"},
		{112, "\x00\x00\x00\x00", "what format its backing file"},
		{120, "r\x1b[", "the name of its backing file"},
	} {
		bad := bytes.Clone(good)
		copy(bad[c.at:], c.data)
		d := &disk{mem: b.mem, b: bad}
		_, err := b.open(d, false)
		if err == nil || !strings.Contains(err.Error(), c.why) {
			t.Errorf("%q at %d: %v, not %s", c.data, c.at, err, c.why)
		}
		if d.closed != 1 {
			t.Errorf("%q at %d: closed %d times", c.data, c.at, d.closed)
		}
	}
	for n := range 200 {
		if _, err := b.open(&disk{mem: b.mem, b: good[:n/8*sector]}, false); n < 8 && err == nil {
			t.Error("an empty file is an image")
		}
	}
}

// FuzzImage: any file, read and written, gives errors at worst, and bounded memory.
func FuzzImage(f *testing.F) {
	dir := f.TempDir()
	for n, o := range []string{"cluster_size=512", "cluster_size=4096,compat=0.10", "cluster_size=512,refcount_bits=1"} {
		name := filepath.Join(dir, fmt.Sprint(n))
		if err := exec.Command("qemu-img", "create", "-f", "qcow2", "-o", o, name, "200K").Run(); err != nil {
			f.Skip(err)
		}
		if data, err := os.ReadFile(name); err == nil {
			f.Add(data, int64(n))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte, seed int64) {
		if len(data) > 1<<20 {
			return
		}
		b := newBench(t)
		d := &disk{mem: b.mem, b: append(bytes.Clone(data), make([]byte, sector-len(data)%sector+64<<10)...)}
		i, err := b.open(d, false)
		if err != nil {
			return
		}
		rnd := rand.New(rand.NewSource(seed))
		for range 12 {
			at := rnd.Intn(400)
			_ = b.do(i, block.Op(rnd.Intn(5)), at, make([]byte, (1+rnd.Intn(16))*sector))
		}
		_ = i.Close()
	})
}
