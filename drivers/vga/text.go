package vga

import (
	"fmt"

	"nidus/kernel/boot"
)

// EGAText returns the screen that a PC's firmware sets up (mode 3): 80 by 25
// characters.
func EGAText() *boot.Framebuffer {
	return &boot.Framebuffer{Kind: boot.FramebufferText, Addr: 0xb8000, Pitch: 160, Width: 80, Height: 25, BPP: 16}
}

// Registers: an index port and a data port after it.
const (
	crtcPort = 0x3d4
	gfxPort  = 0x3ce

	crtcCursorStart = 0x0a // first scan line; bit 5 hides the cursor
	crtcStartHigh   = 0x0c // where in video memory the screen begins
	crtcStartLow    = 0x0d
	crtcCursorHigh  = 0x0e // the cursor's character
	crtcCursorLow   = 0x0f
	gfxMisc         = 0x06

	cursorHidden = 1 << 5
	miscGraphics = 1 << 0
	miscMap      = 3 << 2
	miscMapB8000 = 3 << 2 // 32 KiB at 0xb8000

	attribute = 0x07 // light grey on black
)

// textPainter is VGA text: for each character, it and its attribute.
type textPainter struct {
	mem   Memory
	io    Ports
	pitch int
	buf   []byte // a line
}

// NewText clears the VGA text screen f (Addr is not used: mem begins there) and
// returns it. The error says that there is no VGA, or that it doesn't show text.
func NewText(mem Memory, io Ports, f *boot.Framebuffer) (Screen, error) {
	const most = 1 << 15 // bytes at 0xb8000
	if f.Kind != boot.FramebufferText || f.Width == 0 || f.Height == 0 ||
		f.Width > most/2 || f.Pitch < 2*f.Width || f.Pitch%2 != 0 || f.Size() > most {
		return nil, fmt.Errorf("text screen: %d by %d characters, %d bytes a line: no screen has that", f.Width, f.Height, f.Pitch)
	}
	p := &textPainter{mem: mem, io: io, pitch: int(f.Pitch), buf: make([]byte, 2*f.Width)}
	for _, v := range []uint8{0x5a, 0xa5} {
		p.set(crtcPort, crtcCursorLow, v)
		if got := p.get(crtcPort, crtcCursorLow); got != v {
			return nil, fmt.Errorf("text screen: no VGA there: the CRT controller's cursor register holds %#x instead of %#x", got, v)
		}
	}
	if m := p.get(gfxPort, gfxMisc); m&miscGraphics != 0 || m&miscMap != miscMapB8000 {
		return nil, fmt.Errorf("text screen: the VGA is in another mode (its miscellaneous graphics register holds %#x): let the boot loader set a text mode or name its framebuffer", m)
	}
	p.set(crtcPort, crtcStartHigh, 0)
	p.set(crtcPort, crtcStartLow, 0)
	t := newTerminal(p, int(f.Width), int(f.Height), 0)
	p.set(crtcPort, crtcCursorStart, p.get(crtcPort, crtcCursorStart)&^cursorHidden)
	return t, nil
}

func (p *textPainter) get(port uint16, index uint8) uint8 {
	p.io.Out8(port, index)
	return p.io.In8(port + 1)
}

func (p *textPainter) set(port uint16, index, v uint8) {
	p.io.Out8(port, index)
	p.io.Out8(port+1, v)
}

// paint implements painter.
func (p *textPainter) paint(x, y int, chars []byte) {
	b := p.buf[:2*len(chars)]
	for i, c := range chars {
		b[2*i], b[2*i+1] = c, attribute
	}
	p.mem.Store(y*p.pitch+2*x, b)
}

// cursor implements painter.
func (p *textPainter) cursor(x, y int) {
	at := y*p.pitch/2 + x
	p.set(crtcPort, crtcCursorHigh, uint8(at>>8))
	p.set(crtcPort, crtcCursorLow, uint8(at))
}
