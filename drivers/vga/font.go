package vga

import (
	"image/color"

	"golang.org/x/image/font/basicfont"
)

// A character's place in dots: the font's glyph and the space after it.
const (
	cellWidth  = 7
	cellHeight = 13

	firstGlyph = 0x20
	glyphs     = 0x7e - firstGlyph + 1
	underline  = cellHeight - 2 // first line of dots of the cursor
)

// font is the glyphs as pixels: each line of dots of each glyph, ready to copy.
type font struct {
	rows   []byte
	rowLen int // bytes
	solid  []byte
	bg     []byte // one pixel
	scale  int
}

// newFont renders Face7x13 with two pixel values of size bytes, every dot scale
// pixels wide.
func newFont(bg, fg uint32, size, scale int) *font {
	face := basicfont.Face7x13
	f := &font{scale: scale, rowLen: cellWidth * scale * size, bg: appendPixel(nil, bg, size)}
	f.rows = make([]byte, 0, glyphs*cellHeight*f.rowLen)
	for y := range glyphs * cellHeight {
		for x := range cellWidth {
			v := bg
			if x < face.Width && face.Mask.At(x, y).(color.Alpha).A >= 0x80 {
				v = fg
			}
			for range scale {
				f.rows = appendPixel(f.rows, v, size)
			}
		}
	}
	for range cellWidth * scale {
		f.solid = appendPixel(f.solid, fg, size)
	}
	return f
}

// appendPixel appends a pixel, little endian.
func appendPixel(b []byte, v uint32, size int) []byte {
	for range size {
		b = append(b, byte(v))
		v >>= 8
	}
	return b
}

// row returns a line of dots of a terminal's character.
func (f *font) row(c byte, dot int) []byte {
	if c&cursorMark != 0 && dot >= underline {
		return f.solid
	}
	i := (int(c&^cursorMark-firstGlyph)*cellHeight + dot) * f.rowLen
	return f.rows[i:][:f.rowLen]
}
