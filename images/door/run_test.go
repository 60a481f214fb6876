package main

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"nidus/images/regress"
)

// TestShare: one at a time has the file; the next finds nothing of the one before in it.
func TestShare(t *testing.T) {
	name := filepath.Join(t.TempDir(), sharedName)
	f, err := share(name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString("NIDURING"); err != nil {
		t.Fatal(err)
	}
	if _, err := share(name); !errors.Is(err, unix.EWOULDBLOCK) {
		t.Errorf("a second one: %v", err)
	}
	f.Close()
	if f, err = share(name); err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := os.ReadFile(name)
	if err != nil || len(b) != regress.ShareSize || b[0] != 0 {
		t.Errorf("%d bytes, %v", len(b), err)
	}
	if st, err := f.Stat(); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
}
