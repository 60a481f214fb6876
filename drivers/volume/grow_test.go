package volume

import (
	"bytes"
	"errors"
	"io"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"nidus/drivers/block"
	"nidus/drivers/block/qcow2"
	"nidus/drivers/block/ram"
	"nidus/kernel/domain/domaintest"
	"nidus/mm"
)

// run runs a program; without it the test is skipped.
func run(t *testing.T, name string, args ...string) {
	t.Helper()
	for _, d := range []string{"", "/sbin/", "/usr/sbin/"} {
		if p, err := exec.LookPath(d + name); err == nil {
			if out, err := exec.Command(p, args...).CombinedOutput(); err != nil {
				t.Fatalf("%s %q: %v: %s", name, args, err, out)
			}
			return
		}
	}
	t.Skipf("there is no %s", name)
}

// saved is a disk whose bytes are saved when it is closed.
type saved struct {
	block.Device
	host domaintest.Memory
	file string
}

func (s saved) Close() error {
	b := make([]byte, s.Info().Sectors<<block.SectorShift)
	if _, err := block.ReaderAt(s.Device, s.host).ReadAt(b, 0); err != nil && err != io.EOF {
		return err
	}
	return errors.Join(os.WriteFile(s.file, b, 0o644), s.Device.Close())
}

// TestGrow: two thin images in a file system grow at once, until that is full, and hold what
// was written.
func TestGrow(t *testing.T) {
	for name, c := range map[string]struct {
		sector uint32
		format []string
	}{
		"512":  {512, []string{"-F", "-T", "67200", "-c", "1", "-h", "16", "-s", "63"}},
		"4096": {4096, []string{"-T", "16384", "-h", "16", "-s", "63", "-M", "4096", "-c", "2"}},
	} {
		t.Run(name, func(t *testing.T) { testGrow(t, c.sector, c.format) })
	}
}

func testGrow(t *testing.T, sector uint32, format []string) {
	dir := t.TempDir()
	image := filepath.Join(dir, "image")
	names := []string{"a.qcow2", "b.qcow2"}
	run(t, "mformat", append(append([]string{"-C", "-i", image}, format...), "::")...)
	for _, n := range names {
		run(t, "qemu-img", "create", "-q", "-f", "qcow2", filepath.Join(dir, n), "64M")
		run(t, "mcopy", "-i", image, filepath.Join(dir, n), "::"+n)
	}
	b, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	machine := domaintest.New(t, 1<<15)
	host := domaintest.Memory{Pool: machine.Host.Memory}
	t.Cleanup(func() { machine.CheckFree(t) })
	v := New("vdx1", host, func(readOnly bool) (block.Device, error) {
		d, err := ram.New(ram.Config{Memory: host.Pool, Base: b, ReadOnly: readOnly, SectorSize: sector})
		return saved{d, host, image}, err
	})
	var wg sync.WaitGroup
	models, images := make([][]byte, len(names)), make([]*qcow2.Image, len(names))
	for i, n := range names {
		f, err := v.Open(n, false)
		if err != nil {
			t.Fatal(err)
		}
		if images[i], err = qcow2.Open(qcow2.Config{Device: f, Memory: host.Pool, Name: n}); err != nil {
			t.Fatal(err)
		}
	}
	for i, d := range images {
		wg.Go(func() {
			models[i] = make([]byte, 64<<20)
			if err := fill(d, host, models[i], rand.New(rand.NewSource(int64(i)))); !errors.Is(err, block.ErrNoSpace) {
				t.Errorf("at the end: %v", err)
			}
		})
	}
	wg.Wait()
	for _, d := range images {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}
	run(t, "fsck.vfat", "-n", image)
	total := int64(0)
	for i, n := range names {
		run(t, "mcopy", "-n", "-o", "-i", image, "::"+n, filepath.Join(dir, n))
		run(t, "qemu-img", "check", "-q", filepath.Join(dir, n))
		run(t, "qemu-img", "convert", "-O", "raw", filepath.Join(dir, n), filepath.Join(dir, "raw"))
		got, err := os.ReadFile(filepath.Join(dir, "raw"))
		if err != nil || !bytes.Equal(got, models[i]) {
			t.Errorf("%s has %d bytes, or others: %v", n, len(got), err)
		}
		s, _ := os.Stat(filepath.Join(dir, n))
		total += s.Size()
	}
	if total < int64(len(b))*9/10 {
		t.Errorf("full with %d bytes of %d", total, len(b))
	}
}

// fill writes to a disk at random, until that fails.
func fill(d block.Device, host domaintest.Memory, model []byte, rnd *rand.Rand) error {
	m, err := host.Alloc(0, mm.ZoneAny)
	if err != nil {
		return err
	}
	defer host.Free(m, 0)
	data := make([]byte, mm.PageSize)
	for {
		rnd.Read(data)
		host.Page(m).Write(0, data)
		at := rnd.Intn(len(model) / mm.PageSize)
		if err := block.Do(d, &block.Request{Op: block.Write, Sector: uint64(at) << 3, Segments: []block.Segment{{Frame: m, Len: mm.PageSize}}}); err != nil {
			return err
		}
		copy(model[at*mm.PageSize:], data)
	}
}

// TestFixed: a file that can't grow says why, and its tail is as it was.
func TestFixed(t *testing.T) {
	dir := t.TempDir()
	image, disk := filepath.Join(dir, "image"), filepath.Join(dir, "disk.img")
	run(t, "mformat", "-C", "-i", image, "-T", "8192", "-h", "16", "-s", "63", "::") // FAT12
	if err := os.WriteFile(disk, make([]byte, 1000), 0o644); err != nil {
		t.Fatal(err)
	}
	run(t, "mcopy", "-i", image, disk, "::disk.img")
	b, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	machine := domaintest.New(t, 256)
	host := domaintest.Memory{Pool: machine.Host.Memory}
	v := New("vdx1", host, func(readOnly bool) (block.Device, error) {
		return ram.New(ram.Config{Memory: host.Pool, Base: b, ReadOnly: readOnly})
	})
	for _, readOnly := range []bool{true, false} {
		d, err := v.Open("disk.img", readOnly)
		if err != nil {
			t.Fatal(err)
		}
		if err := d.(block.Grower).Grow(1); readOnly != errors.Is(err, block.ErrReadOnly) || !readOnly && (!errors.Is(err, block.ErrNoSpace) || !bytes.Contains([]byte(err.Error()), []byte("FAT12"))) {
			t.Error(err)
		}
		if tail := d.(*file).Tail(); tail != 1000-512 || d.Info().Sectors != 2 {
			t.Errorf("%d bytes in the last one of %d sectors", tail, d.Info().Sectors)
		}
		d.Close()
		if err := d.(block.Grower).Grow(1); !errors.Is(err, block.ErrGone) {
			t.Error(err)
		}
	}
}

// TestHoles: several guests' queues write to the holes of a file at once, on a disk with
// sectors of either size; what they wrote is there, and what they did not is zeros.
func TestHoles(t *testing.T) {
	for _, size := range []uint32{512, 4096} {
		dir := t.TempDir()
		image, file := filepath.Join(t.TempDir(), "image"), filepath.Join(dir, "disk.img")
		const bytesOf = 24<<20 + 512
		if err := errors.Join(os.WriteFile(file, []byte("here"), 0o644), os.Truncate(file, bytesOf)); err != nil {
			t.Fatal(err)
		}
		run(t, "mke2fs", "-q", "-t", "ext4", "-b", "4096", "-d", dir, image, "40M")
		b, err := os.ReadFile(image)
		if err != nil {
			t.Fatal(err)
		}
		machine := domaintest.New(t, 1<<14)
		host := domaintest.Memory{Pool: machine.Host.Memory}
		v := New("vdx1", host, func(readOnly bool) (block.Device, error) {
			d, err := ram.New(ram.Config{Memory: host.Pool, Base: b, ReadOnly: readOnly, SectorSize: size})
			return saved{d, host, image}, err
		})
		d, err := v.Open("disk.img", false)
		if err != nil {
			t.Fatal(err)
		}
		if d.Info().Prompt {
			t.Error("a write to a hole waits")
		}
		model := make([]byte, bytesOf)
		copy(model, "here")
		var wg sync.WaitGroup
		const each = 6 << 20
		for i := range 4 {
			wg.Go(func() {
				part, rnd := model[i*each:][:each], rand.New(rand.NewSource(int64(i)))
				m, err := host.Alloc(0, mm.ZoneAny)
				if err != nil {
					t.Error(err)
					return
				}
				defer host.Free(m, 0)
				for range 60 {
					data := make([]byte, (1+rnd.Intn(8))*512)
					at := rnd.Intn((each-len(data))/512) * 512
					r := &block.Request{Op: block.Write, Sector: uint64(i*each+at) >> block.SectorShift, Segments: []block.Segment{{Frame: m, Len: uint16(len(data))}}}
					if rnd.Intn(3) == 0 {
						r.Op = block.Read
					} else {
						rnd.Read(data)
						host.Page(m).Write(0, data)
						copy(part[at:], data)
					}
					if err := block.Do(d, r); err != nil {
						t.Error(err)
						return
					}
					host.Page(m).Read(0, data)
					if !bytes.Equal(data, part[at:][:len(data)]) {
						t.Errorf("other bytes at %d", i*each+at)
					}
				}
			})
		}
		wg.Wait()
		if err := d.Close(); err != nil {
			t.Error(err)
		}
		run(t, "e2fsck", "-fn", image)
		if b, err := os.ReadFile(image); err != nil || b[1024+0x3a] != 1 {
			t.Errorf("it is not marked as unmounted: %v", err)
		}
		run(t, "debugfs", "-R", "dump disk.img "+file, image)
		if got, err := os.ReadFile(file); err != nil || !bytes.Equal(got, model) {
			t.Errorf("sectors of %d: the file has other bytes: %v", size, err)
		}
		machine.CheckFree(t)
	}
}
