package vga

import (
	"testing"
	"unsafe"
)

// mapped is b as device memory.
func mapped(b []byte) Mapped { return MemoryAt(unsafe.Pointer(&b[0]), len(b)) }

func TestMapped(t *testing.T) {
	words := make([]uint64, 8)
	b := unsafe.Slice((*byte)(unsafe.Pointer(&words[0])), 64)
	m := MemoryAt(unsafe.Pointer(&b[8]), 48)
	src := make([]byte, 49)
	for i := range src {
		src[i] = byte(i + 1)
	}
	for off := range 49 {
		for n := range 49 - off {
			clear(b)
			m.Store(off, src[:n])
			for i, c := range b {
				want := byte(0)
				if i >= 8+off && i < 8+off+n {
					want = src[i-8-off]
				}
				if c != want {
					t.Fatalf("%d bytes to %d: byte %d is %d, want %d", n, off, i-8, c, want)
				}
			}
		}
	}
	for _, c := range [][2]int{{-1, 1}, {48, 1}, {0, 49}, {1, 48}, {49, 0}, {1 << 62, 8}} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%d bytes stored at %d", c[1], c[0])
				}
			}()
			m.Store(c[0], src[:c[1]])
		}()
	}
}
