package boot

// FramebufferKind is how a screen is written.
type FramebufferKind uint8

// The kinds; the loader's framebuffer_type is one less (multiboot 1 section 3.3,
// multiboot 2 section 3.6.12).
const (
	FramebufferNone    FramebufferKind = iota
	FramebufferIndexed                 // a palette's index for each pixel
	FramebufferRGB                     // direct colour
	FramebufferText                    // EGA text: character and attribute
)

// Channel is where a colour lies in a pixel.
type Channel struct {
	Pos, Size uint8 // in bits
}

// Framebuffer is the screen that the loader set up.
type Framebuffer struct {
	Kind  FramebufferKind
	Addr  uint64 // physical
	Pitch uint32 // bytes of a line
	// Width and Height are in pixels, or in characters for text.
	Width, Height    uint32
	BPP              uint8 // bits of a pixel
	Red, Green, Blue Channel
}

// Size returns the framebuffer's length in bytes.
func (f *Framebuffer) Size() uint64 { return uint64(f.Pitch) * uint64(f.Height) }

// setFramebuffer takes the fields that both multiboot versions lay out alike at
// buf[off:], and the colour channels from buf[rgb:].
func (e *Early) setFramebuffer(off, rgb int) {
	f := Framebuffer{
		Addr:   e.u64(off),
		Pitch:  e.u32(off + 8),
		Width:  e.u32(off + 12),
		Height: e.u32(off + 16),
		BPP:    e.buf[off+20],
	}
	switch e.buf[off+21] {
	case 0:
		f.Kind = FramebufferIndexed
	case 1:
		f.Kind = FramebufferRGB
		f.Red = Channel{e.buf[rgb], e.buf[rgb+1]}
		f.Green = Channel{e.buf[rgb+2], e.buf[rgb+3]}
		f.Blue = Channel{e.buf[rgb+4], e.buf[rgb+5]}
	case 2:
		f.Kind = FramebufferText
		f.BPP = 16 // QEMU and GRUB differ in what they write here
	}
	if !f.valid() {
		e.Problems |= ProblemFramebuffer
		return
	}
	e.Framebuffer = f
}

// valid reports whether every pixel lies in its line and every line below
// MaxPhys.
func (f *Framebuffer) valid() bool {
	const most = 1 << 16 // pixels in a line or column, and far above any screen
	if f.Kind == FramebufferNone || f.Addr == 0 || f.Addr >= MaxPhys {
		return false
	}
	if f.Width == 0 || f.Width > most || f.Height == 0 || f.Height > most || f.Pitch > most*8 {
		return false
	}
	if f.BPP == 0 || f.BPP > 32 || f.Pitch < f.Width*((uint32(f.BPP)+7)/8) {
		return false
	}
	if f.Kind == FramebufferRGB && !(f.fits(f.Red) && f.fits(f.Green) && f.fits(f.Blue)) {
		return false
	}
	return f.Size() <= MaxPhys-f.Addr
}

// fits reports whether a channel lies within a pixel.
func (f *Framebuffer) fits(c Channel) bool {
	return c.Size > 0 && c.Size <= 16 && uint(c.Pos)+uint(c.Size) <= uint(f.BPP)
}
