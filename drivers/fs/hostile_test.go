package fs

import (
	"bytes"
	"encoding/binary"
	"io"
	"strings"
	"testing"
)

// counter counts what is read.
type counter struct {
	io.ReaderAt
	bytes int
}

func (c *counter) ReadAt(b []byte, at int64) (int, error) {
	c.bytes += len(b)
	return c.ReaderAt.ReadAt(b, at)
}

// TestTrees: trees of extents that lead to each other again and again, go too deep or off the
// disk are damage, and are not walked for long.
func TestTrees(t *testing.T) {
	const block = 64 << 10
	le := binary.LittleEndian
	// node fills b with as many entries as it has room for, most at most.
	node := func(b []byte, deep, most int, entry func(i int, x []byte)) {
		n := min(len(b)/12-1, most)
		le.PutUint16(b, extTree)
		le.PutUint16(b[2:], uint16(n))
		le.PutUint16(b[6:], uint16(deep))
		for i := range n {
			entry(i, b[12*(i+1):])
		}
	}
	to := func(block int) func(int, []byte) {
		return func(_ int, x []byte) { le.PutUint32(x[4:], uint32(block)) }
	}
	for name, c := range map[string]struct {
		fill func(root []byte, blocks func(int) []byte)
		want string
	}{
		"many that have nothing": {func(root []byte, at func(int) []byte) {
			node(root, 3, 4, to(4))
			node(at(4), 2, 1<<16, to(5))
			node(at(5), 1, 1<<16, to(6))
			node(at(6), 0, 0, nil)
		}, "tree of extents has more than"},
		"a circle": {func(root []byte, at func(int) []byte) {
			node(root, 2, 4, to(4))
			node(at(4), 1, 1<<16, to(4))
		}, "tree of extents"},
		"too deep": {func(root []byte, at func(int) []byte) { node(root, 7, 1, to(4)) }, "tree of extents"},
		"no tree":  {func([]byte, func(int) []byte) {}, "tree of extents"},
		"too many entries": {func(root []byte, at func(int) []byte) {
			node(root, 0, 1, to(4))
			le.PutUint16(root[2:], 5)
		}, "tree of extents"},
		"off the disk": {func(root []byte, at func(int) []byte) { node(root, 1, 1, to(99)) }, "block 99"},
		"ends off the disk": {func(root []byte, at func(int) []byte) {
			node(root, 0, 1, func(_ int, x []byte) { le.PutUint16(x[4:], 8); le.PutUint32(x[8:], 4) })
		}, "block 11"},
		"not in order": {func(root []byte, at func(int) []byte) {
			node(root, 0, 2, func(_ int, x []byte) { le.PutUint16(x[4:], 1); le.PutUint32(x[8:], 4) })
		}, "not in order"},
	} {
		t.Run(name, func(t *testing.T) {
			image := make([]byte, 8*block)
			at := func(n int) []byte { return image[n*block : (n+1)*block] }
			super := image[1024:]
			le.PutUint32(super, 100)        // inodes
			le.PutUint32(super[0x18:], 6)   // blocks of 64 KiB
			le.PutUint32(super[0x28:], 100) // inodes in a group
			le.PutUint16(super[0x38:], extMagic)
			le.PutUint32(super[0x60:], 0x40) // extents
			le.PutUint32(at(1)[8:], 2)
			root := at(2)[128*(extRoot-1):][:128]
			le.PutUint16(root, 0x4000)
			le.PutUint32(root[4:], block)
			le.PutUint32(root[0x20:], extExtents)
			c.fill(root[0x28:0x28+60], at)
			r := &counter{ReaderAt: bytes.NewReader(image)}
			s, err := Open(r, int64(len(image)))
			if err != nil {
				t.Fatal(err)
			}
			_, err = s.Find("x")
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
			if r.bytes > extMaxTree+1<<20 {
				t.Errorf("%d MiB were read of a disk of %d KiB", r.bytes>>20, len(image)>>10)
			}
		})
	}
}
