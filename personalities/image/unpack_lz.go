package image

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/adler32"
	"hash/crc32"
	"io"

	"github.com/anchore/go-lzo"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// The legacy LZ4 frame (LZ4 frame format, "Legacy frame"): a magic number,
// then blocks, each after its packed size; every block but the last unpacks
// to 8 MiB. There is no end mark.
const (
	lz4LegacyMagic = "\x02\x21\x4c\x18"
	lz4LegacyBlock = 8 << 20
)

func unpackLZ4Legacy(s *sink, data []byte) error {
	data = data[len(lz4LegacyMagic):]
	for blocks := 0; len(data) > 0; blocks++ {
		// Less than a block's size, or exactly a size: the end, with or
		// without the unpacked size that Linux appends.
		if len(data) <= 4 && blocks > 0 {
			return nil
		}
		if len(data) < 4 {
			return io.ErrUnexpectedEOF
		}
		if string(data[:4]) == lz4LegacyMagic {
			data = data[4:]
			continue
		}
		n := uint64(le.Uint32(data))
		data = data[4:]
		if n == 0 {
			return nil
		}
		if n > uint64(len(data)) {
			return io.ErrUnexpectedEOF
		}
		before := len(s.buf)
		if err := s.lz4Block(data[:n]); err != nil {
			return err
		}
		data = data[n:]
		if len(s.buf)-before < lz4LegacyBlock {
			return nil
		}
	}
	return nil
}

// lz4Block unpacks one block straight into the buffer. It tries what room
// there is first: if the file told its size, that is enough.
func (s *sink) lz4Block(src []byte) error {
	have := len(s.buf)
	// The format bounds what a block can become.
	most := min(lz4LegacyBlock, 255*len(src)+16)
	first := min(most, cap(s.buf)-have, s.limit-have)
	n, err := lz4.UncompressBlock(src, s.buf[have:have+first])
	if errors.Is(err, lz4.ErrInvalidSourceShortBuffer) && first < most {
		second := min(most, s.limit-have)
		dst, roomErr := s.room(second)
		if roomErr != nil {
			return roomErr
		}
		n, err = lz4.UncompressBlock(src, dst)
		if errors.Is(err, lz4.ErrInvalidSourceShortBuffer) && second < most {
			return s.errTooLarge()
		}
	}
	if err != nil {
		return err
	}
	s.took(n)
	return nil
}

func unpackLZ4Frame(s *sink, data []byte) error {
	r := lz4.NewReader(bytes.NewReader(data))
	err := s.readAll(r)
	if errors.Is(err, lz4.ErrInvalidFrame) && len(s.buf) > 0 {
		return nil // a whole frame, and then something else
	}
	return err
}

// unpackZstd lets the decoder use the output as its window: Linux packs with
// windows of up to 128 MiB, which would otherwise be allocated beside it.
func unpackZstd(s *sink, data []byte) error {
	f, err := measureZstd(data)
	if err != nil {
		return err
	}
	if f.window > uint64(s.window) {
		return fmt.Errorf("%w: its window of %d MiB is larger than %d MiB, the limit", ErrTooLarge, f.window>>20, s.window>>20)
	}
	// The decoder refuses a window that is larger than the memory it may use,
	// so it may use that much even if the limit is less.
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxMemory(max(uint64(s.limit), f.window)))
	if err != nil {
		return err
	}
	defer d.Close()
	// All blocks but the last are usually full: a first guess within one block
	// of the most is the size that the file told, and better.
	if f.most > uint64(cap(s.buf))+zstdMaxBlock {
		if _, err := s.room(int(min(f.most, uint64(s.limit)))); err != nil {
			return err
		}
	}
	out, err := d.DecodeAll(data[:f.end], s.buf)
	switch {
	case errors.Is(err, zstd.ErrDecoderSizeExceeded), err == nil && len(out) > s.limit:
		return s.errTooLarge()
	case err != nil:
		return err
	}
	s.buf = out
	return nil
}

// zstdFrame is what a frame's headers tell without unpacking it.
type zstdFrame struct {
	end    int    // where it ends
	most   uint64 // the most that it can unpack to, in bytes
	window uint64
}

// zstdMaxBlock is the most that one block unpacks to (RFC 8878, section
// 3.1.1.2.4).
const zstdMaxBlock = 128 << 10

// measureZstd walks the blocks of the first frame (RFC 8878, section 3.1.1).
func measureZstd(data []byte) (zstdFrame, error) {
	var h zstd.Header
	if err := h.Decode(data); err != nil {
		return zstdFrame{}, err
	}
	f := zstdFrame{window: h.WindowSize}
	rest := data[h.HeaderSize:]
	for last := false; !last; {
		if len(rest) < 3 {
			return f, io.ErrUnexpectedEOF
		}
		b := uint32(rest[0]) | uint32(rest[1])<<8 | uint32(rest[2])<<16
		size, unpacked := uint64(b>>3), uint64(b>>3)
		switch b >> 1 & 3 {
		case 1: // RLE_Block: one byte, repeated
			size = 1
		case 2: // Compressed_Block
			unpacked = zstdMaxBlock
		}
		unpacked = min(unpacked, zstdMaxBlock)
		if uint64(len(rest)-3) < size {
			return f, io.ErrUnexpectedEOF
		}
		f.most += unpacked
		rest, last = rest[3+size:], b&1 != 0
	}
	if h.HasFCS {
		f.most = min(f.most, h.FrameContentSize)
	}
	if h.HasCheckSum {
		if len(rest) < 4 {
			return f, io.ErrUnexpectedEOF
		}
		rest = rest[4:]
	}
	f.end = len(data) - len(rest)
	return f, nil
}

// lzop's container: a header, then blocks with their sizes and checksums, all
// big endian; a block of size 0 ends it.
const (
	lzopMagic    = "\x89LZO\x00\r\n\x1a\n"
	lzopMaxBlock = 64 << 20

	lzopAdlerD = 1 << 0 // checksums of the unpacked and the packed data
	lzopAdlerC = 1 << 1
	lzopExtra  = 1 << 6
	lzopCRCD   = 1 << 8
	lzopCRCC   = 1 << 9
	lzopFilter = 1 << 11
)

// bigEndian reads a container of big-endian numbers; after the end it yields
// zeros and remembers that it did.
type bigEndian struct {
	data  []byte
	short bool
}

func (b *bigEndian) next(n uint32) []byte {
	if uint64(n) > uint64(len(b.data)) {
		b.short, b.data = true, nil
		return nil
	}
	p := b.data[:n]
	b.data = b.data[n:]
	return p
}

func (b *bigEndian) u8() uint32 {
	if p := b.next(1); p != nil {
		return uint32(p[0])
	}
	return 0
}

func (b *bigEndian) u16() uint32 {
	if p := b.next(2); p != nil {
		return uint32(binary.BigEndian.Uint16(p))
	}
	return 0
}

func (b *bigEndian) u32() uint32 {
	if p := b.next(4); p != nil {
		return binary.BigEndian.Uint32(p)
	}
	return 0
}

func unpackLZO(s *sink, data []byte) error {
	in := &bigEndian{data: data[len(lzopMagic):]}
	flags, err := lzopHeader(in)
	if err != nil {
		return err
	}
	for {
		size := in.u32()
		if in.short {
			return io.ErrUnexpectedEOF
		}
		if size == 0 {
			return nil
		}
		if err := s.lzopBlock(in, size, flags); err != nil {
			return err
		}
	}
}

func lzopHeader(in *bigEndian) (flags uint32, err error) {
	version := in.u16()
	in.u16() // the library's version
	if version >= 0x940 {
		in.u16() // the version needed to unpack
	}
	method := in.u8()
	if version >= 0x940 {
		in.u8() // level
	}
	flags = in.u32()
	if flags&lzopFilter != 0 {
		return 0, errors.New("lzop filters are not supported")
	}
	in.next(8) // mode, time
	if version >= 0x940 {
		in.u32() // time, high half
	}
	in.next(in.u8()) // name
	in.u32()         // the header's checksum
	if flags&lzopExtra != 0 {
		in.next(in.u32())
		in.u32()
	}
	if in.short {
		return 0, io.ErrUnexpectedEOF
	}
	if method < 1 || method > 3 { // LZO1X-1, LZO1X-1(15), LZO1X-999
		return 0, fmt.Errorf("unknown lzop method %d", method)
	}
	return flags, nil
}

func (s *sink) lzopBlock(in *bigEndian, size, flags uint32) error {
	packedSize := in.u32()
	var adler, crc uint32
	if flags&lzopAdlerD != 0 {
		adler = in.u32()
	}
	if flags&lzopCRCD != 0 {
		crc = in.u32()
	}
	if packedSize < size { // else the block is stored, and this sum left out
		if flags&lzopAdlerC != 0 {
			in.u32()
		}
		if flags&lzopCRCC != 0 {
			in.u32()
		}
	}
	src := in.next(packedSize)
	if in.short {
		return io.ErrUnexpectedEOF
	}
	// LZO can't pack better than 255 to 1: more room than that is never
	// allocated for a lie.
	if size > lzopMaxBlock || packedSize > size || uint64(size) > 256*uint64(packedSize)+64 {
		return fmt.Errorf("block of %d bytes said to hold %d", packedSize, size)
	}
	dst, err := s.room(int(size))
	if err != nil {
		return err
	}
	if packedSize == size {
		copy(dst, src)
	} else if n, err := lzo.Decompress(src, dst); err != nil {
		return err
	} else if n != int(size) {
		return fmt.Errorf("block holds %d bytes, not %d", n, size)
	}
	if flags&lzopAdlerD != 0 && adler32.Checksum(dst) != adler {
		return errors.New("adler32 checksum is wrong")
	}
	if flags&lzopCRCD != 0 && crc32.ChecksumIEEE(dst) != crc {
		return errors.New("crc32 checksum is wrong")
	}
	s.took(int(size))
	return nil
}
