package volume

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	iofs "io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"nidus/drivers/block"
	"nidus/drivers/block/ram"
	"nidus/kernel/domain/domaintest"
)

// TestVolume: who has a file, and that the partition is open only meanwhile.
func TestVolume(t *testing.T) {
	for _, c := range []struct {
		sector uint32
		format []string
	}{{512, []string{"-T", "8192", "-h", "16", "-s", "63"}}, {4096, []string{"-T", "16384", "-h", "16", "-s", "63", "-M", "4096"}}} {
		t.Run(fmt.Sprint(c.sector), func(t *testing.T) { testVolume(t, c.sector, c.format) })
	}
}

func testVolume(t *testing.T, sector uint32, format []string) {
	mformat, err := exec.LookPath("mformat")
	if err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	image, disk := filepath.Join(dir, "fat"), filepath.Join(dir, "disk.img")
	if out, err := exec.Command(mformat, append(append([]string{"-C", "-i", image}, format...), "::")...).CombinedOutput(); err != nil {
		t.Fatal(err, string(out))
	}
	want := bytes.Repeat([]byte("0123456789abcdef"), 4064) // it ends in the middle of 4096 bytes
	odd := append(bytes.Clone(want), "the end"...)
	for _, name := range []string{"odd.img", "disk.img", "other.img"} {
		data := want
		if name == "odd.img" {
			data = odd
		}
		if err := os.WriteFile(disk, data, 0o644); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command("mcopy", "-i", image, disk, "::"+name).CombinedOutput(); err != nil {
			t.Fatal(err, string(out))
		}
	}
	b, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	// A third that is the second one's but for the first cluster, as in a damaged file system.
	other := bytes.Index(b, []byte("OTHER   IMG"))
	entry := bytes.Clone(b[other : other+32])
	copy(entry, "LINKED  IMG")
	binary.LittleEndian.PutUint16(entry[26:], binary.LittleEndian.Uint16(entry[26:])+1)
	binary.LittleEndian.PutUint32(entry[28:], 4096)
	copy(b[other+32:], entry)
	if at := bytes.Index(b, []byte("the end")); at < 0 {
		t.Fatal("odd.img is not there")
	} else {
		copy(b[at+len("the end"):], "somebody else's") // what the medium has behind it
	}
	machine := domaintest.New(t, 256)
	host := domaintest.Memory{Pool: machine.Host.Memory}
	t.Cleanup(func() { machine.CheckFree(t) })
	open, taken := 0, false
	v := New("vdx1", host, func(readOnly bool) (block.Device, error) {
		if taken && !readOnly {
			return nil, errors.New("somebody reads it")
		}
		open++
		d, err := ram.New(ram.Config{Memory: host.Pool, Base: b, ReadOnly: readOnly, SectorSize: sector})
		return counted{d, &open}, err
	})
	if got, err := v.Read("Disk.IMG", 1<<20); err != nil || !bytes.Equal(got, want) || open != 0 {
		t.Errorf("%d bytes, %v; %d open", len(got), err, open)
	}
	if _, err := v.Read("disk.img", 100); err == nil || open != 0 {
		t.Errorf("too large: %v; %d open", err, open)
	}
	if _, err := v.Read("nothing", 100); !errors.Is(err, iofs.ErrNotExist) || open != 0 {
		t.Errorf("%v; %d open", err, open)
	}
	d, err := v.Open("disk.img", false)
	if err != nil || d.Info().Sectors != 127 || d.Info().SectorSize != 512 || open != 1 {
		t.Fatalf("%v; %d open", err, open)
	}
	for _, readOnly := range []bool{true, false} {
		if _, err := v.Open("/DISK.img", readOnly); !errors.Is(err, ErrInUse) || open != 1 {
			t.Errorf("%v; %d open", err, open)
		}
	}
	o, err := v.Open("other.img", true)
	if err != nil || open != 1 {
		t.Fatal(err)
	}
	p, err := v.Open("other.img", true)
	if err != nil {
		t.Error(err)
	}
	if _, err := v.Open("other.img", false); !errors.Is(err, ErrInUse) {
		t.Error(err)
	}
	if _, err := v.Open("linked.img", false); !errors.Is(err, ErrInUse) {
		t.Errorf("a part of a file that is open: %v", err)
	}
	for _, d := range []block.Device{d, o, p, p} {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}
	if open != 0 {
		t.Errorf("%d open", open)
	}
	testOdd(t, v, host, odd)
	if open != 0 {
		t.Errorf("%d open", open)
	}
	taken = true
	if _, err := v.Open("disk.img", false); err == nil || open != 0 {
		t.Errorf("%v; %d open", err, open)
	}
	if d, err = v.Open("disk.img", true); err != nil {
		t.Fatal(err)
	}
	if _, err := v.Open("other.img", false); err == nil {
		t.Error("a file of what is only read is written")
	}
	d.Close()
	if open != 0 {
		t.Errorf("%d open", open)
	}
}

// testOdd: a file that ends within a sector is read to its end, with zeros behind it, and says
// so.
func testOdd(t *testing.T, v *Volume, host domaintest.Memory, want []byte) {
	d, err := v.Open("odd.img", true)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if n, tail := d.Info().Sectors, d.(*file).Tail(); n != 128 || tail != len("the end") {
		t.Errorf("%d sectors, %d bytes of the last one", n, tail)
	}
	got := bytes.Repeat([]byte("x"), 128<<block.SectorShift)
	if _, err := block.ReaderAt(d, host).ReadAt(got, 0); err != nil || !bytes.Equal(got, append(bytes.Clone(want), make([]byte, len(got)-len(want))...)) {
		t.Errorf("%v; it ends with %q", err, got[len(want)-7:])
	}
}

type counted struct {
	*ram.Disk
	open *int
}

func (c counted) Close() error { *c.open--; return c.Disk.Close() }
