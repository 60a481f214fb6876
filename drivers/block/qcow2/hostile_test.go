package qcow2

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"
	"time"

	"nidus/drivers/block"
)

// TestEnd: a file ends where its last table or cluster does, in the middle of a page.
func TestEnd(t *testing.T) {
	b := newBench(t)
	b.must("create", "-f", "qcow2", "i", "64M")
	d := b.load("i", 0)
	if len(d.b)%4096 == 0 {
		t.Fatalf("the file has %d bytes", len(d.b))
	}
	i, err := b.open(d, true)
	if err != nil {
		t.Fatal(err)
	}
	got := bytes.Repeat([]byte{1}, 4096)
	if err := b.do(i, block.Read, 8, got); err != nil || !bytes.Equal(got, make([]byte, 4096)) {
		t.Error(err)
	}
	if err := i.Close(); err != nil {
		t.Error(err)
	}

	// With a cluster that is there in part, which has to go elsewhere to be written whole.
	whole := b.load("i", 1<<20)
	if i, err = b.open(whole, false); err != nil {
		t.Fatal(err)
	}
	want := bytes.Repeat([]byte{2}, 64<<10)
	if err := errors.Join(b.do(i, block.Write, 128, want), i.Close()); err != nil {
		t.Fatal(err)
	}
	last := bytes.LastIndex(whole.b, want[:512]) + 512
	part := &disk{mem: b.mem, b: append(bytes.Clone(whole.b[:last-60<<10]), make([]byte, 0)...)}
	if i, err = b.open(part, false); err != nil {
		t.Fatal(err)
	}
	if err := b.do(i, block.Write, 128+64, want[:4096]); !errors.Is(err, block.ErrNoSpace) {
		t.Errorf("there is no room: %v", err)
	}
	if err := b.do(i, block.Write, 128, want[:4096]); err != nil {
		t.Errorf("what is there: %v", err)
	}
	if err := i.Close(); err != nil {
		t.Error(err)
	}
}

// TestUncounted: an image whose own tables are not counted does not have them overwritten:
// what a guest writes there would be the name of a file below, the next time.
func TestUncounted(t *testing.T) {
	b := newBench(t)
	b.must("create", "-f", "qcow2", "i", "64M")
	good := b.load("i", 1<<20)
	be := binary.BigEndian
	table := be.Uint64(good.b[48:])
	counts := be.Uint64(good.b[table:])
	for _, c := range []uint64{0, table >> 16, counts >> 16, be.Uint64(good.b[40:]) >> 16} {
		d := &disk{mem: b.mem, b: bytes.Clone(good.b)}
		be.PutUint16(d.b[counts+2*c:], 0)
		before := bytes.Clone(d.b[c<<16 : (c+1)<<16])
		i, err := b.open(d, false)
		if err != nil {
			t.Fatal(err)
		}
		for at := range 3 {
			if err := b.do(i, block.Write, 128*at, bytes.Repeat([]byte("x"), 64<<10)); !errors.Is(err, ErrDamaged) {
				t.Errorf("cluster %d, write %d: %v", c, at, err)
			}
		}
		if err := i.Close(); err != nil {
			t.Error(err)
		}
		if c<<16 != counts && !bytes.Equal(d.b[c<<16:(c+1)<<16], before) {
			t.Errorf("cluster %d was written", c)
		}
	}
}

// TestHugeDiscard: a disk of which an image says that it has more than anybody could go
// through does not keep those who use it, nor who closes it.
func TestHugeDiscard(t *testing.T) {
	b := newBench(t)
	b.must("create", "-f", "qcow2", "i", "16T")
	d := b.load("i", 1<<20)
	i, err := b.open(d, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(b.do(i, block.Write, 0, make([]byte, 512)), i.Close()); err != nil {
		t.Fatal(err)
	}
	be := binary.BigEndian
	l1, n := be.Uint64(d.b[40:]), be.Uint32(d.b[36:])
	for k := range uint64(n) {
		copy(d.b[l1+8*k:], d.b[l1:][:8]) // one table for all of the disk
	}
	if i, err = b.open(d, false); err != nil {
		t.Fatal(err)
	}
	end := make(chan error, 1)
	go func() {
		end <- block.Do(i, &block.Request{Op: block.Discard, Sector: 128, Sectors: i.Info().Sectors - 128})
	}()
	time.Sleep(50 * time.Millisecond) // it has begun, or gets ErrGone before
	closed := make(chan error, 1)
	go func() { closed <- errors.Join(b.do(i, block.Read, 1<<30, make([]byte, 512)), i.Close()) }()
	select {
	case err := <-closed:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("a discard keeps the image")
	}
	if err := <-end; !errors.Is(err, block.ErrGone) {
		t.Error(err)
	}
}
