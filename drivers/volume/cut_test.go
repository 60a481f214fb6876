package volume

import (
	"bytes"
	"encoding/json"
	"errors"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"nidus/drivers/block"
	"nidus/drivers/block/qcow2"
	"nidus/kernel/domain/domaintest"
	"nidus/mm"
)

// cached is a disk with a write cache: what was not flushed may be lost, sector by sector.
type cached struct {
	mu     sync.Mutex
	mem    mm.DirectMap
	b      []byte
	cache  []was
	before func(block.Op) // each request but reads
}

type was struct {
	at   uint64
	data []byte
}

const unit = 1 << block.SectorShift

func (d *cached) Info() block.Info {
	return block.Info{Sectors: uint64(len(d.b) / unit), SectorSize: unit, PhysicalSize: unit, CanFlush: true, MaxSegments: 64, MaxBytes: 256 << 10, Name: "disk"}
}

func (d *cached) Close() error { return nil }

func (d *cached) Submit(r *block.Request) {
	d.mu.Lock()
	defer d.mu.Unlock()
	i := d.Info()
	_, err := i.Check(r)
	if d.before != nil && r.Op != block.Read {
		d.before(r.Op)
	}
	at := r.Sector * unit
	for _, g := range r.Segments {
		if err != nil {
			break
		}
		p, b := d.mem.Page(g.Frame), d.b[at:at+uint64(g.Len)]
		if r.Op == block.Read {
			p.Write(int(g.Off), b)
		} else {
			for s := uint64(0); s < uint64(g.Len); s += unit {
				d.cache = append(d.cache, was{at + s, bytes.Clone(b[s:][:unit])})
			}
			p.Read(int(g.Off), b)
		}
		at += uint64(g.Len)
	}
	if r.Op == block.Flush {
		d.cache = nil
	}
	r.Done(r, err)
}

// cut is what the disk may have after a power cut.
func (d *cached) cut(rnd *rand.Rand) []byte {
	b := bytes.Clone(d.b)
	lost := rnd.Intn(11)
	for i := len(d.cache) - 1; i >= 0; i-- {
		if rnd.Intn(10) < lost {
			copy(b[d.cache[i].at:], d.cache[i].data)
		}
	}
	return b
}

// guest is who has a disk, and what it may hold.
type guest struct {
	name  string
	d     block.Device
	model []byte
	since map[int][][]byte // by sector: what else it may be since the last flush
}

// put writes a few sectors at random, or flushes.
func (g *guest) put(t *testing.T, host domaintest.Memory, m mm.MFN, rnd *rand.Rand) {
	if rnd.Intn(8) == 0 {
		if err := block.Do(g.d, &block.Request{Op: block.Flush}); err != nil {
			t.Fatal(err)
		}
		clear(g.since)
		return
	}
	data := make([]byte, (1+rnd.Intn(8))*unit)
	rnd.Read(data)
	at := rnd.Intn((len(g.model) - len(data)) / unit)
	for s := 0; s < len(data); s += unit {
		g.since[at+s/unit] = append(g.since[at+s/unit], bytes.Clone(g.model[at*unit+s:][:unit]), data[s:][:unit])
	}
	host.Page(m).Write(0, data)
	if err := block.Do(g.d, &block.Request{Op: block.Write, Sector: uint64(at), Segments: []block.Segment{{Frame: m, Len: uint16(len(data))}}}); err != nil {
		t.Fatal(err)
	}
	copy(g.model[at*unit:], data)
}

// check compares what is in a file with what the guest flushed, or wrote since.
func (g *guest) check(t *testing.T, dir string) {
	t.Helper()
	file := filepath.Join(dir, g.name)
	if filepath.Ext(g.name) == ".qcow2" {
		cmd := exec.Command("qemu-img", "check", "--output=json", file)
		out, err := cmd.Output()
		var found struct {
			Errors int `json:"check-errors"`
			Bad    int `json:"corruptions"`
		}
		if e := json.Unmarshal(out, &found); e != nil || found.Errors+found.Bad > 0 {
			t.Fatalf("qemu-img check: %v: %s", err, out)
		}
		run(t, "qemu-img", "convert", "-O", "raw", file, file+".raw")
		file += ".raw"
	}
	got, err := os.ReadFile(file)
	if err != nil || len(got) != len(g.model) {
		t.Fatalf("%s has %d bytes: %v", g.name, len(got), err)
	}
	for s := range len(got) / unit {
		is := got[s*unit:][:unit]
		ok := bytes.Equal(is, g.model[s*unit:][:unit])
		for _, m := range g.since[s] {
			ok = ok || bytes.Equal(is, m)
		}
		if !ok {
			t.Fatalf("sector %d of %s has neither what was flushed nor what was written since", s, g.name)
		}
	}
}

// TestPowerCut: thin images and files with holes are written at once; whenever power goes,
// the file system's own program repairs it without a question, and what was flushed is there.
func TestPowerCut(t *testing.T) {
	for name, c := range map[string]struct {
		files []string
		make  func(t *testing.T, image, dir string, files []string)
		fix   []string
		get   func(t *testing.T, image, dir, file string)
	}{
		"FAT32": {[]string{"a.qcow2", "b.qcow2"}, func(t *testing.T, image, dir string, files []string) {
			run(t, "mformat", "-C", "-i", image, "-F", "-T", "67200", "-c", "1", "-h", "16", "-s", "63", "::")
			for _, n := range files {
				run(t, "mcopy", "-i", image, filepath.Join(dir, n), "::"+n)
			}
		}, []string{"fsck.vfat", "-a"}, func(t *testing.T, image, dir, file string) {
			run(t, "mcopy", "-n", "-o", "-i", image, "::"+file, filepath.Join(dir, file))
		}},
		"ext4": {[]string{"a.qcow2", "c.img"}, func(t *testing.T, image, dir string, files []string) {
			run(t, "mke2fs", "-q", "-t", "ext4", "-b", "1024", "-g", "4096", "-d", dir, image, "32M")
		}, []string{"e2fsck", "-p"}, func(t *testing.T, image, dir, file string) {
			run(t, "debugfs", "-R", "dump "+file+" "+filepath.Join(dir, file), image)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			dir, rnd := t.TempDir(), rand.New(rand.NewSource(1))
			image := filepath.Join(t.TempDir(), "image")
			const size = 12 << 20
			for _, n := range c.files {
				if filepath.Ext(n) == ".qcow2" {
					run(t, "qemu-img", "create", "-q", "-f", "qcow2", filepath.Join(dir, n), "12M")
				} else if err := errors.Join(os.WriteFile(filepath.Join(dir, n), nil, 0o644), os.Truncate(filepath.Join(dir, n), size)); err != nil {
					t.Fatal(err)
				}
			}
			c.make(t, image, dir, c.files)
			b, err := os.ReadFile(image)
			if err != nil {
				t.Fatal(err)
			}
			machine := domaintest.New(t, 2048)
			host := domaintest.Memory{Pool: machine.Host.Memory}
			d := &cached{mem: host.Pool, b: b}
			v := New("vdx1", host, func(readOnly bool) (block.Device, error) { return d, nil })
			var all []*guest
			for _, n := range c.files {
				g := &guest{name: n, model: make([]byte, size), since: map[int][][]byte{}}
				if g.d, err = v.Open(n, false); err != nil {
					t.Fatal(err)
				}
				if filepath.Ext(n) == ".qcow2" {
					if g.d, err = qcow2.Open(qcow2.Config{Device: g.d, Memory: host.Pool, Name: n}); err != nil {
						t.Fatal(err)
					}
				}
				all = append(all, g)
			}
			m, err := host.Alloc(0, mm.ZoneAny)
			if err != nil {
				t.Fatal(err)
			}
			look := func(b []byte) {
				if err := os.WriteFile(image, b, 0o644); err != nil {
					t.Fatal(err)
				}
				out, err := exec.Command(fsck(c.fix[0]), append(c.fix[1:], image)...).CombinedOutput()
				var exit *exec.ExitError
				if err != nil && (!errors.As(err, &exit) || exit.ExitCode() > 1) {
					t.Fatalf("%s: %v: %s", c.fix, err, out)
				}
				for _, g := range all {
					c.get(t, image, dir, g.name)
					g.check(t, dir)
				}
			}
			cuts := 0
			d.before = func(op block.Op) {
				// What is lost at a flush would be missed most.
				if often := map[bool]int{true: 5, false: 60}[op == block.Flush]; rnd.Intn(often) == 0 && cuts < 40 {
					cuts++
					look(d.cut(rnd))
				}
			}
			for range 500 {
				all[rnd.Intn(len(all))].put(t, host, m, rnd)
			}
			d.before = nil
			host.Free(m, 0)
			for _, g := range all {
				if err := g.d.Close(); err != nil {
					t.Error(err)
				}
				clear(g.since)
			}
			if len(d.cache) != 0 || cuts < 10 {
				t.Errorf("%d sectors were not flushed; %d cuts", len(d.cache), cuts)
			}
			look(d.b)
			machine.CheckFree(t)
		})
	}
}

// fsck is where a program for file systems is.
func fsck(name string) string {
	for _, d := range []string{"", "/sbin/", "/usr/sbin/"} {
		if p, err := exec.LookPath(d + name); err == nil {
			return p
		}
	}
	return name
}
