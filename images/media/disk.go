package media

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/diskfs/go-diskfs/backend"
	"github.com/diskfs/go-diskfs/partition/gpt"

	"nidus/images/disk"
)

// The partitions of a disk, in sectors. Starts are multiples of 1 MiB.
const (
	mib       = 1 << 20 / sector
	biosFirst = 1 * mib // GRUB's core image for the BIOS
	biosCount = 1 * mib
	espFirst  = 2 * mib // the EFI system partition, with the boot files for the BIOS too
	espCount  = 64 * mib
	dataFirst = espFirst + espCount
	dataIndex = 3
	// tableCount are the sectors of the second partition table, at a disk's end.
	tableCount = 33
)

// Names of the partitions, by which a disk of ours is known; and the data's label.
const (
	biosName  = "nidus-bios"
	espName   = "nidus-boot"
	dataName  = "nidus-data"
	espLabel  = "NIDUS-BOOT"
	DataLabel = "NIDUS-DATA"
)

// LeastBytes is the size of the smallest disk, and of the image that is made for no
// particular disk unless its files need more.
const LeastBytes = 256 << 20

// FitBytes is the size of a disk that has room for a folder's files twice; the folder
// may be empty.
func FitBytes(data string) (int64, error) {
	const room = 96 << 20 // what is not data, and the tables of an empty file system
	var files int64
	if data != "" {
		err := filepath.WalkDir(data, func(p string, _ os.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := os.Stat(p)
			if err == nil {
				files += max(info.Size(), 64<<10) // at least a cluster
			}
			return err
		})
		if err != nil {
			return 0, err
		}
	}
	return max(LeastBytes, room+2*files), nil
}

// WriteDisk makes a disk image of size bytes in a file: GPT, a partition with GRUB
// for the BIOS, an EFI system partition, and a data partition in the rest. If keep is
// not nil, the data partition is where that disk has it and nothing is put into it.
//
// The file is sparse. What has to be written to a disk to make it like the image is in
// the extents, in the order in which to write them; what is outside doesn't matter.
func WriteDisk(file string, size int64, c Contents, keep *Disk) (extents []disk.Extent, err error) {
	size -= size % sector
	if size < LeastBytes {
		return nil, fmt.Errorf("a disk with Nidus has %d MiB or more, not %d", LeastBytes>>20, size>>20)
	}
	dir, err := os.MkdirTemp(filepath.Dir(file), "disk-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	bootDir, dataDir, core := filepath.Join(dir, "boot"), filepath.Join(dir, "data"), filepath.Join(dir, "core.img")
	// Where GRUB was started from is before the comma.
	const prefix = "(,gpt2)/grub"
	err = errors.Join(c.boot(bootDir), efi.core(filepath.Join(bootDir, efiName), prefix, ""), bios.core(core, prefix, ""), c.data(dataDir))
	if err != nil {
		return nil, err
	}
	id, err := identify(bootDir, dataDir)
	if err != nil {
		return nil, err
	}

	f, err := os.Create(file)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := f.Truncate(size); err != nil {
		return nil, err
	}
	if err := installBIOS(f, core, biosFirst, biosCount); err != nil {
		return nil, err
	}
	end := uint64(size/sector-tableCount) / mib * mib // of the data
	data := volume{file, dataFirst, end - dataFirst}
	data.count = min(data.count, mostSectors)
	table := newTable(id, data)
	if keep != nil {
		if err := keep.moveTo(table, end); err != nil {
			return nil, err
		}
	}
	if err := table.Write(struct{ backend.WritableFile }{f}, size); err != nil { // without the file's Sync
		return nil, err
	}
	esp := volume{file, espFirst, espCount}
	if err := errors.Join(esp.format(espLabel, id.serial("esp")), esp.add(bootDir)); err != nil {
		return nil, err
	}
	// The first table comes last: until then the disk is what it was.
	last, first := disk.Extent{First: int64(end * sector), Count: size - int64(end*sector)}, disk.Extent{First: 0, Count: mib * sector}
	if keep != nil {
		return []disk.Extent{{First: first.Count, Count: dataFirst*sector - first.Count}, last, first}, nil
	}
	if err := errors.Join(data.format(DataLabel, id.serial("data")), data.add(dataDir)); err != nil {
		return nil, err
	}
	used, err := usedBefore(f, int64(end*sector))
	return []disk.Extent{{First: first.Count, Count: used - first.Count}, last, first}, err
}

// newTable lays a disk out.
func newTable(id identity, data volume) *gpt.Table {
	part := func(i int, t gpt.Type, name string, first, count uint64) *gpt.Partition {
		return &gpt.Partition{Index: i, Start: first, End: first + count - 1, Size: count * sector, Type: t, Name: name, GUID: id.guid(name)}
	}
	return &gpt.Table{
		LogicalSectorSize: sector, PhysicalSectorSize: sector, ProtectiveMBR: true, GUID: id.guid("disk"),
		Partitions: []*gpt.Partition{
			part(1, gpt.BIOSBoot, biosName, biosFirst, biosCount),
			part(2, gpt.EFISystemPartition, espName, espFirst, espCount),
			part(dataIndex, gpt.MicrosoftBasicData, dataName, data.first, data.count),
		},
	}
}

// usedBefore is where the last part of a sparse file that was written to ends, of
// those before a limit. FAT fills its clusters from the first on.
func usedBefore(f *os.File, limit int64) (int64, error) {
	const seekData, seekHole = 3, 4 // lseek(2)
	var used int64
	for {
		first, err := f.Seek(used, seekData)
		if err != nil || first >= limit { // ENXIO: there is no more
			return used, nil
		}
		if used, err = f.Seek(first, seekHole); err != nil {
			return 0, err
		}
		if used >= limit {
			return limit, nil
		}
	}
}

// Disk is what a disk that was flashed before has.
type Disk struct {
	file string
	data *gpt.Partition
}

// ErrForeign is what is wrong with a disk that is not one of ours.
var ErrForeign = errors.New("not a disk with Nidus")

// Open looks whether a disk, or an image of one, was made by WriteDisk.
func Open(file string) (*Disk, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	sectors, err := checkHeaders(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %w", file, ErrForeign, err)
	}
	table, err := gpt.Read(f, sector, sector)
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %w", file, ErrForeign, err)
	}
	found := map[string]*gpt.Partition{}
	for _, p := range table.Partitions {
		found[p.Name] = p
	}
	bios, esp, data := found[biosName], found[espName], found[dataName]
	if bios == nil || esp == nil || data == nil || len(found) != 3 || bios.Start != biosFirst || esp.Start != espFirst ||
		esp.End != espFirst+espCount-1 || data.Start != dataFirst || data.Index != dataIndex || data.End < dataFirst || data.End >= sectors {
		return nil, fmt.Errorf("%s: %w: other partitions", file, ErrForeign)
	}
	return &Disk{file, data}, nil
}

// checkHeaders looks at what gpt.Read believes without a look: how many entries a table
// has, and of what size (UEFI 2.10, table 5.5). The disk may be anyone's. It returns the
// disk's sectors.
func checkHeaders(f *os.File) (sectors uint64, err error) {
	const (
		signature       = "EFI PART"
		countAt, sizeAt = 80, 84
		most, entry     = 1024, gpt.PartitionEntrySize
	)
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, err
	}
	sectors = uint64(end) / sector
	for _, at := range []uint64{1, max(sectors, 1) - 1} {
		b := make([]byte, sector)
		if _, err := f.ReadAt(b, int64(at*sector)); err != nil {
			return 0, err
		}
		if string(b[:len(signature)]) != signature {
			continue
		}
		if n, size := binary.LittleEndian.Uint32(b[countAt:]), binary.LittleEndian.Uint32(b[sizeAt:]); n > most || size != entry {
			return 0, fmt.Errorf("a partition table of %d entries of %d bytes", n, size)
		}
	}
	return sectors, nil
}

// Kernels returns the packed kernel that the disk starts and the one before it, nil
// for none.
func (d *Disk) Kernels() (now, before []byte, err error) {
	esp := volume{d.file, espFirst, espCount}
	if now, err = esp.read("/" + kernelName); err == nil {
		before, err = esp.read("/" + previousName)
	}
	return now, before, err
}

// DataBytes is the size of the data partition.
func (d *Disk) DataBytes() int64 { return int64(d.data.End-d.data.Start+1) * sector }

// moveTo puts the disk's data partition into a new table, whose disk has room before
// sector end.
func (d *Disk) moveTo(t *gpt.Table, end uint64) error {
	if d.data.End >= end {
		return fmt.Errorf("%s: its data partition goes beyond the end of the disk", d.file)
	}
	t.Partitions[dataIndex-1] = d.data
	return nil
}
