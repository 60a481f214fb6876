package fs

import (
	"bytes"
	"encoding/binary"
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
	holes bool
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
	}, func(image string) []string { return []string{"fsck.vfat", "-n", image} }, func(image string) []string { return []string{"fsck.vfat", "-a", image} }, fatSound, false}
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

func extKind(name, size string, args ...string) kind {
	return kind{"ext4 " + name, func(t *testing.T, image string) {
		dir := filepath.Dir(image)
		root := filepath.Join(dir, "root")
		for _, f := range growing {
			to := filepath.Join(root, f)
			if err := errors.Join(os.MkdirAll(filepath.Dir(to), 0o755), os.Rename(filepath.Join(dir, filepath.Base(f)), to)); err != nil {
				t.Fatal(err)
			}
		}
		for _, name := range sparse {
			to := filepath.Join(root, name)
			data, err := os.ReadFile(to)
			if err != nil {
				data, err = os.ReadFile(filepath.Join(dir, name))
			}
			if err != nil {
				t.Fatal(err)
			}
			f, err := os.Create(to)
			if err != nil {
				t.Fatal(err)
			}
			for at := 0; at < len(data); at += 1024 {
				if part := data[at:min(at+1024, len(data))]; len(bytes.Trim(part, "\x00")) > 0 {
					f.WriteAt(part, int64(at))
				}
			}
			if err := errors.Join(f.Truncate(int64(len(data))), f.Close()); err != nil {
				t.Fatal(err)
			}
		}
		f, err := os.Create(image)
		if err != nil {
			t.Fatal(err)
		}
		for range 16 << 5 {
			f.Write(bytes.Repeat([]byte("secret! "), 4096))
		}
		f.Close()
		must(t, "mke2fs", append(append([]string{"-q", "-F", "-t", "ext4", "-E", "nodiscard", "-d", root}, args...), image, size)...)
		// Blocks that are reserved, and not used.
		must(t, "debugfs", "-w", "-R", "fallocate "+sparse[1]+" 0 700", image)
	}, func(image string) []string { return []string{"e2fsck", "-fn", image} }, func(image string) []string { return []string{"e2fsck", "-p", image} }, extSound, true}
}

// extSound looks whether the bitmaps have the blocks of the trees.
func extSound(t *testing.T, s System, names []string) {
	t.Helper()
	e, owner := s.(*ext4), map[uint64]string{}
	if err := e.cover(); err != nil {
		t.Fatal(err)
	}
	for g := range e.w.groups {
		if x, err := e.openGroup(g); x == nil || err != nil {
			t.Fatalf("the bitmap of group %d does not have what is the file system's own: %v", g, err)
		}
	}
	own := func(name string, at, n uint64) {
		t.Helper()
		for i := range n {
			g, bit := (at+i-e.w.first)/e.w.perGroup, (at+i-e.w.first)%e.w.perGroup
			d := make([]byte, e.desc)
			e.read(d, e.descs+int64(g)*e.desc)
			b := make([]byte, 1)
			e.read(b, int64(binary.LittleEndian.Uint32(d))*e.block+int64(bit/8))
			if owner[at+i] != "" || b[0]>>(bit%8)&1 == 0 {
				t.Fatalf("block %d of %s is %q's already, or free", at+i, name, owner[at+i])
			}
			owner[at+i] = name
		}
	}
	for _, name := range names {
		f, err := e.Find(name)
		if err != nil {
			t.Fatal(err)
		}
		_, tree, err := e.readInode(&f)
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range tree.above {
			own(name, b, 1)
		}
		for _, l := range tree.leaves {
			if l.block != 0 {
				own(name, l.block, 1)
			}
			for _, m := range l.all {
				own(name, m.at, m.n)
			}
		}
	}
}

var growing = []string{"dir/a", "dir/b", "c", "a file with a long name"}

// sparse are files with holes.
var sparse = []string{"sparse", "reserved"}

var kinds = []kind{
	fatKind("FAT16", "-T", "16384", "-c", "2"),
	fatKind("FAT32", "-F", "-T", "67200", "-c", "1"),
	extKind("of blocks of 1024", "16M", "-b", "1024", "-g", "2048"),
	extKind("of blocks of 4096", "16M", "-b", "4096"),
	extKind("with gdt_csum", "16M", "-b", "1024", "-g", "4096", "-O", "^metadata_csum,uninit_bg,^64bit", "-I", "128"),
	extKind("without checksums", "16M", "-b", "2048", "-O", "^metadata_csum,^uninit_bg,^flex_bg"),
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
	names  []string
	rnd    *rand.Rand
	extend int64 // bytes that were added
}

func newBench(t *testing.T, k kind, seed int64) *bench {
	b := newBenchOn(t, k, seed)
	b.open()
	return b
}

// newBenchOn does not open the file system.
func newBenchOn(t *testing.T, k kind, seed int64) *bench {
	b := &bench{T: t, k: k, rnd: rand.New(rand.NewSource(seed)), image: filepath.Join(t.TempDir(), "image"), files: map[string]*File{}, model: map[string][]byte{}}
	for i, name := range growing {
		data := make([]byte, 1000+i*40000)
		b.rnd.Read(data)
		b.model[name] = data
		if err := os.WriteFile(filepath.Join(filepath.Dir(b.image), filepath.Base(name)), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	b.names = growing
	if k.holes {
		b.names = slices.Concat(growing, sparse)
		for i, name := range sparse {
			data := make([]byte, 3<<20+i*1536)
			for at := range 8 {
				b.rnd.Read(data[at*at<<14+1024:][:2048])
			}
			b.model[name] = data
			if err := os.WriteFile(filepath.Join(filepath.Dir(b.image), name), data, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	k.make(t, b.image)
	image, err := os.ReadFile(b.image)
	if err != nil {
		t.Fatal(err)
	}
	b.m = &medium{b: image}
	return b
}

func (b *bench) open() {
	b.Helper()
	s, err := Open(b.m, int64(len(b.m.b)))
	if err != nil {
		b.Fatal(err)
	}
	b.s = s.(Grower)
	for _, name := range b.names {
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

// fill fills a random hole.
func (b *bench) fill() error {
	name := sparse[b.rnd.Intn(2)]
	f := b.files[name]
	at := b.rnd.Int63n(f.Size) &^ (sector - 1)
	if b.rnd.Intn(3) == 0 {
		at = b.rnd.Int63n(8) * b.rnd.Int63n(1<<14) &^ (sector - 1)
	}
	if err := b.s.(Filler).Fill(f, at, b.rnd.Int63n(300<<10)+1, b.used); err != nil {
		return err
	}
	if f.place(at) == 0 {
		b.Fatalf("byte %d of %s has no place", at, name)
	}
	data := make([]byte, sector)
	b.rnd.Read(data)
	before, fault := b.m.before, b.m.fault
	b.m.before, b.m.fault = nil, nil
	b.m.WriteAt(data, f.place(at))
	b.m.Flush()
	b.m.before, b.m.fault = before, fault
	copy(b.model[name][at:], data)
	return nil
}

// grow makes a random file longer, or fills a hole.
func (b *bench) grow() error {
	if b.k.holes && b.rnd.Intn(3) == 0 {
		return b.fill()
	}
	name := growing[b.rnd.Intn(len(growing))]
	f := b.files[name]
	least := int64(1+b.rnd.Intn(100)) << 9
	old := f.Size
	err := b.s.Extend(f, least, least+b.rnd.Int63n(200<<10), b.used)
	if err == nil && f.Size < old+least || f.Size > old+least+600<<10 {
		b.Fatalf("%s had %d bytes, %d more were asked for, it has %d", name, old, least, f.Size)
	}
	b.extend += f.Size - old
	b.model[name] = append(b.model[name], make([]byte, f.Size-old)...)
	return err
}

// work writes some sectors of a random file in their place, as its user does.
func (b *bench) work() {
	name := b.names[b.rnd.Intn(len(b.names))]
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
	s, err := Open(&medium{b: image}, int64(len(image)))
	if err != nil {
		b.Fatal(err)
	}
	b.k.sound(b.T, s, b.names)
	return image
}

func (b *bench) name(n int) string { return fmt.Sprintf("%s, step %d", b.k.name, n) }
