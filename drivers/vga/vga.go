// Package vga shows the host's console on a screen: VGA text, or a linear
// framebuffer that the boot loader set up. A screen understands as much of a VT100
// as the shell's line editor and ordinary guest shells use.
//
// What is shown is kept in ordinary memory, and only what changed is drawn: video
// memory is slow to write and slower to read, so it is never read.
//
// References: ECMA-48, 5.4 and 8.3 (control sequences); VT100 User Guide
// (EK-VT100-UG), chapter 3; IBM PS/2 Hardware Interface Technical Reference,
// "Video Subsystem" (CRT and graphics controllers); Multiboot 2, 3.6.12
// (framebuffers). The font is golang.org/x/image/font/basicfont's Face7x13.
package vga

import "io"

// Screen shows what is written to it. Write never fails and doesn't allocate. It
// is not safe for concurrent use.
//
// Characters: ASCII is shown as it is; any other character of UTF-8, and any byte
// that isn't UTF-8, as one '?'. A character past the right edge goes to the next
// line.
//
// Controls: BS, TAB, LF (down, VT and FF too), CR; ESC [ with A B C D E F G d H f
// (cursor), J and K (erase), @ and P (insert and delete characters). SGR and all
// other sequences are read and ignored. LF alone doesn't return to column 1.
type Screen interface {
	io.Writer
}

// Memory is video memory.
type Memory interface {
	// Store copies b to byte offset off. Screens stay in the size that their
	// geometry gives.
	Store(off int, b []byte)
}

// Ports is the I/O space with the VGA's registers.
type Ports interface {
	In8(port uint16) uint8
	Out8(port uint16, v uint8)
}
