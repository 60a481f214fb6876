package fs

import (
	"bytes"
	"errors"
	"math/rand"
	"os"
	"slices"
	"testing"
)

// TestGrow: files that grow beside each other have what was written to them and zeros, and
// the file system has no fault; until it is full, and over several times that it is opened.
func TestGrow(t *testing.T) {
	for seed, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			b := newBench(t, k, int64(seed))
			for n := range 120 {
				if err := b.grow(); err != nil {
					t.Fatal(b.name(n), err)
				}
				b.work()
				if n%40 == 39 {
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
			if !errors.Is(err, ErrFull) || b.extend < int64(len(b.m.b))*8/10 {
				t.Errorf("full after %d bytes of %d: %v", b.extend, len(b.m.b), err)
			}
			b.finish()
			b.checked(b.m.b, "full", false)
		})
	}
}

// finish ends the work on a file system.
func (b *bench) finish() {}

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
				var all [][]byte
				b.m.before = func() {
					for range cuts.Intn(3) {
						image := b.cut(cuts, b.name(n))
						if cuts.Intn(8) == 0 {
							all = append(all, image)
						}
					}
				}
				for range 2 {
					if err := b.grow(); err != nil {
						t.Fatal(b.name(n), err)
					}
				}
				b.m.before = nil
				for _, image := range all {
					b.checked(image, b.name(n), true)
				}
				if len(all) > 0 && n%3 == 0 { // and goes on with what is left
					b.m = &medium{b: all[cuts.Intn(len(all))]}
					for name, want := range b.model {
						s, err := Open(bytes.NewReader(b.m.b), int64(len(b.m.b)))
						if err != nil {
							t.Fatal(err)
						}
						b.model[name] = want[:min(len(want), len(read(t, s, b.m.b, name)))]
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

// enlarge has all files of a medium grow that can, and returns how many could.
func enlarge(t *testing.T, m *medium) (grew int) {
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
	f.Fuzz(func(t *testing.T, image []byte) {
		if len(image) < 1<<20 {
			enlarge(t, &medium{b: append(bytes.Clone(image), make([]byte, 1<<20)...)})
		}
	})
}
