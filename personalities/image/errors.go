package image

import (
	"bytes"
	"errors"
	"fmt"
)

// What may be wrong with a kernel file. Every error of this package wraps one
// of these, so that a caller can decide; the text is for the person.
var (
	// ErrFormat: the file is no kernel, or its headers contradict themselves.
	ErrFormat = errors.New("not an ELF or bzImage file")
	// ErrTruncated: the file ends before what its headers promise.
	ErrTruncated = errors.New("truncated")
	// ErrTooLarge: it would unpack to more than Limits.MaxUnpacked, or it has
	// more of something than a kernel needs.
	ErrTooLarge = errors.New("too large")
	// ErrMachine: a kernel, but for another processor.
	ErrMachine = errors.New("wrong machine")
	// ErrCompression: compressed data that is damaged, or that nothing here
	// can unpack.
	ErrCompression = errors.New("cannot unpack")
	// ErrNoPVHEntry: no XEN_ELFNOTE_PHYS32_ENTRY note.
	ErrNoPVHEntry = errors.New("this kernel can't start as PVH")
	// ErrPlacement: a segment does not fit where it has to go.
	ErrPlacement = errors.New("kernel does not fit")
)

// looksLike are beginnings of files that people pass as a kernel by mistake.
var looksLike = []struct{ magic, what string }{
	{"PK\x03\x04", "a zip archive?"},
	{"070701", "a cpio archive, perhaps a ramdisk?"},
	{"070702", "a cpio archive, perhaps a ramdisk?"},
	{"!<arch>\n", "a Debian package or ar archive?"},
	{"\xed\xab\xee\xdb", "an RPM package?"},
	{"#!", "a script?"},
	{"<!", "a web page?"},
	{"<h", "a web page?"},
	{"-----BEGIN", "a key or certificate?"},
	{"QFI\xfb", "a qcow2 disk image?"},
	{"\x7fELF", "an ELF file of an unknown class"},
	{"MZ", "a PE program: a kernel for another machine, or a unified kernel image?"},
	{"\x00\x00\x00\x00\x00\x00\x00\x00", "an empty disk image?"},
}

// notAKernel describes data that no format recognises.
func notAKernel(data []byte) error {
	if len(data) == 0 {
		return fmt.Errorf("%w: it is empty", ErrFormat)
	}
	if len(data) > 0x40 && string(data[:2]) == "MZ" && string(data[0x38:0x3c]) == "ARM\x64" {
		return fmt.Errorf("%w: an arm64 kernel; this machine needs one for x86-64 or i386", ErrMachine)
	}
	guess := ""
	for _, l := range looksLike {
		if bytes.HasPrefix(data, []byte(l.magic)) {
			guess = " (" + l.what + ")"
			break
		}
	}
	return fmt.Errorf("%w: first bytes are % x%s", ErrFormat, data[:min(4, len(data))], guess)
}

// missing describes a file that ends too early.
func missing(what string, need, have uint64) error {
	return fmt.Errorf("%w: %s ends at byte %d and the file at byte %d: %d bytes are missing; copy the file again",
		ErrTruncated, what, need, have, need-have)
}
