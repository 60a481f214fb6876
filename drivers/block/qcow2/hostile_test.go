package qcow2

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
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

// TestNotCounted: a cluster that a table points to and that is not counted is given back, and
// flushes go on; the log has it once.
func TestNotCounted(t *testing.T) {
	b := newBench(t)
	b.must("create", "-f", "qcow2", "i", "64M")
	d := b.load("i", 1<<20)
	i, err := b.open(d, false)
	if err != nil {
		t.Fatal(err)
	}
	for at := range 4 {
		if err := b.do(i, block.Write, 128*at, bytes.Repeat([]byte{byte(at + 1)}, 64<<10)); err != nil {
			t.Fatal(err)
		}
	}
	if err := i.Close(); err != nil {
		t.Fatal(err)
	}
	be := binary.BigEndian
	counts := be.Uint64(d.b[be.Uint64(d.b[48:]):])
	for at := range 2 {
		c := bytes.Index(d.b, bytes.Repeat([]byte{byte(at + 1)}, 64<<10)) >> 16
		be.PutUint16(d.b[counts+2*uint64(c):], 0)
	}
	var lines []string
	if i, err = Open(Config{Device: d, Memory: b.mem, Name: "i", Log: func(f string, args ...any) { lines = append(lines, fmt.Sprintf(f, args...)) }}); err != nil {
		t.Fatal(err)
	}
	for at := range 2 {
		if err := block.Do(i, &block.Request{Op: block.Discard, Sector: 128 * uint64(at), Sectors: 128}); err != nil {
			t.Error(err)
		}
	}
	for n := range 3 {
		if err := errors.Join(b.do(i, block.Write, 128*3, bytes.Repeat([]byte{byte(n)}, 512)), b.do(i, block.Flush, 0, nil)); err != nil {
			t.Errorf("flush %d: %v", n, err)
		}
	}
	if err := i.Close(); err != nil {
		t.Error(err)
	}
	if len(lines) != 1 || !strings.Contains(lines[0], "was used and not counted") {
		t.Errorf("log: %q", lines)
	}
}

// TestFUAWhileClosing: a write that is to be on the medium, and that was admitted, is done
// though Close has begun.
func TestFUAWhileClosing(t *testing.T) {
	b := newBench(t)
	b.must("create", "-f", "qcow2", "i", "64M")
	i, err := b.open(b.load("i", 1<<20), false)
	if err != nil {
		t.Fatal(err)
	}
	i.gate.Enter()
	closed := make(chan error, 1)
	go func() { closed <- i.Close() }()
	for !i.gate.Shutting() {
		time.Sleep(time.Millisecond)
	}
	r := &block.Request{Op: block.WriteFUA, Segments: []block.Segment{{Frame: b.frames[0], Len: 512}}}
	if err := i.writeFUA(r, 1); err != nil {
		t.Error(err)
	}
	i.gate.Leave()
	if err := <-closed; err != nil {
		t.Error(err)
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
