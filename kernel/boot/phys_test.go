package boot

import (
	"encoding/binary"
	"errors"
	"fmt"
)

var errHole = errors.New("no memory here")

// fakePhys is sparse physical memory: only pages that were written exist.
type fakePhys struct {
	pages map[uint64]*[4096]byte
}

func newPhys() *fakePhys { return &fakePhys{map[uint64]*[4096]byte{}} }

func (p *fakePhys) ReadPhys(addr uint64, b []byte) error {
	for i := range b {
		page := p.pages[(addr+uint64(i))>>12]
		if page == nil {
			return errHole
		}
		b[i] = page[(addr+uint64(i))&0xfff]
	}
	return nil
}

func (p *fakePhys) write(addr uint64, b []byte) {
	for i, c := range b {
		a := addr + uint64(i)
		if p.pages[a>>12] == nil {
			p.pages[a>>12] = new([4096]byte)
		}
		p.pages[a>>12][a&0xfff] = c
	}
}

// put writes values one behind the other: uint8/16/32/64, string (with NUL) or
// []byte.
func (p *fakePhys) put(addr uint64, values ...any) { p.write(addr, pack(values...)) }

func pack(values ...any) []byte {
	var b []byte
	for _, v := range values {
		switch v := v.(type) {
		case uint8:
			b = append(b, v)
		case uint16:
			b = binary.LittleEndian.AppendUint16(b, v)
		case uint32:
			b = binary.LittleEndian.AppendUint32(b, v)
		case uint64:
			b = binary.LittleEndian.AppendUint64(b, v)
		case string:
			b = append(append(b, v...), 0)
		case []byte:
			b = append(b, v...)
		default:
			panic(fmt.Sprintf("pack: %T", v))
		}
	}
	return b
}

// flatPhys is a fuzzer's bytes at an address.
type flatPhys struct {
	base uint64
	data []byte
}

func (p *flatPhys) ReadPhys(addr uint64, b []byte) error {
	if addr < p.base || addr-p.base > uint64(len(p.data)) || uint64(len(b)) > uint64(len(p.data))-(addr-p.base) {
		return errHole
	}
	copy(b, p.data[addr-p.base:])
	return nil
}

// dump returns n bytes at addr, for a fuzzer's seeds. What does not exist is 0.
func (p *fakePhys) dump(addr uint64, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		if page := p.pages[(addr+uint64(i))>>12]; page != nil {
			b[i] = page[(addr+uint64(i))&0xfff]
		}
	}
	return b
}
