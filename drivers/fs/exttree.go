package fs

import (
	"encoding/binary"
)

// The tree of a file's extents in memory, as far as it is changed here: what a leaf's extents
// are. The nodes above are made anew each time.

const (
	extHead     = 12 // bytes of a node's header, and of an entry
	extRootHas  = 4  // entries in the inode
	extMostUsed = 32768
)

// mapping is n blocks of a file from first on, at at; what is unused reads as zeros.
type mapping struct {
	first, n, at uint64
	unused       bool
}

// leaf is a node with extents.
type leaf struct {
	block uint64 // where it is; 0: in the inode, or nowhere yet
	all   []mapping
}

// tree is a file's.
type tree struct {
	leaves []leaf
	above  []uint64 // the nodes between the inode and the leaves
	seed   uint32   // of the checksums
	inode  int64    // where it is, in bytes
	fields int      // how many extents
}

// load reads a node and what is below it, which is less than depth deep. What walk has checked
// may have changed meanwhile.
func (e *ext4) load(t *tree, b []byte, block uint64, depth int) error {
	le := binary.LittleEndian
	entries, deep := int(le.Uint16(b[2:])), int(le.Uint16(b[6:]))
	if le.Uint16(b) != extTree || entries > len(b)/extHead-1 || entries == 0 && block != 0 || deep >= depth || len(t.leaves)+len(t.above) > extMaxTree/int(e.block) {
		return damaged("a file's tree of extents")
	}
	if block != 0 && e.w.features&extSums != 0 {
		if at := e.tail(); crc32c(t.seed, b[:at]) != le.Uint32(b[at:]) {
			return damaged("the checksum of a file's extents in block %d", block)
		}
	}
	if deep == 0 {
		l := leaf{block: block}
		for i := range entries {
			x := b[extHead*(i+1):]
			m := mapping{first: uint64(le.Uint32(x)), n: uint64(le.Uint16(x[4:])), at: uint64(le.Uint32(x[8:])) | uint64(le.Uint16(x[6:]))<<32}
			if m.unused = m.n > extUnused; m.unused {
				m.n -= extUnused
			}
			if m.n == 0 || m.at <= e.w.first || m.at >= e.w.blocks || m.n > e.w.blocks-m.at || len(e.w.own(blockRun{m.at, m.n})) > 0 || m.first < t.end() || len(l.all) > 0 && m.first < l.all[len(l.all)-1].end() {
				return damaged("a file's extents are not in order, or where the file system is")
			}
			l.all = append(l.all, m)
		}
		if t.fields += entries; t.fields > maxExtents {
			return fixed("it is in more than %d pieces", maxExtents)
		}
		if entries > 0 {
			t.leaves = append(t.leaves, l)
		}
		return nil
	}
	if block != 0 {
		t.above = append(t.above, block)
	}
	for i := range entries {
		x := b[extHead*(i+1):]
		n := uint64(le.Uint32(x[4:])) | uint64(le.Uint16(x[8:]))<<32
		at, err := e.place(n)
		if err != nil {
			return err
		}
		if n >= e.w.blocks || len(e.w.own(blockRun{n, 1})) > 0 {
			return damaged("a file's extents are where the file system is")
		}
		below := make([]byte, e.block)
		if err := e.read(below, at); err != nil {
			return err
		}
		if err := e.load(t, below, n, deep); err != nil {
			return err
		}
	}
	return nil
}

func (m mapping) end() uint64 { return m.first + m.n }

// end is behind all that the file has.
func (t *tree) end() uint64 {
	for i := len(t.leaves) - 1; i >= 0; i-- {
		if all := t.leaves[i].all; len(all) > 0 {
			return all[len(all)-1].end()
		}
	}
	return 0
}

// tail is where in a node its checksum is.
func (e *ext4) tail() int { return extHead * (int(e.block) / extHead) }

// most is how many entries a node has, but for the inode's.
func (e *ext4) most() int { return int(e.block)/extHead - 1 }

// around finds what is at a block of the file, or else the hole [from, to) that it is in, and
// what is before.
func (t *tree) around(block uint64) (at, before mapping, from, to uint64) {
	to = 1 << 32
	for _, l := range t.leaves {
		if n := len(l.all); n > 0 && l.all[n-1].end() <= block { // all of it is before
			before, from = l.all[n-1], l.all[n-1].end()
			continue
		}
		for _, m := range l.all {
			switch {
			case m.end() <= block:
				before, from = m, m.end()
			case m.first <= block:
				return m, before, m.first, m.end()
			default:
				return mapping{}, before, from, m.first
			}
		}
	}
	return mapping{}, before, from, to
}

// put maps blocks that are a part of a hole, or of one extent that is not used. Leaves that
// change are where they were no more: it returns the blocks that they had.
func (t *tree) put(m mapping, most int) (old []uint64) {
	i := 0
	for i+1 < len(t.leaves) && len(t.leaves[i+1].all) > 0 && t.leaves[i+1].all[0].first <= m.first {
		i++
	}
	if len(t.leaves) == 0 {
		t.leaves = append(t.leaves, leaf{})
	}
	l := t.leaves[i]
	if l.block != 0 {
		old = append(old, l.block)
	}
	var out []mapping
	add := func(x mapping) {
		if n := len(out); n > 0 {
			p := &out[n-1]
			if limit := uint64(extMostUsed); p.end() == x.first && p.at+p.n == x.at && !p.unused && !x.unused && p.n+x.n <= limit {
				p.n += x.n
				return
			}
		}
		out = append(out, x)
	}
	placed := false
	for _, x := range l.all {
		switch {
		case x.end() <= m.first || placed && x.first >= m.end():
			add(x)
		case x.first >= m.end():
			add(m)
			add(x)
			placed = true
		default: // m is a part of it
			if x.first < m.first {
				add(mapping{x.first, m.first - x.first, x.at, true})
			}
			add(m)
			if m.end() < x.end() {
				add(mapping{m.end(), x.end() - m.end(), x.at + m.end() - x.first, true})
			}
			placed = true
		}
	}
	if !placed {
		add(m)
	}
	t.fields += len(out) - len(l.all)
	// A leaf that is full is cut: at its end if that is where it grows.
	parts := [][]mapping{out}
	if len(out) > most {
		at := len(out) / 2
		if i == len(t.leaves)-1 && out[len(out)-1].end() == m.end() {
			at = most
		}
		parts = [][]mapping{out[:at:at], out[at:]}
	}
	leaves := append([]leaf{}, t.leaves[:i]...)
	for _, p := range parts {
		leaves = append(leaves, leaf{all: p})
	}
	t.leaves = append(leaves, t.leaves[i+1:]...)
	return old
}

// node makes a node of entries; deep is 0 for a leaf's.
func (e *ext4) node(bytes, most, deep int, entries [][extHead]byte) []byte {
	le, b := binary.LittleEndian, make([]byte, bytes)
	le.PutUint16(b, extTree)
	le.PutUint16(b[2:], uint16(len(entries)))
	le.PutUint16(b[4:], uint16(most))
	le.PutUint16(b[6:], uint16(deep))
	for i, x := range entries {
		copy(b[extHead*(i+1):], x[:])
	}
	return b
}

func (m mapping) entry() (x [extHead]byte) {
	le, n := binary.LittleEndian, m.n
	if m.unused {
		n += extUnused
	}
	le.PutUint32(x[:], uint32(m.first))
	le.PutUint16(x[4:], uint16(n))
	le.PutUint16(x[6:], uint16(m.at>>32))
	le.PutUint32(x[8:], uint32(m.at))
	return x
}

// store writes the leaves that changed and all nodes above them to new blocks, which next
// gives, and returns what the inode has of the tree.
func (e *ext4) store(t *tree, next func() uint64) ([]byte, error) {
	le := binary.LittleEndian
	put := func(b []byte) (uint64, error) {
		block := next()
		if e.w.features&extSums != 0 {
			at := e.tail()
			le.PutUint32(b[at:], crc32c(t.seed, b[:at]))
		}
		return block, e.write(b, int64(block)*e.block)
	}
	var level [][extHead]byte
	if len(t.leaves) == 1 && len(t.leaves[0].all) <= extRootHas {
		for _, m := range t.leaves[0].all {
			level = append(level, m.entry())
		}
		t.leaves[0].block, t.above = 0, nil
		return e.node(60, extRootHas, 0, level), nil
	}
	index := func(first uint32, block uint64) (x [extHead]byte) {
		le.PutUint32(x[:], first)
		le.PutUint32(x[4:], uint32(block))
		le.PutUint16(x[8:], uint16(block>>32))
		return x
	}
	for i := range t.leaves {
		l := &t.leaves[i]
		if l.block == 0 {
			var entries [][extHead]byte
			for _, m := range l.all {
				entries = append(entries, m.entry())
			}
			var err error
			if l.block, err = put(e.node(int(e.block), e.most(), 0, entries)); err != nil {
				return nil, err
			}
		}
		level = append(level, index(uint32(l.all[0].first), l.block))
	}
	t.above = nil
	deep := 1
	for ; len(level) > extRootHas; deep++ {
		var higher [][extHead]byte
		for len(level) > 0 {
			n := min(len(level), e.most())
			block, err := put(e.node(int(e.block), e.most(), deep, level[:n]))
			if err != nil {
				return nil, err
			}
			t.above = append(t.above, block)
			higher = append(higher, index(le.Uint32(level[0][:]), block))
			level = level[n:]
		}
		level = higher
	}
	return e.node(60, extRootHas, deep, level), nil
}

// nodes is how many blocks store asks for.
func (e *ext4) nodes(t *tree) (n uint64) {
	if len(t.leaves) == 1 && len(t.leaves[0].all) <= extRootHas {
		return 0
	}
	for _, l := range t.leaves {
		if l.block == 0 {
			n++
		}
	}
	for k := len(t.leaves); k > extRootHas; {
		k = (k + e.most() - 1) / e.most()
		n += uint64(k)
	}
	return n
}
