package qcow2

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"nidus/drivers/block"
	"nidus/kernel/domain/domaintest"
	"nidus/mm"
)

const sector = 512

// disk is a file of bytes with a write cache: what was not flushed may be lost.
type disk struct {
	mem    mm.DirectMap
	b      []byte
	cache  []write // since the last flush
	closed int
	fail   error
	fault  func(*block.Request) error // of each request; may be nil
}

type write struct {
	at   int
	data []byte
}

func (d *disk) Info() block.Info {
	return block.Info{Sectors: uint64(len(d.b) / sector), SectorSize: sector, PhysicalSize: sector, CanFlush: true, MaxSegments: 64, MaxBytes: 256 << 10, Name: "disk"}
}

func (d *disk) Close() error { d.closed++; return nil }

func (d *disk) Submit(r *block.Request) {
	i := d.Info()
	_, err := i.Check(r)
	if err == nil {
		err = d.fail
	}
	if err == nil && d.fault != nil {
		err = d.fault(r)
	}
	at := int(r.Sector) * sector
	for _, g := range r.Segments {
		if err != nil {
			break
		}
		p, b := d.mem.Page(g.Frame), d.b[at:at+int(g.Len)]
		if r.Op == block.Read {
			p.Write(int(g.Off), b)
		} else {
			d.cache = append(d.cache, write{at, bytes.Clone(b)})
			p.Read(int(g.Off), b)
		}
		at += int(g.Len)
	}
	if r.Op == block.Flush {
		d.cache = nil
	}
	r.Done(r, err)
}

// cut is what the file may be after a power cut: some of the writes that were not flushed
// are not there.
func (d *disk) cut(rnd *rand.Rand) []byte {
	b := bytes.Clone(d.b)
	for i := len(d.cache) - 1; i >= 0; i-- {
		if rnd.Intn(2) == 0 {
			copy(b[d.cache[i].at:], d.cache[i].data)
		}
	}
	return b
}

// bench is an image on a disk, with frames for requests.
type bench struct {
	*testing.T
	m      *domaintest.Machine
	mem    *mm.Pool
	frames []mm.MFN
	dir    string
}

func newBench(t *testing.T) *bench {
	if _, err := exec.LookPath("qemu-img"); err != nil {
		t.Skip(err)
	}
	m := domaintest.New(t, 1024)
	b := &bench{T: t, m: m, mem: m.Host.Memory, dir: t.TempDir()}
	for range 16 {
		f, _ := b.mem.AllocFrames(0, mm.FrameKernel, mm.DomIDXen, mm.ZoneAny)
		b.frames = append(b.frames, f)
	}
	t.Cleanup(func() {
		for _, f := range b.frames {
			b.mem.FreeFrames(f, 0)
		}
		m.CheckFree(t)
	})
	return b
}

func (b *bench) qemuImg(args ...string) (string, error) {
	cmd := exec.Command("qemu-img", args...)
	cmd.Dir = b.dir
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (b *bench) must(args ...string) string {
	b.Helper()
	out, err := b.qemuImg(args...)
	if err != nil {
		b.Fatalf("qemu-img %q: %v: %s", args, err, out)
	}
	return out
}

// load reads a file, with room for more bytes.
func (b *bench) load(name string, more int) *disk {
	data, err := os.ReadFile(filepath.Join(b.dir, name))
	if err != nil {
		b.Fatal(err)
	}
	data = append(data, make([]byte, (len(data)+sector-1)/sector*sector-len(data)+more)...)
	return &disk{mem: b.mem, b: data}
}

func (b *bench) save(name string, data []byte) {
	if err := os.WriteFile(filepath.Join(b.dir, name), data, 0o644); err != nil {
		b.Fatal(err)
	}
}

func (b *bench) open(d *disk, readOnly bool) (*Image, error) {
	return Open(Config{Device: d, Memory: b.mem, ReadOnly: readOnly, Name: "i", Backing: func(name, format string) (block.Device, error) {
		below := b.load(name, 0)
		if format == "raw" {
			return below, nil
		}
		return b.open(below, true)
	}})
}

// do does one request over data, which a read fills.
func (b *bench) do(d block.Device, op block.Op, at int, data []byte) error {
	r := &block.Request{Op: op, Sector: uint64(at), Sectors: uint64(len(data) / sector)}
	rest := data
	for i := 0; len(rest) > 0 && op != block.Discard && op != block.Flush; i++ {
		n := min(len(rest), mm.PageSize)
		b.mem.Page(b.frames[i]).Write(0, rest[:n])
		r.Segments = append(r.Segments, block.Segment{Frame: b.frames[i], Len: uint16(n)})
		rest = rest[n:]
	}
	err := block.Do(d, r)
	for i := 0; len(data) > 0 && op == block.Read; i++ {
		n := min(len(data), mm.PageSize)
		b.mem.Page(b.frames[i]).Read(0, data[:n])
		data = data[n:]
	}
	return err
}

// content compares an image with what it should hold, as qemu-img reads it.
func (b *bench) content(image string, want []byte) {
	b.Helper()
	b.must("convert", "-O", "raw", image, "raw")
	got, err := os.ReadFile(filepath.Join(b.dir, "raw"))
	if err != nil {
		b.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		for i := range got {
			if i >= len(want) || got[i] != want[i] {
				b.Fatalf("qemu-img reads another byte at %d (sector %d) of %d", i, i/sector, len(want))
			}
		}
		b.Fatalf("qemu-img reads %d bytes, not %d", len(got), len(want))
	}
}

// kindsOfImages are what qemu-img is asked to make, and whether a file is below.
var kindsOfImages = []struct {
	name, options  string
	below, packing bool
	snapshot       bool
}{
	{name: "plain"},
	{name: "version 2", options: "compat=0.10"},
	{name: "small clusters", options: "cluster_size=512,refcount_bits=8"},
	{name: "large clusters", options: "cluster_size=2M,refcount_bits=64"},
	{name: "one bit", options: "cluster_size=4096,refcount_bits=1"},
	{name: "lazy", options: "lazy_refcounts=on"},
	{name: "backing", below: true},
	{name: "backing, version 2", options: "compat=0.10,cluster_size=4096", below: true},
	{name: "compressed", packing: true},
	{name: "compressed by zstd", options: "compression_type=zstd,cluster_size=4096", packing: true},
	{name: "compressed, version 2", options: "compat=0.10", packing: true},
	{name: "snapshot", options: "cluster_size=4096", packing: true, snapshot: true},
	{name: "metadata preallocated", options: "preallocation=metadata,cluster_size=4096"},
}

const imageBytes = 3<<20 + 7*sector

// TestModel: what was written and discarded at random is what qemu-img reads, and its
// check finds nothing.
func TestModel(t *testing.T) {
	for seed, k := range kindsOfImages {
		t.Run(k.name, func(t *testing.T) {
			b := newBench(t)
			rnd := rand.New(rand.NewSource(int64(seed)))
			model := b.make(rnd, k.options, k.below, k.packing, k.snapshot)
			d := b.load("i", 12<<20)
			i, err := b.open(d, false)
			if err != nil {
				t.Fatal(err)
			}
			for n := range 600 {
				b.step(i, rnd, model, nil, n)
			}
			if err := i.Close(); err != nil {
				t.Fatal(err)
			}
			if d.closed != 1 || len(d.cache) != 0 {
				t.Errorf("closed %d times, %d writes not flushed", d.closed, len(d.cache))
			}
			b.save("i", d.b)
			if out, err := b.qemuImg("check", "i"); err != nil {
				t.Fatalf("qemu-img check: %v: %s", err, out)
			}
			b.content("i", model)
		})
	}
}

// make makes the image "i" and returns what its disk holds.
func (b *bench) make(rnd *rand.Rand, options string, below, packing, snapshot bool) []byte {
	model := make([]byte, imageBytes)
	rnd.Read(model[:1<<20])
	copy(model[2<<20:], bytes.Repeat([]byte("compress me "), 20000))
	b.save("base", model)
	args := []string{"-f", "qcow2"}
	if options != "" {
		args = append(args, "-o", options)
	}
	switch {
	case packing:
		b.must(append([]string{"convert", "-c", "-O", "qcow2", "base", "i"}, args[2:]...)...)
	case below:
		// The file below is shorter than the disk, and an image itself.
		b.save("base", model[:2<<20])
		b.must("convert", "-f", "raw", "-O", "qcow2", "base", "middle")
		b.must(append(append([]string{"create"}, args...), "-b", "middle", "-F", "qcow2", "i", fmt.Sprint(imageBytes))...)
		clear(model[2<<20:])
	default:
		b.must(append(append([]string{"create"}, args...), "i", fmt.Sprint(imageBytes))...)
		clear(model)
	}
	if snapshot {
		b.must("snapshot", "-c", "s", "i")
	}
	return model
}

// step does one random request; may is what sectors may hold that were written since the
// last flush (nil: no matter).
func (b *bench) step(i *Image, rnd *rand.Rand, model []byte, may map[int][][]byte, n int) {
	at := rnd.Intn(imageBytes / sector)
	count := 1 + rnd.Intn(min(128, imageBytes/sector-at))
	if rnd.Intn(2) == 0 {
		count = min(count, 9)
	}
	data := make([]byte, count*sector)
	part := model[at*sector:][:len(data)]
	note := func(want []byte) {
		for s := 0; may != nil && s < count; s++ {
			may[at+s] = append(may[at+s], bytes.Clone(part[s*sector:][:sector]), want[s*sector:][:sector])
		}
	}
	switch op := rnd.Intn(20); {
	case op < 8:
		if err := b.do(i, block.Read, at, data); err != nil {
			b.Fatalf("step %d: %v", n, err)
		}
		if !bytes.Equal(data, part) {
			b.Fatalf("step %d: %d sectors at %d are others", n, count, at)
		}
	case op < 17:
		rnd.Read(data)
		note(data)
		if err := b.do(i, block.Write+block.Op(rnd.Intn(40)/39), at, data); err != nil {
			b.Fatalf("step %d: %v", n, err)
		}
		copy(part, data)
	case op < 19:
		note(data)
		if err := b.do(i, block.Discard, at, data); err != nil {
			b.Fatalf("step %d: %v", n, err)
		}
		// It may read as what it was, or as zeros, cluster by cluster.
		if err := b.readAll(i, at, part, data); err != nil {
			b.Fatalf("step %d: %v", n, err)
		}
	default:
		if err := b.do(i, block.Flush, 0, nil); err != nil {
			b.Fatalf("step %d: %v", n, err)
		}
		clear(may)
	}
}

// readAll takes into the model what was discarded: each sector is as it was, or zeros.
func (b *bench) readAll(i *Image, at int, part, buf []byte) error {
	if err := b.do(i, block.Read, at, buf); err != nil {
		return err
	}
	for s := 0; s < len(part); s += sector {
		got := buf[s:][:sector]
		if !bytes.Equal(got, part[s:][:sector]) && !bytes.Equal(got, make([]byte, sector)) {
			return errors.New("a sector that was discarded is neither zeros nor what it was")
		}
	}
	copy(part, buf)
	return nil
}

// TestPowerCut: whenever the power goes, the image has no errors but clusters that are
// lost, and what was flushed is there.
func TestPowerCut(t *testing.T) {
	for seed, k := range kindsOfImages {
		t.Run(k.name, func(t *testing.T) {
			b := newBench(t)
			rnd := rand.New(rand.NewSource(int64(100 + seed)))
			model := b.make(rnd, k.options, k.below, k.packing, k.snapshot)
			d := b.load("i", 12<<20)
			i, err := b.open(d, false)
			if err != nil {
				t.Fatal(err)
			}
			may := map[int][][]byte{}
			for n := range 150 {
				b.step(i, rnd, model, may, n)
				if n%15 != 14 {
					continue
				}
				b.save("cut", d.cut(rnd))
				cmd := exec.Command("qemu-img", "check", "--output=json", "cut")
				cmd.Dir = b.dir
				out, err := cmd.Output()
				var found struct {
					Errors int `json:"check-errors"`
					Bad    int `json:"corruptions"`
				}
				if e := json.Unmarshal(out, &found); e != nil || found.Errors+found.Bad > 0 {
					t.Fatalf("step %d: qemu-img check: %v: %s", n, err, out)
				}
				b.must("convert", "-O", "raw", "cut", "raw")
				got, err := os.ReadFile(filepath.Join(b.dir, "raw"))
				if err != nil {
					t.Fatal(err)
				}
				for s := 0; s < imageBytes/sector; s++ {
					is := got[s*sector:][:sector]
					ok := bytes.Equal(is, model[s*sector:][:sector])
					for _, m := range may[s] {
						ok = ok || bytes.Equal(is, m)
					}
					if !ok {
						t.Fatalf("step %d: sector %d has neither what was flushed nor what was written since", n, s)
					}
				}
			}
			if err := i.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}
