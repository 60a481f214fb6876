package media

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// tools skips a test where the programs are not installed, as before the first build.
func tools(t *testing.T) {
	t.Helper()
	for _, p := range []string{"grub-mkimage", "mformat", "xorriso"} {
		if _, err := exec.LookPath(p); err != nil {
			t.Skip(err)
		}
	}
}

// folder makes a folder with files.
func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		p := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(p), 0o755), os.WriteFile(p, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func hash(t *testing.T, file string) (sum [32]byte) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		t.Fatal(err)
	}
	h.Sum(sum[:0])
	return sum
}

func pack(t *testing.T, text string) []byte {
	t.Helper()
	b, err := Pack([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestReproducible makes both images twice, from folders that were filled in another
// order at another time.
func TestReproducible(t *testing.T) {
	tools(t)
	var disks, isos [][32]byte
	for i := range 3 {
		files := []string{"domains/b", "domains/a", "auto/x.cfg", "disks/c/d"}
		data := t.TempDir()
		for j := range files {
			name := files[(i+j)%len(files)]
			p := filepath.Join(data, name)
			if err := errors.Join(os.MkdirAll(filepath.Dir(p), 0o755), os.WriteFile(p, []byte(name), 0o600+os.FileMode(i)<<3)); err != nil {
				t.Fatal(err)
			}
		}
		if i == 2 { // other contents: the check of the check
			if err := os.WriteFile(filepath.Join(data, "nidus.cfg"), []byte("timeout=1\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		} else if i == 1 {
			time.Sleep(2100 * time.Millisecond) // FAT's times are even seconds
		}
		out := t.TempDir()
		c := Contents{Kernel: pack(t, "kernel"), Data: data}
		disk, iso := filepath.Join(out, "d.img"), filepath.Join(out, "d.iso")
		if _, err := WriteDisk(disk, LeastBytes, c, nil); err != nil {
			t.Fatal(err)
		}
		if err := WriteISO(iso, c); err != nil {
			t.Fatal(err)
		}
		disks, isos = append(disks, hash(t, disk)), append(isos, hash(t, iso))
	}
	if disks[0] != disks[1] || isos[0] != isos[1] {
		t.Errorf("the same contents make other images: disk %v, ISO %v", disks[0] == disks[1], isos[0] == isos[1])
	}
	if disks[0] == disks[2] || isos[0] == isos[2] {
		t.Error("other contents make the same image")
	}
}

// TestExtents makes a larger disk from an image's extents alone, over old bytes.
func TestExtents(t *testing.T) {
	tools(t)
	dir := t.TempDir()
	image, disk := filepath.Join(dir, "image"), filepath.Join(dir, "disk")
	const size = 300<<20 + 12345
	c := Contents{Kernel: pack(t, "new"), Previous: pack(t, "old"), Data: folder(t, map[string]string{"domains/k": "a kernel", "auto/k.cfg": "x"})}
	extents, err := WriteDisk(image, size, c, nil)
	if err != nil {
		t.Fatal(err)
	}
	src, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	dst := bytes.Repeat([]byte{0xa5}, len(src))
	for _, e := range extents {
		copy(dst[e.First:e.First+e.Count], src[e.First:])
	}
	if err := os.WriteFile(disk, dst, 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := Open(disk)
	if err != nil {
		t.Fatal(err)
	}
	now, before, err := d.Kernels()
	if err != nil || !bytes.Equal(now, c.Kernel) || !bytes.Equal(before, c.Previous) {
		t.Errorf("kernels %d and %d bytes, %v", len(now), len(before), err)
	}
	if want := int64(299-66) << 20; d.DataBytes() != want {
		t.Errorf("the data partition has %d bytes, want %d", d.DataBytes(), want)
	}
	for name, want := range map[string]string{"/domains/k": "a kernel", "/auto/k.cfg": "x", "/nidus.cfg": string(config)} {
		if got, err := (volume{disk, d.data.Start, d.data.End - d.data.Start + 1}).read(name); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	var used int64
	for _, e := range extents {
		used += e.Count
	}
	if used > 90<<20 {
		t.Errorf("%d bytes are to be written: more than the boot files and tables", used)
	}

	// A kernel that replaces it leaves the data.
	c2 := Contents{Kernel: pack(t, "newer"), Previous: now}
	extents, err = WriteDisk(image, 400<<20, c2, d)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range extents {
		if e.First < int64(d.data.End+1)*sector && e.First+e.Count > int64(d.data.Start)*sector {
			t.Errorf("extent %+v would write to the data partition", e)
		}
	}
	if d2, err := Open(image); err != nil || d2.DataBytes() != d.DataBytes() {
		t.Errorf("%+v, %v", d2, err)
	}
	if _, err := WriteDisk(image, 256<<20, c2, d); err == nil {
		t.Error("a disk smaller than its data was accepted")
	}
}

func TestOpenForeign(t *testing.T) {
	for name, data := range map[string][]byte{
		"empty": nil, "zeros": make([]byte, 1<<20), "ones": bytes.Repeat([]byte{0xff}, 1<<20),
		"signature only": append(make([]byte, 512), append([]byte("EFI PART"), make([]byte, 1<<16)...)...),
	} {
		file := filepath.Join(t.TempDir(), "disk")
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if d, err := Open(file); err == nil || !errors.Is(err, ErrForeign) {
			t.Errorf("%s: %v, %v", name, d, err)
		}
	}
}

// TestOpenHostile opens disks whose partition tables have right checksums and wrong
// values.
func TestOpenHostile(t *testing.T) {
	tools(t)
	file := filepath.Join(t.TempDir(), "disk")
	if _, err := WriteDisk(file, LeastBytes, Contents{Kernel: []byte("x")}, nil); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	good := make([]byte, 2<<20) // the tables: the first and the last MiB
	tail := func(b []byte) ([]byte, int64) { return b[1<<20:], LeastBytes - 1<<20 }
	_, err1 := f.ReadAt(good[:1<<20], 0)
	_, err2 := f.ReadAt(tail(good))
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	values := []uint64{0, 1, 2, 33, 127, 129, 1 << 20, 1 << 31, 1<<32 - 1, 1 << 63, 1<<64 - 1}
	const header, entries, lastHeader = sector, 2 * sector, 2<<20 - sector
	r := rand.New(rand.NewPCG(1, 2))
	opened := 0
	for range 300 {
		b := bytes.Clone(good)
		le := binary.LittleEndian
		for range 1 + r.IntN(3) {
			v := values[r.IntN(len(values))]
			switch r.IntN(3) {
			case 0: // first and last sector of a partition
				le.PutUint64(b[entries+128*r.IntN(3)+32+8*r.IntN(2):], v)
			case 1: // numbers of sectors
				le.PutUint64(b[header+[]int{24, 32, 40, 48, 72}[r.IntN(5)]:], v)
			case 2: // count and size of entries
				le.PutUint32(b[[]int{header, lastHeader}[r.IntN(2)]+80+4*r.IntN(2):], uint32(v))
			}
		}
		seal := func(h []byte) {
			clear(h[16:20])
			le.PutUint32(h[16:], crc32.ChecksumIEEE(h[:92]))
		}
		le.PutUint32(b[header+88:], crc32.ChecksumIEEE(b[entries:entries+128*128]))
		if r.IntN(4) > 0 { // a wrong checksum sends the reader to the other table
			seal(b[header:])
		}
		seal(b[lastHeader:])
		_, err1 := f.WriteAt(b[:1<<20], 0)
		_, err2 := f.WriteAt(tail(b))
		if err := errors.Join(err1, err2); err != nil {
			t.Fatal(err)
		}
		d, err := Open(file)
		if err == nil {
			opened++
		}
		if err == nil && (d.data.Start != dataFirst || d.DataBytes() <= 0 || d.DataBytes() > LeastBytes) {
			t.Errorf("opened with a data partition of %d bytes at sector %d", d.DataBytes(), d.data.Start)
		}
	}
	if opened == 0 || opened == 300 {
		t.Errorf("%d of 300 were opened: the test tests nothing", opened)
	}
}

func TestTooSmall(t *testing.T) {
	if _, err := WriteDisk(filepath.Join(t.TempDir(), "disk"), LeastBytes-1, Contents{}, nil); err == nil {
		t.Error("a disk that is too small was accepted")
	}
}

func TestFitBytes(t *testing.T) {
	if n, err := FitBytes(""); err != nil || n != LeastBytes {
		t.Errorf("nothing: %d, %v", n, err)
	}
	dir := folder(t, map[string]string{"domains/small": "x"})
	large, err := os.Create(filepath.Join(dir, "large"))
	if err == nil {
		err = errors.Join(large.Truncate(1<<30), large.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	if n, err := FitBytes(dir); err != nil || n < 1<<30+LeastBytes || n > 3<<30 {
		t.Errorf("1 GiB: %d, %v", n, err)
	}
	if _, err := FitBytes(filepath.Join(dir, "none")); err == nil {
		t.Error("a folder that is not there was accepted")
	}
}

func TestClusters(t *testing.T) {
	for _, c := range []struct{ sectors, want uint64 }{{espCount, 1}, {189 * mib, 1}, {2 << 20, 1}, {2<<20 + 1, 2}, {60 << 21, 64}, {1 << 32, 64}} {
		if got := clusterSectors(c.sectors); got != c.want {
			t.Errorf("%d sectors: clusters of %d, want %d", c.sectors, got, c.want)
		}
	}
}
