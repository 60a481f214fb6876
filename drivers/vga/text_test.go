package vga

import (
	"io"
	"strings"
	"testing"

	"nidus/kernel/boot"
)

func TestText(t *testing.T) {
	s, m, v := newTextScreen(t, 80, 25, 160)
	for i := 0; i < len(m.b); i += 2 {
		if m.b[i] != ' ' || m.b[i+1] != 0x07 {
			t.Fatalf("at %#x: %#x, attribute %#x", i, m.b[i], m.b[i+1])
		}
	}
	for r, want := range map[uint16]uint8{crtcStartHigh: 0, crtcStartLow: 0, crtcCursorStart: 13, crtcCursorHigh: 0, crtcCursorLow: 0} {
		if got := v.reg[[2]uint16{crtcPort, r}]; got != want {
			t.Errorf("CRTC register %#x is %#x, want %#x", r, got, want)
		}
	}
	m.stored = 0
	io.WriteString(s, "\x1b[24;80HA")
	if got := string(m.b[23*160+158:][:4]); got != "A\x07 \x07" || m.stored != 2 {
		t.Errorf("%q, %d bytes stored", got, m.stored)
	}
	if got := v.cursor(); got != 23*80+79 {
		t.Errorf("cursor at %d", got)
	}
	m.stored = 0
	io.WriteString(s, "\a")
	if m.stored != 0 {
		t.Errorf("%d bytes stored for nothing", m.stored)
	}
}

func TestNoText(t *testing.T) {
	for _, c := range []struct {
		name, want string
		change     func(*board, *boot.Framebuffer)
	}{
		{"no VGA", "no VGA", func(v *board, _ *boot.Framebuffer) { v.none = true }},
		{"graphics", "another mode", func(v *board, _ *boot.Framebuffer) { v.reg[[2]uint16{gfxPort, gfxMisc}] = 0x05 }},
		{"monochrome", "another mode", func(v *board, _ *boot.Framebuffer) { v.reg[[2]uint16{gfxPort, gfxMisc}] = 0x0a }},
		{"kind", "no screen", func(_ *board, f *boot.Framebuffer) { f.Kind = boot.FramebufferRGB }},
		{"no columns", "no screen", func(_ *board, f *boot.Framebuffer) { f.Width = 0 }},
		{"no lines", "no screen", func(_ *board, f *boot.Framebuffer) { f.Height = 0 }},
		{"pitch", "no screen", func(_ *board, f *boot.Framebuffer) { f.Pitch = 158 }},
		{"odd pitch", "no screen", func(_ *board, f *boot.Framebuffer) { f.Pitch = 161 }},
		{"width overflow", "no screen", func(_ *board, f *boot.Framebuffer) { f.Width = 1<<31 + 40 }},
		{"too large", "no screen", func(_ *board, f *boot.Framebuffer) { f.Height = 205 }},
	} {
		v, f, m := newBoard(), EGAText(), &video{b: make([]byte, 1<<16)}
		c.change(v, f)
		s, err := NewText(m, v, f)
		if err == nil || s != nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, %v", c.name, s, err)
		}
		if m.stored != 0 {
			t.Errorf("%s: wrote to video memory", c.name)
		}
	}
}

func BenchmarkTextScroll(b *testing.B) {
	s, m, _ := newTextScreen(b, 80, 25, 160)
	scroll(b, s, m)
}

// scroll fills the screen, and then scrolls it by a line for each step.
func scroll(b *testing.B, s *terminal, m *video) {
	mem := mapped(m.b)
	switch p := s.p.(type) {
	case *textPainter:
		p.mem = mem
	case *pixelPainter:
		p.mem = mem
	}
	line := make([]byte, s.cols+2)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		for x := range s.cols { // no character stays as it was
			line[x] = ' ' + byte((x+i*31)%95)
		}
		copy(line[s.cols:], "\r\n")
		s.Write(line)
	}
}
