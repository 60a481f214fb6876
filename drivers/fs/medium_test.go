package fs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
)

// medium is a disk with a write cache: what was not flushed may be lost, in sectors.
type medium struct {
	b     []byte
	cache []write // since the last flush
	// before is called before each change of what is on the medium; may be nil.
	before func()
	fault  func() error // of each write; may be nil
}

type write struct {
	at  int
	was []byte
}

const sector = 512

func (m *medium) ReadAt(b []byte, off int64) (int, error) {
	return bytes.NewReader(m.b).ReadAt(b, off)
}

func (m *medium) WriteAt(b []byte, off int64) (int, error) {
	if m.before != nil {
		m.before()
	}
	if m.fault != nil {
		if err := m.fault(); err != nil {
			return 0, err
		}
	}
	if off < 0 || off > int64(len(m.b)-len(b)) {
		return 0, io.EOF
	}
	for at := int(off) &^ (sector - 1); at < int(off)+len(b); at += sector {
		m.cache = append(m.cache, write{at, bytes.Clone(m.b[at:][:sector])})
	}
	return copy(m.b[off:], b), nil
}

func (m *medium) Zero(off, n int64) error {
	_, err := m.WriteAt(make([]byte, n), off)
	return err
}

func (m *medium) Flush() error {
	if m.before != nil {
		m.before()
	}
	m.cache = nil
	return nil
}

// cut is what the medium may have after a power cut: some of the sectors that were not flushed
// are as they were. In some cuts most are, in some few.
func (m *medium) cut(rnd *rand.Rand) []byte {
	b := bytes.Clone(m.b)
	lost := rnd.Intn(11)
	for i := len(m.cache) - 1; i >= 0; i-- {
		if rnd.Intn(10) < lost {
			copy(b[m.cache[i].at:], m.cache[i].was)
		}
	}
	return b
}

// tool runs a program of those that people have for their file systems, and returns how it
// ended.
func tool(t *testing.T, name string, args ...string) (int, string) {
	t.Helper()
	for _, d := range []string{"", "/sbin/", "/usr/sbin/"} {
		if p, err := exec.LookPath(d + name); err == nil {
			out, err := exec.Command(p, args...).CombinedOutput()
			var exit *exec.ExitError
			if err != nil && !errors.As(err, &exit) {
				t.Fatal(err)
			} else if err != nil {
				return exit.ExitCode(), string(out)
			}
			return 0, string(out)
		}
	}
	t.Skipf("there is no %s", name)
	return 0, ""
}

func must(t *testing.T, name string, args ...string) {
	t.Helper()
	if code, out := tool(t, name, args...); code != 0 {
		t.Fatalf("%s %q: %d: %s", name, args, code, out)
	}
}

// kind is a file system whose files grow.
type kind struct {
	name  string
	make  func(t *testing.T, image string)
	check func(image string) []string // a program that finds any fault
	fix   func(image string) []string // one that repairs what a power cut leaves
	// sound looks at the files of a file system as it is: no part of one is free, or another
	// one's.
	sound func(t *testing.T, s System, names []string)
}

func fatKind(name string, args ...string) kind {
	return kind{name, func(t *testing.T, image string) {
		must(t, "mformat", append(append([]string{"-C", "-i", image, "-h", "16", "-s", "63"}, args...), "::")...)
		// What is free has something of somebody else's.
		dir := filepath.Dir(image)
		junk := filepath.Join(dir, "junk")
		i, err := os.Stat(image)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(junk, bytes.Repeat([]byte("secret! "), int(i.Size()/10)), 0o644); err != nil {
			t.Fatal(err)
		}
		must(t, "mcopy", "-Q", "-i", image, junk, "::")
		must(t, "mdel", "-i", image, "::junk")
		must(t, "mmd", "-i", image, "::dir")
		for _, f := range growing {
			must(t, "mcopy", "-Q", "-i", image, filepath.Join(dir, filepath.Base(f)), "::"+filepath.Dir(f))
		}
	}, func(image string) []string { return []string{"fsck.vfat", "-n", image} }, func(image string) []string { return []string{"fsck.vfat", "-a", image} }, fatSound}
}

// fatSound follows the chains to their ends, which may be behind the files'.
func fatSound(t *testing.T, s System, names []string) {
	t.Helper()
	f, owner := s.(*fat), map[uint32]string{}
	for _, name := range names {
		file, err := f.Find(name)
		if err != nil {
			t.Fatal(err)
		}
		p := f.page(4096)
		for c := uint32((file.Extents[0].Disk-f.data)/f.cluster) + 2; c < fatEnd; {
			e, err := p.entry(c)
			if err != nil || e == 0 || owner[c] != "" {
				t.Fatalf("cluster %d of %s: its entry is %#x, it is %q's already: %v", c, name, e, owner[c], err)
			}
			owner[c], c = name, e
		}
	}
}

var growing = []string{"dir/a", "dir/b", "c", "a file with a long name"}

var kinds = []kind{
	fatKind("FAT16", "-T", "32768", "-c", "2"),
	fatKind("FAT32", "-F", "-T", "67200", "-c", "1"),
}

// bench is a file system on a medium, with files and what they should hold.
type bench struct {
	*testing.T
	k      kind
	m      *medium
	s      Grower
	files  map[string]*File
	model  map[string][]byte
	image  string
	rnd    *rand.Rand
	extend int64 // bytes that were added
}

func newBench(t *testing.T, k kind, seed int64) *bench {
	b := &bench{T: t, k: k, rnd: rand.New(rand.NewSource(seed)), image: filepath.Join(t.TempDir(), "image"), files: map[string]*File{}, model: map[string][]byte{}}
	for i, name := range growing {
		data := make([]byte, 1000+i*40000)
		b.rnd.Read(data)
		b.model[name] = data
		if err := os.WriteFile(filepath.Join(filepath.Dir(b.image), filepath.Base(name)), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	k.make(t, b.image)
	image, err := os.ReadFile(b.image)
	if err != nil {
		t.Fatal(err)
	}
	b.m = &medium{b: image}
	b.open()
	return b
}

func (b *bench) open() {
	b.Helper()
	s, err := Open(b.m, int64(len(b.m.b)))
	if err != nil {
		b.Fatal(err)
	}
	b.s = s.(Grower)
	for _, name := range growing {
		f, err := s.Find(name)
		if err != nil {
			b.Fatal(err)
		}
		b.files[name] = &f
		if err := b.s.Prepare(&f); err != nil {
			b.Fatal(err)
		}
		b.model[name] = append(b.model[name], make([]byte, f.Size-int64(len(b.model[name])))...)
	}
}

func (b *bench) used(e Extent) bool { return e.in(slices.Collect(maps.Values(b.files))) }

// grow makes a random file longer.
func (b *bench) grow() error {
	name := growing[b.rnd.Intn(len(growing))]
	f := b.files[name]
	least := int64(1+b.rnd.Intn(100)) << 9
	old := f.Size
	err := b.s.Extend(f, least, least+b.rnd.Int63n(200<<10), b.used)
	if err != nil {
		return err
	}
	if f.Size < old+least || f.Size > old+least+300<<10 {
		b.Fatalf("%s had %d bytes, %d more were asked for, it has %d", name, old, least, f.Size)
	}
	b.extend += f.Size - old
	b.model[name] = append(b.model[name], make([]byte, f.Size-old)...)
	return nil
}

// work writes some sectors of a random file in their place, as its user does.
func (b *bench) work() {
	name := growing[b.rnd.Intn(len(growing))]
	f, model := b.files[name], b.model[name]
	for range 10 {
		at := b.rnd.Int63n(f.Size) &^ (sector - 1)
		data := make([]byte, sector)
		b.rnd.Read(data)
		if f.place(at) == 0 {
			continue
		}
		b.m.WriteAt(data, f.place(at))
		copy(model[at:], data)
	}
}

// look compares what another one finds on an image with the model; the files may be longer, with
// zeros.
func (b *bench) look(image []byte, what string) {
	b.Helper()
	s, err := Open(bytes.NewReader(image), int64(len(image)))
	if err != nil {
		b.Fatalf("%s: %v", what, err)
	}
	for name, want := range b.model {
		got := read(b.T, s, image, name)
		n := min(len(got), len(want))
		if !bytes.Equal(got[:n], want[:n]) || len(bytes.Trim(got[n:], "\x00")) > 0 || len(bytes.Trim(want[n:], "\x00")) > 0 {
			b.Fatalf("%s: %s has %d bytes, not %d, or others", what, name, len(got), len(want))
		}
	}
}

// checked has the file system's own programs look at an image, and repair it before if power
// was cut.
func (b *bench) checked(image []byte, what string, cut bool) {
	b.Helper()
	if err := os.WriteFile(b.image, image, 0o644); err != nil {
		b.Fatal(err)
	}
	if cut {
		p := b.k.fix(b.image)
		if code, out := tool(b.T, p[0], p[1:]...); code > 1 {
			b.Fatalf("%s: %s: %d: %s", what, p, code, out)
		}
	}
	p := b.k.check(b.image)
	if code, out := tool(b.T, p[0], p[1:]...); code != 0 {
		b.Fatalf("%s: %s: %d: %s", what, p, code, out)
	}
	image, err := os.ReadFile(b.image)
	if err != nil {
		b.Fatal(err)
	}
	b.look(image, what+", checked")
}

// cut has a look at what the medium may have after a power cut.
func (b *bench) cut(rnd *rand.Rand, what string) []byte {
	b.Helper()
	image := b.m.cut(rnd)
	b.look(image, what)
	s, err := Open(bytes.NewReader(image), int64(len(image)))
	if err != nil {
		b.Fatal(err)
	}
	b.k.sound(b.T, s, growing)
	return image
}

func (b *bench) name(n int) string { return fmt.Sprintf("%s, step %d", b.k.name, n) }
