package image

import (
	"bytes"
	"compress/bzip2"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/therootcompany/xz"
	"github.com/ulikunitz/xz/lzma"
)

// compression is one way to pack a kernel. unpack writes to the sink, reads
// no further than the format's own end, and ignores what follows: Linux
// appends the unpacked size to the payload of a bzImage, and relocations to
// what is in it.
type compression struct {
	name   string
	magic  string
	unpack func(*sink, []byte) error
}

// compressions are all that Linux has (init/Kconfig, KERNEL_*), and the
// ordinary LZ4 frame, which `lz4` writes.
var compressions = []compression{
	{"gzip", "\x1f\x8b", unpackGzip},
	{"bzip2", "BZh", unpackBzip2},
	{"lzma", "\x5d\x00\x00", unpackLZMA},
	{"xz", "\xfd7zXZ\x00", unpackXZ},
	{"lzo", lzopMagic, unpackLZO},
	{"lz4", lz4LegacyMagic, unpackLZ4Legacy},
	{"lz4", "\x04\x22\x4d\x18", unpackLZ4Frame},
	{"zstd", "\x28\xb5\x2f\xfd", unpackZstd},
}

// packed is compressed data and how it is packed.
type packed struct {
	compression
	data      []byte
	sizeAtEnd bool // the last four bytes are the unpacked size, a hint
}

func detect(data []byte) (packed, bool) {
	for _, c := range compressions {
		if bytes.HasPrefix(data, []byte(c.magic)) {
			return packed{compression: c, data: data, sizeAtEnd: c.name == "gzip"}, true
		}
	}
	return packed{}, false
}

// unpack returns the unpacked bytes and the compression's name.
func (p packed) unpack(l Limits) (out []byte, how string, err error) {
	s := newSink(l, p.guess())
	// The decoders are other people's code, and the file may have been made
	// to break them: whatever happens there must stay this file's error.
	defer func() {
		if r := recover(); r != nil {
			out, err = nil, fmt.Errorf("%w: %s data is damaged: %v", ErrCompression, p.name, r)
		}
	}()
	switch err := p.compression.unpack(s, p.data); {
	case errors.Is(err, ErrTooLarge):
		return nil, "", fmt.Errorf("%s data: %w", p.name, err)
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return nil, "", fmt.Errorf("%s data: %w: it stops in the middle, after %d bytes of packed data; copy the file again",
			p.name, ErrTruncated, len(p.data))
	case err != nil:
		return nil, "", fmt.Errorf("%w: %s data is damaged after %d unpacked bytes: %w", ErrCompression, p.name, len(s.buf), err)
	case len(s.buf) == 0:
		return nil, "", fmt.Errorf("%w: %s data holds nothing", ErrCompression, p.name)
	}
	s.report()
	return s.buf, p.name, nil
}

// guess is the unpacked size to make room for at first. It is the file's own
// word, so it is believed only while it is plausible.
func (p packed) guess() int {
	n := len(p.data)
	if p.sizeAtEnd && n >= 4 {
		if size := int(le.Uint32(p.data[n-4:])); size <= 32*n {
			return size
		}
	}
	return 4 * n
}

// sink collects unpacked bytes in one growing buffer, up to a limit.
type sink struct {
	buf      []byte
	limit    int
	window   int
	progress func(int)
	reported int
}

func newSink(l Limits, guess int) *sink {
	return &sink{buf: make([]byte, 0, min(guess, l.MaxUnpacked)), limit: l.MaxUnpacked, window: l.MaxWindow, progress: l.Progress}
}

func (s *sink) errTooLarge() error {
	return fmt.Errorf("%w: it unpacks to more than %d MiB, the limit", ErrTooLarge, s.limit>>20)
}

func (s *sink) report() {
	if s.progress != nil && len(s.buf) != s.reported {
		s.reported = len(s.buf)
		s.progress(s.reported)
	}
}

// room makes space for n more bytes and returns it.
func (s *sink) room(n int) ([]byte, error) {
	have := len(s.buf)
	if n > s.limit-have {
		return nil, s.errTooLarge()
	}
	if n > cap(s.buf)-have {
		b := make([]byte, have, min(s.limit, max(have+n, cap(s.buf)+cap(s.buf)/2)))
		copy(b, s.buf)
		s.buf = b
	}
	return s.buf[have : have+n], nil
}

// took says that the first n bytes of the last room are filled.
func (s *sink) took(n int) {
	s.buf = s.buf[:len(s.buf)+n]
	if len(s.buf)-s.reported >= 1<<20 {
		s.report()
	}
}

// readAll reads r to its end, without a copy while there is room.
func (s *sink) readAll(r io.Reader) error {
	var probe [64]byte
	for idle := 0; ; {
		free := s.buf[len(s.buf):cap(s.buf)]
		full := len(free) == 0
		if full {
			// Probably the end, if the guess was right: don't grow for it.
			free = probe[:]
		}
		n, err := r.Read(free[:min(len(free), 1<<20)])
		if full && n > 0 {
			dst, err := s.room(n)
			if err != nil {
				return err
			}
			copy(dst, probe[:n])
		}
		s.took(n)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if idle++; n > 0 {
			idle = 0
		} else if idle > 100 {
			return io.ErrNoProgress
		}
	}
}

func unpackGzip(s *sink, data []byte) error {
	r, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return err
	}
	r.Multistream(false)
	return s.readAll(r)
}

func unpackBzip2(s *sink, data []byte) error {
	err := s.readAll(bzip2.NewReader(bytes.NewReader(data)))
	// The stream before was complete and its checksum right; what follows is
	// not another stream, so it is the size at the end.
	if e, ok := errors.AsType[bzip2.StructuralError](err); ok && e == "bad magic value in continuation file" {
		return nil
	}
	return err
}

func unpackLZMA(s *sink, data []byte) error {
	r, err := lzma.ReaderConfig{DictCap: s.window}.NewReader(bytes.NewReader(data))
	if err != nil {
		return err
	}
	return s.readAll(r)
}

func unpackXZ(s *sink, data []byte) error {
	r, err := xz.NewReader(bytes.NewReader(xzStreamEnd(data)), uint32(min(s.window, 1<<31)))
	if err == nil {
		r.Multistream(false)
		err = s.readAll(r)
	}
	if errors.Is(err, xz.ErrMemlimit) {
		return fmt.Errorf("%w: its dictionary is larger than %d MiB, the limit", ErrTooLarge, s.window>>20)
	}
	return err
}

// xzStreamEnd cuts off what follows the last stream footer (.xz file format,
// section 2.1.2: CRC32, backward size, flags, "YZ"). The decoder would take a
// size that begins with a zero byte for stream padding, and refuse it.
func xzStreamEnd(data []byte) []byte {
	for end := len(data); ; {
		i := bytes.LastIndex(data[:end], []byte("YZ"))
		if i < 10 {
			return data
		}
		if crc32.ChecksumIEEE(data[i-6:i]) == le.Uint32(data[i-10:]) {
			return data[:i+2]
		}
		end = i
	}
}
