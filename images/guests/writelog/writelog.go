// Package writelog is a log of records that a guest writes and flushes one after another,
// and that somebody else checks after the power was cut: what the guest said was flushed
// has to be there.
package writelog

import (
	"encoding/binary"
	"fmt"
	"io"
	"os"
)

const (
	// Size is that of a record, in bytes.
	Size = 4096
	// Most is how many there are in a log.
	Most = 12 << 10
	// flushEach is the most that is written before a flush.
	flushEach = 4
)

// Fill makes b, of Size bytes, record n of a log: each word is one of this record alone.
func Fill(b []byte, log byte, n int) {
	x := uint64(log)<<56 | uint64(n) + 1
	for i := 0; i < Size; i += 8 {
		binary.LittleEndian.PutUint64(b[i:], x)
		x = x*6364136223846793005 + 1442695040888963407 // Knuth's MMIX generator
	}
}

// Write writes a log of most records, or a few more, to a file or a disk, and tells after each flush how many records are
// on the medium, by a line to w.
func Write(w io.Writer, log byte, path string, most int) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	b := make([]byte, Size)
	for n := 0; n < most; {
		for range 1 + n%flushEach {
			Fill(b, log, n)
			if _, err := f.WriteAt(b, int64(n)*Size); err != nil {
				return err
			}
			n++
		}
		if err := f.Sync(); err != nil {
			return err
		}
		if _, err := fmt.Fprintf(w, "%c %d\n", log, n); err != nil {
			return err
		}
	}
	return nil
}

// Check looks for the first n records of a log.
func Check(r io.Reader, log byte, n int) error {
	got, want := make([]byte, Size), make([]byte, Size)
	for i := range n {
		if _, err := io.ReadFull(r, got); err != nil {
			return fmt.Errorf("log %c: record %d of %d that were flushed: %w", log, i, n, err)
		}
		Fill(want, log, i)
		for at := range got {
			if got[at] != want[at] {
				return fmt.Errorf("log %c: record %d of %d that were flushed has % x at byte %d, not % x", log, i, n, got[at:min(at+8, Size)], at, want[at:min(at+8, Size)])
			}
		}
	}
	return nil
}
