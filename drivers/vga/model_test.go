package vga

import (
	"bytes"
	"strings"
	"testing"

	"nidus/kernel/boot"
)

// video is video memory that counts what is stored. It cannot be read by a screen.
type video struct {
	b      []byte
	stored int
}

func (v *video) Store(off int, b []byte) {
	v.stored += copy(v.b[off:off+len(b)], b)
}

// board is a VGA's registers.
type board struct {
	index map[uint16]uint8
	reg   map[[2]uint16]uint8
	none  bool
}

// newBoard is in text mode, with a hidden cursor and scrolled.
func newBoard() *board {
	return &board{index: map[uint16]uint8{}, reg: map[[2]uint16]uint8{
		{gfxPort, gfxMisc}:          0x0e,
		{crtcPort, crtcCursorStart}: cursorHidden | 13,
		{crtcPort, crtcStartHigh}:   7, {crtcPort, crtcStartLow}: 0xd0,
	}}
}

func (v *board) In8(port uint16) uint8 {
	if v.none {
		return 0xff
	}
	return v.reg[[2]uint16{port - 1, uint16(v.index[port-1])}]
}

func (v *board) Out8(port uint16, b uint8) {
	if port&1 == 0 {
		v.index[port] = b
	} else {
		v.reg[[2]uint16{port - 1, uint16(v.index[port-1])}] = b
	}
}

func (v *board) cursor() int {
	return int(v.reg[[2]uint16{crtcPort, crtcCursorHigh}])<<8 | int(v.reg[[2]uint16{crtcPort, crtcCursorLow}])
}

// newTextScreen returns a screen of that size with lines of pitch bytes.
func newTextScreen(t testing.TB, cols, rows, pitch int) (*terminal, *video, *board) {
	t.Helper()
	m, v := &video{b: make([]byte, pitch*rows)}, newBoard()
	f := EGAText()
	f.Width, f.Height, f.Pitch = uint32(cols), uint32(rows), uint32(pitch)
	s, err := NewText(m, v, f)
	if err != nil {
		t.Fatal(err)
	}
	return s.(*terminal), m, v
}

// rgb is a framebuffer of the usual layout for its depth.
func rgb(w, h uint32, bpp uint8) *boot.Framebuffer {
	f := &boot.Framebuffer{Kind: boot.FramebufferRGB, Addr: 0xfd000000, Width: w, Height: h, BPP: bpp}
	f.Pitch = w * uint32(pixelBytes(f))
	switch bpp {
	case 15:
		f.Red, f.Green, f.Blue = boot.Channel{Pos: 10, Size: 5}, boot.Channel{Pos: 5, Size: 5}, boot.Channel{Pos: 0, Size: 5}
	case 16:
		f.Red, f.Green, f.Blue = boot.Channel{Pos: 11, Size: 5}, boot.Channel{Pos: 5, Size: 6}, boot.Channel{Pos: 0, Size: 5}
	default:
		f.Red, f.Green, f.Blue = boot.Channel{Pos: 16, Size: 8}, boot.Channel{Pos: 8, Size: 8}, boot.Channel{Pos: 0, Size: 8}
	}
	return f
}

func newFrame(t testing.TB, f *boot.Framebuffer) (*terminal, *video) {
	t.Helper()
	m := &video{b: bytes.Repeat([]byte{0x5a}, int(f.Size()))}
	s, err := NewFramebuffer(m, f)
	if err != nil {
		t.Fatal(err)
	}
	return s.(*terminal), m
}

// shown is a text screen's lines as they are in video memory, without the spaces
// at their ends.
func shown(t *testing.T, s *terminal, m *video, pitch int) []string {
	t.Helper()
	var out []string
	for y := range s.rows {
		var l []byte
		for x := range s.cols {
			at := m.b[y*pitch+2*x:]
			if at[1] != attribute {
				t.Fatalf("attribute %#x at %d, %d", at[1], x, y)
			}
			l = append(l, at[0])
		}
		out = append(out, strings.TrimRight(string(l), " "))
	}
	return out
}

// check fails if the screen's state is impossible, or if what is seen is not what
// drawing all of it anew gives.
func check(t *testing.T, s *terminal, m *video) {
	t.Helper()
	if s.x < 0 || s.x >= s.cols || s.y < 0 || s.y >= s.rows || s.wrap && s.x != s.cols-1 {
		t.Fatalf("cursor at %d, %d (wrap %v) of %d by %d", s.x, s.y, s.wrap, s.cols, s.rows)
	}
	for _, c := range s.cells {
		if c < ' ' || c > '~' {
			t.Fatalf("character %#x", c)
		}
	}
	want := bytes.Clone(m.b)
	for y := range s.rows {
		l := bytes.Clone(s.line(y))
		if y == s.y {
			l[s.x] |= s.mark
		}
		s.p.paint(0, y, l)
	}
	if !bytes.Equal(m.b, want) {
		t.Fatal("what is seen is not what was written")
	}
}
