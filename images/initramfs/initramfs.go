// Package initramfs packs a Linux initramfs: a gzip'd cpio archive of the kind
// that Documentation/driver-api/early-userspace/buffer-format.rst describes.
package initramfs

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"path"

	"github.com/cavaliergopher/cpio"
)

// Image collects what goes into an archive. The same calls make the same bytes.
type Image struct {
	files []entry
	has   map[string]bool
}

type entry struct {
	h    cpio.Header
	data []byte
}

// File adds a file and the folders it is in. mode is its permissions.
func (m *Image) File(name string, mode uint32, data []byte) {
	m.add(name, cpio.TypeReg|cpio.FileMode(mode), data)
}

// Link adds a symbolic link.
func (m *Image) Link(name, target string) {
	m.add(name, cpio.TypeSymlink|0o777, []byte(target))
}

// Dir adds a folder.
func (m *Image) Dir(name string) { m.add(name, cpio.TypeDir|0o755, nil) }

func (m *Image) add(name string, mode cpio.FileMode, data []byte) {
	name = path.Clean("/" + name)[1:]
	if name == "" || m.has[name] {
		return
	}
	if dir := path.Dir(name); dir != "." {
		m.Dir(dir)
	}
	if m.has == nil {
		m.has = map[string]bool{}
	}
	m.has[name] = true
	m.files = append(m.files, entry{cpio.Header{Name: name, Mode: mode, Size: int64(len(data)), Links: 1}, data})
}

// Pack returns the archive.
func (m *Image) Pack() ([]byte, error) {
	var out bytes.Buffer
	z, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	w := cpio.NewWriter(z)
	for i := range m.files {
		e := m.files[i]
		e.h.Inode = int64(i + 1)
		if err := w.WriteHeader(&e.h); err != nil {
			return nil, fmt.Errorf("initramfs: %s: %w", e.h.Name, err)
		}
		if _, err := w.Write(e.data); err != nil {
			return nil, fmt.Errorf("initramfs: %s: %w", e.h.Name, err)
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}
