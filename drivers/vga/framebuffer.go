package vga

import (
	"fmt"

	"nidus/kernel/boot"
)

const (
	cursorMark = 0x80 // in a character that the cursor is under
	grey       = 0xaa // of 0xff; text mode's light grey
)

// pixelPainter is a framebuffer of direct colour.
type pixelPainter struct {
	mem   Memory
	pitch int
	font  *font
	buf   []byte // one line of pixels
}

// NewFramebuffer clears the framebuffer f (Addr is not used: mem begins there) and
// returns it as a screen of at least one character, of direct colour with 15, 16,
// 24 or 32 bits a pixel. Large screens have large characters. The error says what
// about f is not usable.
func NewFramebuffer(mem Memory, f *boot.Framebuffer) (Screen, error) {
	if err := usable(f); err != nil {
		return nil, fmt.Errorf("framebuffer: %w", err)
	}
	scale := characterScale(f)
	p := &pixelPainter{
		mem:   mem,
		pitch: int(f.Pitch),
		font:  newFont(encode(f, 0), encode(f, grey), pixelBytes(f), scale),
	}
	p.buf = make([]byte, int(f.Width)*pixelBytes(f))
	p.clear(int(f.Height))
	cols, rows := int(f.Width)/(cellWidth*scale), int(f.Height)/(cellHeight*scale)
	return newTerminal(p, cols, rows, cursorMark), nil
}

// usable says what keeps f from being drawn on.
func usable(f *boot.Framebuffer) error {
	const most = 1 << 16 // pixels in a line or column, as package boot has it
	switch {
	case f.Kind != boot.FramebufferRGB:
		return fmt.Errorf("pixels of its kind (%d) are not supported: let the boot loader set a mode of direct colour, or text", f.Kind)
	case f.BPP != 15 && f.BPP != 16 && f.BPP != 24 && f.BPP != 32:
		return fmt.Errorf("%d bits a pixel are not supported: let the boot loader set a mode with 16, 24 or 32", f.BPP)
	case f.Width < cellWidth || f.Width > most || f.Height < cellHeight || f.Height > most:
		return fmt.Errorf("%d by %d pixels: no screen for characters of %d by %d", f.Width, f.Height, cellWidth, cellHeight)
	case uint64(f.Pitch) < uint64(f.Width)*uint64(pixelBytes(f)) || f.Pitch > most*8:
		return fmt.Errorf("lines of %d bytes don't fit %d pixels of %d bits", f.Pitch, f.Width, f.BPP)
	}
	for _, c := range []boot.Channel{f.Red, f.Green, f.Blue} {
		if c.Size == 0 || c.Size > 16 || uint(c.Pos)+uint(c.Size) > uint(f.BPP) {
			return fmt.Errorf("a colour of %d bits at bit %d is not in a pixel of %d bits", c.Size, c.Pos, f.BPP)
		}
	}
	return nil
}

func pixelBytes(f *boot.Framebuffer) int { return (int(f.BPP) + 7) / 8 }

// characterScale returns how many pixels wide and high a dot of the font is, so
// that a screen of many pixels is still read, with more than 80 by 25 characters.
func characterScale(f *boot.Framebuffer) int {
	return max(1, min(int(f.Width)/1280, int(f.Height)/720))
}

// encode returns the pixel with all three colours at level, of 0xff.
func encode(f *boot.Framebuffer, level uint32) uint32 {
	var v uint32
	for _, c := range []boot.Channel{f.Red, f.Green, f.Blue} {
		v |= level * (1<<c.Size - 1) / 0xff << c.Pos
	}
	return v
}

// clear blacks out the screen, with the margins that have no characters.
func (p *pixelPainter) clear(height int) {
	for i := 0; i < len(p.buf); i += len(p.font.bg) {
		copy(p.buf[i:], p.font.bg)
	}
	for y := range height {
		p.mem.Store(y*p.pitch, p.buf)
	}
}

// paint implements painter. It draws a line of pixels through all characters at a
// time, for long runs of stores.
func (p *pixelPainter) paint(x, y int, chars []byte) {
	f := p.font
	at := y*cellHeight*f.scale*p.pitch + x*f.rowLen
	for dot := range cellHeight {
		b := p.buf[:0]
		for _, c := range chars {
			b = append(b, f.row(c, dot)...)
		}
		for range f.scale {
			p.mem.Store(at, b)
			at += p.pitch
		}
	}
}

// cursor implements painter; the mark draws the cursor.
func (p *pixelPainter) cursor(x, y int) {}
