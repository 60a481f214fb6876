package vga

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"nidus/kernel/boot"
)

// pixel reads a pixel as a number.
func pixel(f *boot.Framebuffer, m *video, x, y int) (v uint32) {
	n := pixelBytes(f)
	for i := range n {
		v |= uint32(m.b[y*int(f.Pitch)+x*n+i]) << (8 * i)
	}
	return v
}

// picture draws w by h pixels from x, y on: # for fg and . for black.
func picture(t *testing.T, f *boot.Framebuffer, m *video, x, y, w, h int, fg uint32) string {
	t.Helper()
	var b strings.Builder
	for dy := range h {
		for dx := range w {
			switch v := pixel(f, m, x+dx, y+dy); v {
			case 0:
				b.WriteByte('.')
			case fg:
				b.WriteByte('#')
			default:
				t.Fatalf("pixel %d, %d is %#x", x+dx, y+dy, v)
			}
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// golden is "Ag" and the cursor.
const golden = `
.....................
.....................
..##.................
.#..#................
#....#...............
#....#..###.#........
#....#.#...#.........
######.#...#.........
#....#..###..........
#....#.#.............
#....#..####.........
.......#....#.#######
........####..#######
`

func TestGolden(t *testing.T) {
	for _, c := range []struct {
		f  *boot.Framebuffer
		fg uint32
	}{
		{rgb(70, 26, 15), 0x5294},
		{rgb(70, 26, 16), 0xa554},
		{rgb(70, 26, 24), 0xaaaaaa},
		{rgb(70, 26, 32), 0xaaaaaa},
		{&boot.Framebuffer{Kind: boot.FramebufferRGB, Width: 70, Height: 26, BPP: 32, Pitch: 300, // BGR and 10 bits
			Red: boot.Channel{Pos: 0, Size: 10}, Green: boot.Channel{Pos: 10, Size: 10}, Blue: boot.Channel{Pos: 20, Size: 10}},
			682<<20 | 682<<10 | 682},
		{&boot.Framebuffer{Kind: boot.FramebufferRGB, Width: 70, Height: 26, BPP: 32, Pitch: 280, // the widest channel
			Red: boot.Channel{Pos: 16, Size: 16}, Green: boot.Channel{Pos: 8, Size: 8}, Blue: boot.Channel{Pos: 0, Size: 1}},
			0xaaaaaa00},
	} {
		t.Run(fmt.Sprintf("%d bits, red at %d", c.f.BPP, c.f.Red.Pos), func(t *testing.T) {
			s, m := newFrame(t, c.f)
			io.WriteString(s, "\r\nAg")
			if got := "\n" + picture(t, c.f, m, 0, 13, 21, 13, c.fg); got != golden {
				t.Errorf("got%swant%s", got, golden)
			}
			io.WriteString(s, "\x1b[H")
			if got := pixel(c.f, m, 3*7-1, 25); got != 0 {
				t.Errorf("the cursor left %#x", got)
			}
			check(t, s, m)
		})
	}
}

func TestScale(t *testing.T) {
	for _, c := range []struct {
		w, h              uint32
		scale, cols, rows int
	}{
		{640, 480, 1, 91, 36}, {1024, 768, 1, 146, 59}, {1920, 1080, 1, 274, 83},
		{2560, 1440, 2, 182, 55}, {3840, 2160, 3, 182, 55}, {7680, 4320, 6, 182, 55},
		{7, 13, 1, 1, 1}, {640, 65536, 1, 91, 5041},
	} {
		f := rgb(c.w, c.h, 16)
		s, m := newFrame(t, f)
		if got := characterScale(f); got != c.scale || s.cols != c.cols || s.rows != c.rows {
			t.Errorf("%d by %d: scale %d, %d by %d characters", c.w, c.h, got, s.cols, s.rows)
		}
		if c.scale == 1 {
			continue
		}
		io.WriteString(s, "\r\nAg")
		for y, l := range strings.Fields(golden) {
			for x, dot := range l {
				for i := range c.scale * c.scale {
					px, py := x*c.scale+i%c.scale, (13+y)*c.scale+i/c.scale
					if got := pixel(f, m, px, py) != 0; got != (dot == '#') {
						t.Fatalf("%d by %d: pixel %d, %d is %v", c.w, c.h, px, py, got)
					}
				}
			}
		}
	}
}

// TestLimits: the margins are black, and what lies between the lines stays.
func TestLimits(t *testing.T) {
	f := rgb(3*7+5, 2*13+4, 32)
	f.Pitch += 8
	s, m := newFrame(t, f)
	io.WriteString(s, strings.Repeat("###\r\n", 9))
	check(t, s, m)
	for y := range int(f.Height) {
		for x := range int(f.Width) {
			if (x >= 21 || y >= 26) && pixel(f, m, x, y) != 0 {
				t.Fatalf("pixel %d, %d of the margin is %#x", x, y, pixel(f, m, x, y))
			}
		}
		if got := string(m.b[y*int(f.Pitch)+26*4:][:8]); got != "ZZZZZZZZ" {
			t.Fatalf("line %d: %q after its end", y, got)
		}
	}
}

// TestOnlyChanges: what stays as it is is not drawn.
func TestOnlyChanges(t *testing.T) {
	s, m := newFrame(t, rgb(700, 260, 32))
	const cell = 7 * 13 * 4
	for _, c := range []struct {
		in    string
		cells int
	}{
		{"a", 2}, {"\ra", 0}, {"\r", 2}, {"b", 2}, {"\r\n", 2},
		{strings.Repeat("same\r\n", 30), 19*4 + 1}, // and the cursor
		{"same\r\n", 0}, {"\x1b[2J", 19 * 4}, {"\x1b[31;1m\a", 0},
	} {
		m.stored = 0
		io.WriteString(s, c.in)
		if m.stored != c.cells*cell {
			t.Errorf("%.10q drew %d bytes, want %d characters of %d", c.in, m.stored, c.cells, cell)
		}
	}
}

func TestUnusable(t *testing.T) {
	for _, c := range []struct {
		name, want string
		change     func(*boot.Framebuffer)
	}{
		{"none", "kind", func(f *boot.Framebuffer) { f.Kind = boot.FramebufferNone }},
		{"palette", "kind", func(f *boot.Framebuffer) { f.Kind, f.BPP = boot.FramebufferIndexed, 8 }},
		{"text", "kind", func(f *boot.Framebuffer) { f.Kind = boot.FramebufferText }},
		{"depth 8", "8 bits", func(f *boot.Framebuffer) { f.BPP = 8 }},
		{"depth 0", "0 bits", func(f *boot.Framebuffer) { f.BPP = 0 }},
		{"depth 64", "64 bits", func(f *boot.Framebuffer) { f.BPP = 64 }},
		{"narrow", "6 by", func(f *boot.Framebuffer) { f.Width = 6 }},
		{"low", "by 12", func(f *boot.Framebuffer) { f.Height = 12 }},
		{"wide", "pixels", func(f *boot.Framebuffer) { f.Width = 1<<30 + 1 }},
		{"high", "pixels", func(f *boot.Framebuffer) { f.Height = 1 << 31 }},
		{"pitch", "don't fit", func(f *boot.Framebuffer) { f.Pitch-- }},
		{"large pitch", "don't fit", func(f *boot.Framebuffer) { f.Pitch = 1 << 31 }},
		{"no green", "colour", func(f *boot.Framebuffer) { f.Green.Size = 0 }},
		{"wide red", "colour", func(f *boot.Framebuffer) { f.Red = boot.Channel{Pos: 0, Size: 17} }},
		{"blue outside", "colour", func(f *boot.Framebuffer) { f.Blue = boot.Channel{Pos: 250, Size: 8} }},
	} {
		f := rgb(640, 480, 32)
		c.change(f)
		m := &video{}
		s, err := NewFramebuffer(m, f)
		if err == nil || s != nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, %v", c.name, s, err)
		}
	}
}

func TestWriteAllocatesNothing(t *testing.T) {
	s, _ := newFrame(t, rgb(640, 480, 32))
	line := []byte(strings.Repeat("a long line that wraps ", 9) + "\x1b[1;31m\r\nä")
	if n := testing.AllocsPerRun(100, func() { s.Write(line) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkFramebufferScroll(b *testing.B) {
	for _, c := range []struct{ w, h uint32 }{{1024, 768}, {1920, 1080}, {3840, 2160}} {
		b.Run(fmt.Sprintf("%dx%d", c.w, c.h), func(b *testing.B) {
			s, m := newFrame(b, rgb(c.w, c.h, 32))
			scroll(b, s, m)
		})
	}
}
