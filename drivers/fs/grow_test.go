package fs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"maps"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestGrow: files that grow beside each other have what was written to them and zeros, and
// the file system has no fault; until it is full, and over several times that it is opened.
func TestGrow(t *testing.T) {
	for seed, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			b := newBench(t, k, int64(seed))
			for n := range 51 {
				if err := b.grow(); err != nil {
					t.Fatal(b.name(n), err)
				}
				b.work()
				if n%17 == 16 {
					b.finish()
					b.look(b.m.b, b.name(n))
					b.checked(b.m.b, b.name(n), false)
					b.open()
				}
			}
			var err error
			for err == nil {
				err = b.grow()
			}
			full := b.extend > int64(len(b.m.b))*7/10
			if e, ok := b.s.(*ext4); ok {
				full = e.enough() < 150 // blocks; at most 100 were asked for
			}
			if !errors.Is(err, ErrFull) || !full {
				t.Errorf("full after %d bytes of %d: %v", b.extend, len(b.m.b), err)
			}
			b.finish()
			b.checked(b.m.b, "full", false)
		})
	}
}

// finish ends the work on a file system.
func (b *bench) finish() {
	b.Helper()
	if err := b.s.Finish(); err != nil {
		b.Fatal(err)
	}
	if e, ok := b.s.(*ext4); ok {
		super := b.m.b[extSuper:]
		free := uint64(binary.LittleEndian.Uint32(super[extFreeLow:]))
		if err := e.cover(); err != nil || super[extState] != extValid || free != e.w.total {
			b.Fatalf("state %d, %d blocks free of %d: %v", super[extState], free, e.w.total, err)
		}
	}
}

// TestGrowCut: whenever power goes, what was flushed is there, and the file system's own
// program repairs it without a question.
func TestGrowCut(t *testing.T) {
	for seed, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			b := newBench(t, k, int64(100+seed))
			cuts := rand.New(rand.NewSource(int64(seed)))
			for n := range 12 {
				b.work()
				b.m.Flush()
				var left []byte
				model := map[string][]byte{}
				b.m.before = func() {
					for range cuts.Intn(3) {
						image := b.cut(cuts, b.name(n))
						if cuts.Intn(12) == 0 {
							b.checked(image, b.name(n), true)
						}
						if left == nil || cuts.Intn(8) == 0 {
							left = image
							maps.Copy(model, b.model)
							for name := range model {
								model[name] = bytes.Clone(model[name])
							}
						}
					}
				}
				for range 2 {
					if err := b.grow(); err != nil {
						t.Fatal(b.name(n), err)
					}
				}
				b.m.before = nil
				if left != nil && n%3 == 0 { // and goes on with what is left
					b.m = &medium{b: left}
					s, err := Open(bytes.NewReader(left), int64(len(left)))
					if err != nil {
						t.Fatal(err)
					}
					for name, want := range model {
						b.model[name] = want[:min(len(want), len(read(t, s, left, name)))]
					}
					b.open()
				}
			}
		})
	}
}

// TestGrowFaults: a medium that fails in the middle leaves no more than a power cut does, and
// the file grows afterwards.
func TestGrowFaults(t *testing.T) {
	for seed, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			b := newBench(t, k, int64(200+seed))
			for n := range 12 {
				left := n
				b.m.fault = func() error {
					if left--; left < 0 {
						return os.ErrDeadlineExceeded
					}
					return nil
				}
				if err := b.grow(); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Fatal(err)
				}
				b.m.fault = nil
				b.work()
				b.checked(bytes.Clone(b.m.b), b.name(n), true)
				if err := b.grow(); err != nil {
					t.Fatal(b.name(n), err)
				}
				b.work()
				b.look(b.m.b, b.name(n))
			}
		})
	}
}

// TestGrowDamage: a file system that was made to do harm gives errors at worst, ends, and no file
// gets what one that is open has.
func TestGrowDamage(t *testing.T) {
	for seed, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			b := newBench(t, k, int64(300+seed))
			rnd := rand.New(rand.NewSource(int64(seed)))
			good := bytes.Clone(b.m.b)
			grew := 0
			for range 150 {
				copy(b.m.b, good)
				for range 1 + rnd.Intn(20) {
					at := rnd.Intn(min(len(good), 80<<10<<rnd.Intn(5)))
					b.m.b[at] = byte(rnd.Intn(256)) &^ byte(255*rnd.Intn(2))
				}
				grew += enlarge(t, b.m)
			}
			if grew == 0 {
				t.Error("none grew")
			}
		})
	}
}

// TestGrowTaken: a cluster that is said to be free and is an open file's goes to nobody.
func TestGrowTaken(t *testing.T) {
	b := newBenchOn(t, kinds[0], 600)
	b.open()
	f := b.s.(*fat)
	taken := *b.files["dir/a"]
	for _, table := range f.tables {
		clear(b.m.b[table+2*((taken.Extents[0].Disk-f.data)/f.cluster+2):][:2])
	}
	b.open()
	for range 2 {
		for _, name := range []string{"c", "dir/b"} {
			file := b.files[name]
			for b.s.Extend(file, 1<<10, 1<<20, b.used) == nil {
			}
			if taken.Extents[0].in([]*File{file}) {
				t.Fatalf("%s got what is dir/a's", name)
			}
		}
		f.rover, f.sought = 2, 0 // again, now that hardly anything is free
	}
	if b.files["c"].Size < 4<<20 {
		t.Errorf("only %d bytes", b.files["c"].Size)
	}
}

// enlarge has all files of a medium grow that can, and returns how many could.
func enlarge(t testing.TB, m *medium) (grew int) {
	s, err := Open(m, int64(len(m.b)))
	if err != nil {
		return 0
	}
	g, ok := s.(Grower)
	if !ok {
		return 0
	}
	var open []*File
	used := func(e Extent) bool { return e.in(open) }
	for _, name := range growing {
		f, err := s.Find(name)
		if err == nil && !slices.ContainsFunc(f.Extents, used) && g.Prepare(&f) == nil {
			open = append(open, &f)
		}
	}
	for _, f := range open {
		old := *f
		if filler, ok := s.(Filler); ok {
			_ = filler.Fill(f, f.Size/2, 3000, used)
			old = *f
		}
		if g.Extend(f, 5000, 20000, used) != nil {
			continue
		}
		grew++
		for _, e := range f.Extents {
			if end := old.end(); e.File+e.Len > end {
				skip := max(end-e.File, 0)
				if e := (Extent{e.File + skip, e.Disk + skip, e.Len - skip}); e.in(open, f) || e.in([]*File{&old}) {
					t.Fatalf("a file got %v, which is used", e)
				}
			}
		}
	}
	return grew
}

// in tells whether a piece of the disk is in a file, but for some.
func (e Extent) in(all []*File, but ...*File) bool {
	for _, f := range all {
		for _, o := range f.Extents {
			if !slices.Contains(but, f) && e.Disk < o.Disk+o.Len && o.Disk < e.Disk+e.Len {
				return true
			}
		}
	}
	return false
}

// FuzzGrow: anything may be on a disk.
func FuzzGrow(f *testing.F) {
	dir := f.TempDir()
	image, file := filepath.Join(dir, "image"), filepath.Join(dir, "c")
	if err := os.WriteFile(file, make([]byte, 3000), 0o644); err != nil {
		f.Fatal(err)
	}
	for _, args := range [][]string{
		{"/sbin/mke2fs", "-q", "-F", "-t", "ext4", "-b", "1024", "-g", "256", "-N", "16", "-O", "^has_journal,^resize_inode", "-d", dir, image, "600K"},
		{"/sbin/mke2fs", "-q", "-F", "-t", "ext4", "-b", "1024", "-N", "16", "-O", "^has_journal,^metadata_csum", "-d", dir, image, "600K"},
		{"mformat", "-C", "-i", image, "-T", "6000", "-c", "1", "-h", "16", "-s", "63", "::"},
	} {
		os.Remove(image)
		if err := exec.Command(args[0], args[1:]...).Run(); err != nil {
			continue // without the tool fuzzing begins with nothing
		}
		if args[0] == "mformat" {
			if err := exec.Command("mcopy", "-i", image, file, "::").Run(); err != nil {
				f.Fatal(err)
			}
		}
		if b, err := os.ReadFile(image); err == nil {
			m := &medium{b: append(bytes.Clone(b), make([]byte, 3<<20)...)}
			if enlarge(f, m) == 0 {
				f.Errorf("%q: it does not grow", args)
			}
			f.Add(bytes.TrimRight(b, "\x00"))
		}
	}
	f.Fuzz(func(t *testing.T, image []byte) {
		if len(image) < 1<<20 {
			enlarge(t, &medium{b: append(bytes.Clone(image), make([]byte, 3<<20)...)})
		}
	})
}

// TestFATFixed: a FAT that was not unmounted, or is another one, is not changed, and says why.
func TestFATFixed(t *testing.T) {
	b := newBenchOn(t, kinds[1], 700)
	s, err := Open(b.m, int64(len(b.m.b)))
	if err != nil {
		t.Fatal(err)
	}
	table := int(s.(*fat).table)
	good := bytes.Clone(b.m.b)
	for _, c := range []struct {
		at   int
		v    byte
		want string
	}{{0x41, 1, "fsck.vfat -a"}, {table + 7, 0x07, "fsck.vfat -a"}, {table + 7, 0x0b, "fsck.vfat -a"}, {0x28, 0x80, "copies"}, {0x2a, 1, "version"}} {
		copy(b.m.b, good)
		b.m.b[c.at] = c.v
		want := bytes.Clone(b.m.b)
		s, err := Open(b.m, int64(len(b.m.b)))
		if err != nil {
			t.Fatal(err)
		}
		f, err := s.Find("c")
		if err != nil {
			t.Fatal(err)
		}
		for _, err := range []error{s.(Grower).Prepare(&f), s.(Grower).Extend(&f, 512, 512, b.used)} {
			if !errors.Is(err, ErrFixed) || !strings.Contains(err.Error(), c.want) || !bytes.Equal(b.m.b, want) {
				t.Errorf("%#x at %#x: %v, or it was written", c.v, c.at, err)
			}
		}
	}
	copy(b.m.b, good)
	b.open() // and as it was it grows
	if err := b.grow(); err != nil {
		t.Error(err)
	}
}
