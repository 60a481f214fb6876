package fs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// files are what each image holds, by path. big spans many clusters, long has a name of
// several parts in FAT.
func files() map[string][]byte {
	all := map[string][]byte{"empty": {}, "dir/small.txt": []byte("small"), "dir/sub/a name that is longer than eight and three.img": make([]byte, 70001), "big": make([]byte, 1<<20)}
	for i := range 200 { // more than a block of a folder
		all[fmt.Sprintf("many/file-number-%03d", i)] = fmt.Append(nil, i)
	}
	for _, b := range all {
		if len(b) > 100 {
			rand.New(rand.NewSource(int64(len(b)))).Read(b)
		}
	}
	return all
}

// images makes an image of each kind with the programs that people make them with.
func images(t *testing.T) map[string][]byte {
	dir := t.TempDir()
	root := filepath.Join(dir, "root")
	for name, data := range files() {
		p := filepath.Join(root, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(p), 0o755), os.WriteFile(p, data, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	// A file with holes, of which ext4 keeps them.
	f, err := os.Create(filepath.Join(root, "sparse"))
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []int64{64 << 10, 256 << 10} {
		f.WriteAt([]byte("here"), at)
	}
	if err := errors.Join(f.Truncate(1<<20), f.Close()); err != nil {
		t.Fatal(err)
	}
	run := func(name string, args ...string) {
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
	all := map[string][]byte{}
	add := func(kind, more, file string) {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all[kind+more] = b
	}
	for _, block := range []string{"1024", "4096"} {
		file := filepath.Join(dir, "ext4-"+block)
		run("mke2fs", "-q", "-t", "ext4", "-b", block, "-d", root, file, "16M")
		add("ext4", " of blocks of "+block, file)
	}
	for kind, args := range map[string][]string{"FAT12": {"-T", "8192", "-c", "4"}, "FAT16": {"-T", "32768", "-c", "2"}, "FAT32": {"-F", "-T", "81920", "-c", "1"}} {
		file := filepath.Join(dir, kind)
		run("mformat", append(append([]string{"-C", "-i", file, "-h", "16", "-s", "63"}, args...), "::")...)
		for _, name := range []string{"empty", "dir", "big", "many", "sparse"} {
			run("mcopy", "-Q", "-s", "-i", file, filepath.Join(root, name), "::")
		}
		add(kind, "", file)
	}
	for more, args := range map[string][]string{"": nil, " with Rock Ridge": {"-R"}} {
		file := filepath.Join(dir, "iso")
		run("xorriso", append(append([]string{"-as", "mkisofs", "-quiet", "-iso-level", "3"}, args...), "-o", file, root)...)
		add("ISO 9660", more, file)
	}
	return all
}

func read(t *testing.T, s System, image []byte, path string) []byte {
	t.Helper()
	f, err := s.Find(path)
	if err != nil {
		t.Errorf("%s: %v", path, err)
		return nil
	}
	b, err := io.ReadAll(f.Reader(bytes.NewReader(image)))
	if err != nil {
		t.Errorf("%s: %v", path, err)
	}
	return b
}

func TestFind(t *testing.T) {
	for name, image := range images(t) {
		t.Run(name, func(t *testing.T) {
			s, err := Open(bytes.NewReader(image), int64(len(image)))
			if err != nil {
				t.Fatal(err)
			}
			if k := s.Kind(); k != name[:len(k)] {
				t.Errorf("it is %s", k)
			}
			for path, want := range files() {
				if name == "ISO 9660" && len(path) > 40 {
					continue // cut, without Rock Ridge
				}
				if got := read(t, s, image, "/"+path); !bytes.Equal(got, want) {
					t.Errorf("%s: %d bytes, not %d, or others", path, len(got), len(want))
				}
			}
			sparse := make([]byte, 1<<20)
			copy(sparse[64<<10:], "here")
			copy(sparse[256<<10:], "here")
			if got := read(t, s, image, "sparse"); !bytes.Equal(got, sparse) {
				t.Error("the file with holes is another one")
			}
			for _, path := range []string{"nothing", "dir/nothing", "many/file-number-200"} {
				if _, err := s.Find(path); !errors.Is(err, iofs.ErrNotExist) {
					t.Errorf("%s: %v", path, err)
				}
			}
			for _, path := range []string{"", "dir", "big/x", "dir/.."} {
				if _, err := s.Find(path); err == nil {
					t.Errorf("%q is a file", path)
				}
			}
			damage(t, image)
		})
	}
}

// damage changes bytes at random where the file system keeps its own: no panic, no endless
// loop.
func damage(t *testing.T, image []byte) {
	rnd := rand.New(rand.NewSource(2))
	bad, opened := bytes.Clone(image), 0
	for range 300 {
		copy(bad[:80<<10], image)
		for range 1 + rnd.Intn(40) {
			at := rnd.Intn(80 << 10)
			bad[at] = byte(rnd.Intn(256))
			if rnd.Intn(3) == 0 {
				bad[at] = 0xff
			}
		}
		if look(bad) {
			opened++
		}
	}
	if opened < 30 {
		t.Errorf("only %d of 300 were opened", opened)
	}
}

// look reads some files, and tells whether the file system was opened.
func look(image []byte) bool {
	r := bytes.NewReader(image)
	s, err := Open(r, int64(len(image)))
	if err != nil {
		return false
	}
	for _, path := range []string{"dir/small.txt", "many/file-number-199", "big", "nothing"} {
		if f, err := s.Find(path); err == nil {
			io.CopyN(io.Discard, f.Reader(r), 1<<16)
		}
	}
	return true
}

func TestUnknown(t *testing.T) {
	for _, b := range [][]byte{nil, make([]byte, 100), make([]byte, 100<<10), bytes.Repeat([]byte{0xff}, 100<<10)} {
		if _, err := Open(bytes.NewReader(b), int64(len(b))); !errors.Is(err, ErrUnknown) {
			t.Errorf("%d bytes: %v", len(b), err)
		}
	}
}

// TestJournal: an ext4 that was not unmounted is refused by what it is.
func TestJournal(t *testing.T) {
	image := images(t)["ext4 of blocks of 4096"]
	for bit, want := range map[byte]string{4: "journal", 0x10: "meta_bg"} {
		bad := bytes.Clone(image)
		bad[1024+0x60] |= bit
		if _, err := Open(bytes.NewReader(bad), int64(len(bad))); err == nil || !bytes.Contains([]byte(err.Error()), []byte(want)) {
			t.Errorf("%v", err)
		}
	}
}

// FuzzOpen: anything may be on a disk.
func FuzzOpen(f *testing.F) {
	f.Fuzz(func(t *testing.T, image []byte) { look(image) })
}
