package fs

import (
	"bytes"
	"errors"
	"math/rand"
	"strings"
	"testing"
)

// TestDeepTree: a file in many pieces has a tree of several levels, which grows and shrinks
// in its nodes, and is what e2fsck expects.
func TestDeepTree(t *testing.T) {
	for seed, k := range kinds[2:] {
		t.Run(k.name, func(t *testing.T) {
			b := newBench(t, k, int64(400+seed))
			e, name := b.s.(*ext4), "sparse"
			f := b.files[name]
			deep := 0
			fill := func(block int) {
				at, before, _, _ := f.tree.around(uint64(block))
				if at.n != 0 {
					return
				}
				if err := e.again(f); err != nil {
					t.Fatal(err)
				}
				if err := e.change(f, 0, uint64(block), 1, 1, &before, b.used); err != nil {
					t.Fatal(err)
				}
				data := make([]byte, e.block)
				b.rnd.Read(data)
				b.m.WriteAt(data, f.place(int64(block)*e.block))
				copy(b.model[name][block*int(e.block):], data)
				deep = max(deep, len(f.tree.above))
			}
			blocks := int(f.Size / e.block)
			order := b.rnd.Perm(blocks)
			for _, block := range order {
				if block%2 == 0 {
					fill(block)
				}
			}
			if e.block == 1024 && (deep == 0 || len(f.tree.leaves) < 10) {
				t.Errorf("%d leaves, %d nodes above them", len(f.tree.leaves), deep)
			}
			b.m.Flush()
			b.checked(b.m.b, "alternating", true)
			for _, block := range order[:blocks*3/4] {
				fill(block)
			}
			b.finish()
			b.checked(b.m.b, "filled", false)
		})
	}
}

// TestExtFixed: an ext4 that has what is not kept up here says so, and is read.
func TestExtFixed(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"-O", "quota"}, "quota"},
		{[]string{"-O", "bigalloc", "-b", "4096", "-C", "16384"}, "bigalloc"},
		{[]string{"-O", "bigalloc", "-b", "1024", "-C", "16384"}, "bigalloc"},
		{[]string{"-O", "sparse_super2"}, "not known"},
		{[]string{"-O", "project,quota"}, "quota, project"},
		{[]string{"-O", "verity"}, "verity"},
		{[]string{"-I", "1024"}, "inodes"},
	} {
		b := extWith(t, c.args)
		s, err := Open(b, int64(len(b.b)))
		if err != nil {
			t.Errorf("%q: %v", c.args, err)
			continue
		}
		f, err := s.Find("c")
		if err != nil {
			t.Fatal(err)
		}
		was := bytes.Clone(b.b)
		if err := s.(Grower).Prepare(&f); !errors.Is(err, ErrFixed) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v", c.args, err)
		}
		if err := s.(Grower).Extend(&f, 512, 512, func(Extent) bool { return false }); !errors.Is(err, ErrFixed) || !bytes.Equal(was, b.b) {
			t.Errorf("%q: %v, or it was written", c.args, err)
		}
	}
	for _, c := range []struct {
		at   int
		v    byte
		want string
	}{{extState, 0, "not unmounted"}, {extState, 3, "errors"}, {0xe8, 9, "to be deleted"}} {
		b := extWith(t, []string{"-O", "^metadata_csum,^has_journal"})
		b.b[extSuper+c.at] = c.v
		s, err := Open(b, int64(len(b.b)))
		if err != nil {
			t.Fatal(err)
		}
		f, _ := s.Find("c")
		if err := s.(Grower).Prepare(&f); !errors.Is(err, ErrFixed) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%#x: %v", c.at, err)
		}
	}
}

// extWith makes an ext4 with some features.
func extWith(t *testing.T, args []string) *medium {
	return newBenchOn(t, extKind("", "16M", args...), 1).m
}

// TestBalance: four bytes make up for any change.
func TestBalance(t *testing.T) {
	rnd := rand.New(rand.NewSource(1))
	for range 50 {
		b := make([]byte, 100+rnd.Intn(1000))
		rnd.Read(b)
		want, at := rnd.Uint32(), rnd.Intn(len(b)-4)
		was := bytes.Clone(b)
		balance(b, at, want)
		if got := crc32c(^uint32(0), b); got != want {
			t.Errorf("%#x, not %#x", got, want)
		}
		if copy(was[at:], b[at:at+4]); !bytes.Equal(was, b) {
			t.Error("others changed")
		}
	}
}

// TestFreshGroups: groups whose bitmaps were never written have them before anybody can see
// that.
func TestFreshGroups(t *testing.T) {
	b := newBenchOn(t, kinds[2], 500)
	good := b.m.b
	for range 10 {
		b.m = &medium{b: bytes.Clone(good)}
		b.open()
		b.m.before = func() {
			for range 3 {
				b.cut(b.rnd, "a cut")
			}
		}
		f := b.files["c"]
		if err := b.s.Extend(f, 3<<20, 3<<20, b.used); err != nil {
			t.Fatal(err)
		}
		b.model["c"] = b.model["c"][:1000+2*40000]
	}
}
