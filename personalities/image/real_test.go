package image

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestRealKernels decodes real files, if somebody names some:
// NIDUS_TEST_KERNEL=/boot/vmlinuz:/usr/lib/grub-xen/grub-i386-xen_pvh.bin
func TestRealKernels(t *testing.T) {
	list := os.Getenv("NIDUS_TEST_KERNEL")
	if list == "" {
		t.Skip("NIDUS_TEST_KERNEL is not set")
	}
	for _, file := range filepath.SplitList(list) {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		k, err := Decode(file, data, Limits{})
		if err != nil {
			t.Error(err)
			continue
		}
		lo, hi := k.Span()
		entry, ok := k.PVHEntry()
		t.Logf("%s: %s, %v, %d segments, %#x-%#x, held %d, PVH entry %#x, %v", file, k.Format, k.Machine, len(k.Segments), lo, hi, k.Held, entry, time.Since(start))
		t.Logf("notes %+v", k.Notes)
		if !ok {
			t.Error(k.CheckPVH())
		}
	}
}
