package media

import (
	"fmt"
	"os"
	"path/filepath"
)

// sector is the size of a disk's block in bytes.
const sector = 512

// volume is a FAT file system in a file or on a disk.
type volume struct {
	file         string
	first, count uint64 // sectors
}

// drive is how mtools's programs name it.
func (v volume) drive() string { return fmt.Sprintf("%s@@%d", v.file, v.first*sector) }

// Limits of FAT32 (Microsoft's specification of 2000, "FAT Type Determination"):
// with fewer clusters it would be FAT16; a volume's sectors are counted in 32 bits.
const (
	leastClusters = 65525
	mostSectors   = 1<<32 - 1
)

// clusterSectors is the size of a volume's clusters: as small as keeps the table
// below 8 MiB, up to the most that everyone reads, 32 KiB.
func clusterSectors(sectors uint64) uint64 {
	n := uint64(1)
	for n < 64 && sectors/n > 2<<20 {
		n *= 2
	}
	return n
}

// format makes an empty FAT32.
func (v volume) format(label string, serial uint32) error {
	c := clusterSectors(v.count)
	if v.count > mostSectors || v.count/c < leastClusters+leastClusters/50 { // the tables need some
		return fmt.Errorf("FAT32 cannot have %d sectors", v.count)
	}
	return run("mformat", "-i", v.drive(), "-F", "-c", fmt.Sprint(c), "-T", fmt.Sprint(v.count), "-H", fmt.Sprint(v.first),
		"-h", "255", "-s", "63", "-m", "0xf8", "-N", fmt.Sprintf("%08x", serial), "-v", label, "::")
}

// add copies a folder's files and folders. They go by name, for the order of a
// folder is that in which its files came.
func (v volume) add(dir string) error { return v.addTo("::", dir) }

func (v volume) addTo(to, dir string) error {
	entries, err := os.ReadDir(dir) // sorted
	if err != nil {
		return err
	}
	var files []string
	for _, e := range entries {
		p := filepath.Join(dir, e.Name())
		if !e.IsDir() {
			files = append(files, p)
			continue
		}
		sub := to + "/" + e.Name()
		if err := run("mmd", "-i", v.drive(), sub); err != nil {
			return err
		}
		if err := v.addTo(sub, p); err != nil {
			return err
		}
	}
	if len(files) == 0 {
		return nil
	}
	return run("mcopy", append(append([]string{"-Q", "-i", v.drive()}, files...), to+"/")...)
}

// read returns a file's bytes, nil if it is not there.
func (v volume) read(name string) ([]byte, error) {
	dir, err := os.MkdirTemp("", "nidus-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	out := filepath.Join(dir, "file")
	if run("mdir", "-b", "-i", v.drive(), "::"+name) != nil {
		return nil, nil
	}
	if err := run("mcopy", "-i", v.drive(), "::"+name, out); err != nil {
		return nil, err
	}
	return os.ReadFile(out)
}
