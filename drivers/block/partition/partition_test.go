package partition

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"

	"nidus/drivers/block"
)

const blocks = 4096 // of the tests' disks

// image is a disk with a GUID table of partitions 1 (34 to 99, "boot"), 2 (100 to 199)
// and 5 (the rest), in sectors of unit bytes.
func image(unit int) []byte {
	b := make([]byte, blocks*unit)
	b[446+4], b[446+8] = protective, 1
	b[510], b[511] = 0x55, 0xaa
	table := make([]byte, 128*128)
	for i, e := range map[int][2]uint64{0: {34, 99}, 1: {100, 199}, 4: {200, blocks - 34}} {
		for k := range 16 {
			table[i*128+k] = byte(k + 1)
		}
		binary.LittleEndian.PutUint64(table[i*128+32:], e[0])
		binary.LittleEndian.PutUint64(table[i*128+40:], e[1])
	}
	for i, c := range utf16.Encode([]rune("boot\x1b")) {
		binary.LittleEndian.PutUint16(table[56+2*i:], c)
	}
	header(b, unit, 1, 2, table)
	header(b, unit, blocks-1, blocks-33, table)
	return b
}

func header(b []byte, unit int, at, entries uint64, table []byte) {
	copy(b[int(entries)*unit:], table)
	h := b[int(at)*unit:][:92]
	le := binary.LittleEndian
	copy(h, gptSignature)
	le.PutUint32(h[12:], 92)
	le.PutUint64(h[24:], at)
	le.PutUint64(h[40:], 34)
	le.PutUint64(h[48:], blocks-34)
	le.PutUint64(h[72:], entries)
	le.PutUint32(h[80:], 128)
	le.PutUint32(h[84:], 128)
	le.PutUint32(h[88:], crc32.ChecksumIEEE(table))
	seal(h)
}

func seal(h []byte) {
	clear(h[16:20])
	binary.LittleEndian.PutUint32(h[16:], crc32.ChecksumIEEE(h[:92]))
}

func info(unit int, n uint64) block.Info {
	return block.Info{SectorSize: uint32(unit), Sectors: n * uint64(unit) / 512}
}

func TestGPT(t *testing.T) {
	numbers := func(t Table) (n []int) {
		for _, e := range t.Entries {
			n = append(n, e.Number)
		}
		return n
	}
	le := binary.LittleEndian
	for _, c := range []struct {
		name    string
		change  func(first, second, table []byte)
		want    []int
		problem string
	}{
		{"sound", nil, []int{1, 2, 5}, ""},
		{"first header gone", func(f, _, _ []byte) { clear(f) }, []int{1, 2, 5}, "first GUID partition table: it is not there"},
		{"first header flipped", func(f, _, _ []byte) { f[60]++ }, []int{1, 2, 5}, "header's checksum"},
		{"second header flipped", func(_, s, _ []byte) { s[60]++ }, []int{1, 2, 5}, "second"},
		{"first table flipped", func(_, _, e []byte) { e[1]++ }, []int{1, 2, 5}, "checksum of its entries"},
		{"both gone", func(f, s, _ []byte) { clear(f); clear(s) }, nil, "neither"},
		{"header of another sector", func(f, _, _ []byte) { le.PutUint64(f[24:], 7); seal(f) }, []int{1, 2, 5}, "that of sector 7"},
		{"a million entries", func(f, _, _ []byte) { le.PutUint32(f[80:], 1e6); seal(f) }, []int{1, 2, 5}, "1000000 entries"},
		{"entries of 0 bytes", func(f, _, _ []byte) { le.PutUint32(f[84:], 0); seal(f) }, []int{1, 2, 5}, "of 0 bytes"},
		{"header of 4 GiB", func(f, _, _ []byte) { le.PutUint32(f[12:], 0xffffffff) }, []int{1, 2, 5}, "4294967295 bytes"},
		{"table behind the end", func(f, _, _ []byte) { le.PutUint64(f[72:], blocks-1); seal(f) }, []int{1, 2, 5}, "entries are at sector 4095"},
		{"table at ~0", func(f, _, _ []byte) { le.PutUint64(f[72:], ^uint64(0)); seal(f) }, []int{1, 2, 5}, "entries are at"},
		{"usable beyond the end", func(f, _, _ []byte) { le.PutUint64(f[48:], blocks); seal(f) }, []int{1, 2, 5}, "of 4096"},
		{"an overlap", func(f, _, e []byte) {
			le.PutUint64(e[128+32:], 99)
			le.PutUint32(f[88:], crc32.ChecksumIEEE(e))
			seal(f)
		}, []int{1, 5}, "partition 2 overlaps 1"},
		{"backwards", func(f, _, e []byte) {
			le.PutUint64(e[128+40:], 50)
			le.PutUint32(f[88:], crc32.ChecksumIEEE(e))
			seal(f)
		}, []int{1, 5}, "partition 2, sectors 100 to 50"},
	} {
		for _, unit := range []int{512, 4096} {
			b := image(unit)
			if c.change != nil {
				c.change(b[unit:][:92], b[(blocks-1)*unit:][:92], b[2*unit:][:128*128])
			}
			got, err := Read(bytes.NewReader(b), info(unit, blocks))
			if err != nil || got.Kind != "GPT" || !slices.Equal(numbers(got), c.want) || !strings.Contains(strings.Join(got.Problems, "; "), c.problem) || (c.problem == "") != (len(got.Problems) == 0) {
				t.Errorf("%s, %d: %+v, %v", c.name, unit, got, err)
			}
			if e := (Entry{1, 34 * uint64(unit) / 512, 66 * uint64(unit) / 512, "04030201-0605-0807-090A-0B0C0D0E0F10", "boot?"}); len(got.Entries) > 0 && got.Entries[0] != e {
				t.Errorf("%s, %d: %+v", c.name, unit, got.Entries[0])
			}
		}
	}
}

// entry writes an entry of the BIOS's table.
func entry(b []byte, sector, n int, typ byte, first, size uint32) {
	e := b[sector*512+446+n*16:]
	e[4] = typ
	binary.LittleEndian.PutUint32(e[8:], first)
	binary.LittleEndian.PutUint32(e[12:], size)
	b[sector*512+510], b[sector*512+511] = 0x55, 0xaa
}

func TestMBR(t *testing.T) {
	chain := func(b []byte) {
		entry(b, 0, 0, 0x83, 10, 90)
		entry(b, 0, 2, 0x0f, 1000, 1000)
		entry(b, 1000, 0, 0x82, 10, 90)
		entry(b, 1000, 1, 0x05, 500, 100)
		entry(b, 1500, 0, 0x07, 2, 98)
	}
	for _, c := range []struct {
		name    string
		fill    func(b []byte)
		want    []Entry
		problem string
	}{
		{"nothing", func(b []byte) {}, nil, ""},
		{"a file system", func(b []byte) { entry(b, 0, 1, 0x83, 5, 5); b[446] = 'x' }, nil, ""},
		{"four", func(b []byte) { entry(b, 0, 0, 0x83, 10, 90); entry(b, 0, 3, 0xc, 100, blocks-100) },
			[]Entry{{1, 10, 90, "83", ""}, {4, 100, blocks - 100, "0c", ""}}, ""},
		{"beyond the end", func(b []byte) { entry(b, 0, 0, 0x83, 10, blocks) }, nil, "partition 1, 4096 sectors"},
		{"wraps", func(b []byte) { entry(b, 0, 0, 0x83, 0xffffffff, 0xffffffff) }, nil, "partition 1"},
		{"logical", chain, []Entry{{1, 10, 90, "83", ""}, {5, 1010, 90, "82", ""}, {6, 1502, 98, "07", ""}}, ""},
		{"a circle", func(b []byte) { chain(b); entry(b, 1500, 1, 5, 0, 5) }, []Entry{{1, 10, 90, "83", ""}, {5, 1010, 90, "82", ""}, {6, 1502, 98, "07", ""}}, "partition 7 overlaps 5"},
		{"leads out", func(b []byte) { chain(b); entry(b, 1000, 1, 5, 1000, 5) }, []Entry{{1, 10, 90, "83", ""}, {5, 1010, 90, "82", ""}}, "leads to sector 2000"},
		{"leads to nothing", func(b []byte) { chain(b); entry(b, 1000, 1, 5, 600, 5) }, []Entry{{1, 10, 90, "83", ""}, {5, 1010, 90, "82", ""}}, "no table"},
		{"larger than it", func(b []byte) { chain(b); entry(b, 1000, 0, 5, 0, 5); entry(b, 1500, 0, 7, 2, 600) }, []Entry{{1, 10, 90, "83", ""}}, "beyond the extended one"},
		{"two extended", func(b []byte) { chain(b); entry(b, 0, 3, 5, 2500, 5) }, []Entry{{1, 10, 90, "83", ""}, {5, 1010, 90, "82", ""}, {6, 1502, 98, "07", ""}}, "second extended"},
	} {
		b := make([]byte, blocks*512)
		c.fill(b)
		got, err := Read(bytes.NewReader(b), info(512, blocks))
		if err != nil || !slices.Equal(got.Entries, c.want) || !strings.Contains(strings.Join(got.Problems, "; "), c.problem) || (c.problem == "") != (len(got.Problems) == 0) {
			t.Errorf("%s: %+v, %v", c.name, got, err)
		}
	}
}

// FuzzRead reads any table, with its checksums made right: what it finds is in the disk,
// and apart.
func FuzzRead(f *testing.F) {
	b := image(512)[:4<<10]
	binary.LittleEndian.PutUint32(b[512+80:], 8)
	f.Add(b)
	b = make([]byte, 4<<10)
	entry(b, 0, 0, 5, 2, 6)
	entry(b, 2, 0, 0x82, 1, 1)
	entry(b, 2, 1, 5, 3, 2)
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		n := uint64(len(b)) / 512
		if b = bytes.Clone(b); n > 2 {
			h, le := b[512:1024], binary.LittleEndian
			if from, size := le.Uint64(h[72:]), le.Uint32(h[80:]); from < n && uint64(size)*128 <= (n-from)*512 {
				le.PutUint32(h[88:], crc32.ChecksumIEEE(b[from*512:][:size*128]))
			}
			seal(h)
		}
		for _, unit := range []int{512, 4096} {
			i := info(512, n)
			i.SectorSize = uint32(unit)
			got, err := Read(bytes.NewReader(b), i)
			if err != nil && !errors.Is(err, io.EOF) {
				t.Fatal(err)
			}
			for k, e := range got.Entries {
				if e.Sectors == 0 || e.First >= n || e.Sectors > n-e.First {
					t.Fatalf("%+v in %d", e, n)
				}
				for _, o := range got.Entries[:k] {
					if e.Number == o.Number || e.First < o.First+o.Sectors && o.First < e.First+e.Sectors {
						t.Fatalf("%+v and %+v", e, o)
					}
				}
			}
		}
	})
}

// disks notes what it gets, and does it at once or never.
type fakeDisk struct {
	block.Device
	got  []block.Request
	hold []*block.Request
}

func (d *fakeDisk) Info() block.Info {
	return block.Info{Sectors: 1000, SectorSize: 512, CanFlush: true, CanDiscard: true, MaxSegments: 4, MaxBytes: 4 * 4096}
}

func (d *fakeDisk) Submit(r *block.Request) {
	d.got = append(d.got, *r)
	if d.hold != nil {
		d.hold = append(d.hold, r)
		return
	}
	r.Done(r, nil)
}

func TestDevice(t *testing.T) {
	disk := &fakeDisk{}
	d := Open(disk, Entry{Number: 1, First: 100, Sectors: 50}, "vda1")
	seg := []block.Segment{{Len: 512}}
	for _, c := range []struct {
		r    block.Request
		at   uint64
		want error
	}{
		{block.Request{Op: block.Write, Sector: 49, Segments: seg}, 149, nil},
		{block.Request{Op: block.Write, Sector: 50, Segments: seg}, 0, block.ErrRange},
		{block.Request{Sector: ^uint64(0) - 50, Segments: seg}, 0, block.ErrRange},
		{block.Request{Op: block.Discard, Sector: 10, Sectors: 40}, 110, nil},
		{block.Request{Op: block.Discard, Sector: 10, Sectors: 41}, 0, block.ErrRange},
		{block.Request{Op: block.Flush}, 0, nil},
	} {
		disk.got = nil
		err := block.Do(d, &c.r)
		if !errors.Is(err, c.want) || (err == nil) != (len(disk.got) == 1) {
			t.Errorf("%+v: %v, %d requests", c.r, err, len(disk.got))
		}
		for _, g := range disk.got {
			if g.Op != c.r.Op || g.Sector != c.at || g.Sectors != c.r.Sectors || len(g.Segments) != len(c.r.Segments) {
				t.Errorf("%+v became %+v", c.r, g)
			}
		}
	}
	disk.hold = []*block.Request{}
	r := &block.Request{Segments: seg}
	var done *block.Request
	r.Done = func(r *block.Request, _ error) { done = r }
	d.Submit(r)
	closed := make(chan error)
	go func() { closed <- d.Close() }()
	select {
	case <-closed:
		t.Error("Close does not wait")
	default:
	}
	disk.hold[0].Done(disk.hold[0], nil)
	if err := <-closed; err != nil || done != r {
		t.Errorf("%v, %v", err, done)
	}
	if err := block.Do(d, &block.Request{Segments: seg}); !errors.Is(err, block.ErrGone) {
		t.Errorf("after Close: %v", err)
	}
}

func TestDeviceName(t *testing.T) {
	if a, b := DeviceName("vda", 1), DeviceName("nvme0n1", 12); a != "vda1" || b != "nvme0n1p12" {
		t.Error(a, b)
	}
}
