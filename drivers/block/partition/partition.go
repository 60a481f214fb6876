// Package partition finds the partitions of a disk, by a GUID partition table (UEFI
// 2.10, section 5.3) or by that of the PC's BIOS (the same, 5.2.1, with the chain of
// extended ones), and makes devices of them.
//
// Tables are not believed: what lies beyond the disk, or over another, is left out, and
// the Table says so.
package partition

import (
	"bytes"
	"fmt"
	"io"
	"strconv"

	"nidus/drivers/block"
)

// Entry is one partition.
type Entry struct {
	Number         int    // from 1, as Linux counts; logical ones from 5
	First, Sectors uint64 // of 512 bytes
	Type           string // a GUID, or two hexadecimal digits
	Name           string // GPT's; may be empty
}

// Table is what was found.
type Table struct {
	Kind    string // "GPT", "MBR", or "" for none
	Entries []Entry
	// Problems says what was left out, or read from the second copy.
	Problems []string
}

func (t *Table) problem(format string, args ...any) {
	const most = 8 // a damaged table can have thousands
	if len(t.Problems) < most {
		t.Problems = append(t.Problems, fmt.Sprintf(format, args...))
	}
}

// add takes a partition that lies in the disk and over no other.
func (t *Table) add(e Entry, sectors uint64) {
	if e.Sectors == 0 || e.First == 0 || e.First >= sectors || e.Sectors > sectors-e.First {
		t.problem("partition %d, %d sectors from %d on, is not in the disk's %d", e.Number, e.Sectors, e.First, sectors)
		return
	}
	for _, o := range t.Entries {
		if e.First < o.First+o.Sectors && o.First < e.First+e.Sectors {
			t.problem("partition %d overlaps %d", e.Number, o.Number)
			return
		}
	}
	t.Entries = append(t.Entries, e)
}

// Read reads the table of a disk; one without a table has the zero Table. The error is
// r's.
func Read(r io.ReaderAt, i block.Info) (Table, error) {
	d := disk{r: r, unit: int64(i.SectorSize), sectors: i.Sectors}
	mbr := make([]byte, 512)
	if i.Sectors<<block.SectorShift < uint64(2*d.unit) {
		return Table{}, nil
	}
	if err := d.read(mbr, 0); err != nil {
		return Table{}, err
	}
	if !bytes.Equal(mbr[510:], []byte{0x55, 0xaa}) {
		return Table{}, nil
	}
	for n := range 4 {
		if mbr[446+n*16+4] == protective {
			return d.gpt()
		}
	}
	return d.mbr(mbr)
}

// disk is what a table is read from. Its own unit is the logical sector.
type disk struct {
	r       io.ReaderAt
	unit    int64 // bytes
	sectors uint64
}

// blocks is the disk's size in logical sectors.
func (d *disk) blocks() uint64 { return d.sectors / d.perBlock() }

func (d *disk) perBlock() uint64 { return uint64(d.unit) >> block.SectorShift }

// read fills b from a logical sector on.
func (d *disk) read(b []byte, lba uint64) error {
	n, err := d.r.ReadAt(b, int64(lba)*d.unit)
	if n == len(b) {
		return nil
	}
	return err
}

// DeviceName is how a partition of a disk is called, as Linux does: vda1, nvme0n1p1.
func DeviceName(disk string, number int) string {
	if c := disk[len(disk)-1]; c >= '0' && c <= '9' {
		disk += "p"
	}
	return disk + strconv.Itoa(number)
}
