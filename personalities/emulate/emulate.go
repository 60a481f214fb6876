// Package emulate carries out one guest instruction that the hardware couldn't:
// an access to a device's memory, or string I/O. It knows the instructions that
// drivers use for that: MOV and its extensions, the integer arithmetic and bit
// instructions with a memory operand, exchanges, and the string instructions.
// Everything else is ErrUnsupported.
//
// Specifications: Intel SDM vol. 1 chapter 3 and vol. 2; AMD APM vol. 3
// (24594). Decoding is golang.org/x/arch/x86/x86asm's.
package emulate

import (
	"bytes"
	"errors"
	"fmt"

	"golang.org/x/arch/x86/x86asm"

	"nidus/mm"
)

// MaxRep bounds the iterations of a REP prefix in one Step.
const MaxRep = 256

// maxInst is the longest instruction in bytes (SDM vol. 2, 2.3.11).
const maxInst = 15

// ErrUnsupported says that the bytes are no instruction that Step knows, or that
// they end before it does.
var ErrUnsupported = errors.New("emulate: no instruction that a device access needs")

// Exception is an exception to inject; the vcpu's state is as before the
// instruction (of a REP: as before the iteration).
type Exception struct {
	Vector  uint8
	HasCode bool
	Code    uint32
}

// Error names the exception.
func (e *Exception) Error() string {
	return fmt.Sprintf("emulate: exception %d, error code %#x", e.Vector, e.Code)
}

var (
	errUD = &Exception{Vector: 6}
	errSS = &Exception{Vector: 12, HasCode: true}
	errGP = &Exception{Vector: 13, HasCode: true}
)

// Memory is guest memory by linear address, RAM and devices alike. p is 1, 2,
// 4 or 8 bytes, and may cross a page; an implementation must not keep it. An
// error (a *paging.Fault, for instance) comes back from Step as it is, and
// nothing has changed.
type Memory interface {
	Read(a mm.GuestVirt, p []byte) error
	Write(a mm.GuestVirt, p []byte) error
}

// Ports are the guest's I/O ports; size is 1, 2 or 4. Permission (IOPL, the
// TSS's map) is checked by the implementation. May be nil: then IN, OUT, INS
// and OUTS are unsupported.
type Ports interface {
	In(port uint16, size int) (uint32, error)
	Out(port uint16, size int, v uint32) error
}

// Segment is what address computation needs of a segment register.
type Segment struct {
	Base  uint64
	Limit uint32 // the last offset; not looked at in 64-bit mode
}

// Segment registers in the order of their encoding.
const (
	ES = iota
	CS
	SS
	DS
	FS
	GS
)

// CPU is the state that an instruction works on. Regs are in the order of
// their encoding: RAX RCX RDX RBX RSP RBP RSI RDI R8-R15.
type CPU struct {
	Mode   int // 16, 32 or 64: the code segment's
	Regs   [16]uint64
	RIP    uint64
	RFLAGS uint64
	Segs   [6]Segment
	Mem    Memory
	Ports  Ports

	buf   [8]byte
	inst  *x86asm.Inst
	cache [cacheSize]decoded
}

// cacheSize is the number of decoded instructions that a CPU remembers, by
// where they are: a driver's few accesses then need no decoding, which is slow
// and allocates. It is a power of two.
const cacheSize = 8

// decoded is an instruction, and the bytes and mode that it was decoded from:
// the same bytes are the same instruction, wherever they come from.
type decoded struct {
	inst x86asm.Inst
	code [maxInst]byte
	mode int
}

// Result is what Step did.
type Result struct {
	Len  int  // bytes of the instruction
	Done bool // RIP is behind it; else a REP goes on: call Step again
}

// Step carries out the instruction in code (up to 15 bytes, from RIP). With an
// error nothing has changed but for the finished iterations of a REP. With
// RFLAGS.TF set a REP does one iteration; the trap is the caller's to deliver.
// A LOCK prefix is accepted, but the access is not atomic for other vcpus:
// device memory has no such promise to keep.
func Step(c *CPU, code []byte) (Result, error) {
	if len(code) > maxInst {
		code = code[:maxInst]
	}
	if err := c.decode(code); err != nil {
		return Result{}, err
	}
	r := Result{Len: c.inst.Len, Done: true}
	done, err := c.exec()
	if err != nil {
		return Result{Len: r.Len}, err
	}
	r.Done = done
	if done {
		c.RIP = c.ipMask(c.RIP + uint64(r.Len))
	}
	return r, nil
}

func (c *CPU) ipMask(v uint64) uint64 {
	switch c.Mode {
	case 16, 32:
		return v & 0xffffffff
	}
	return v
}

// decode sets c.inst.
func (c *CPU) decode(code []byte) error {
	if c.Mode != 16 && c.Mode != 32 && c.Mode != 64 {
		return fmt.Errorf("%w: mode %d", ErrUnsupported, c.Mode)
	}
	d := &c.cache[(c.RIP^c.RIP>>3)&(cacheSize-1)]
	c.inst = &d.inst
	if n := d.inst.Len; d.mode == c.Mode && n <= len(code) && bytes.Equal(d.code[:n], code[:n]) {
		return nil
	}
	d.mode = 0 // valid again once everything is checked
	if err := d.fill(code, c.Mode); err != nil {
		return err
	}
	for _, p := range d.inst.Prefix {
		if p == 0 {
			break
		}
		if p&x86asm.PrefixInvalid != 0 {
			return errUD
		}
	}
	copy(d.code[:], code)
	d.mode = c.Mode
	return nil
}

// fill decodes. The decoder is a library that a guest feeds: whatever it may
// panic over is an instruction that isn't supported.
func (d *decoded) fill(code []byte, mode int) (err error) {
	defer func() {
		if recover() != nil {
			err = ErrUnsupported
		}
	}()
	d.inst, err = x86asm.Decode(code, mode)
	// Of bytes that end too early the decoder makes a prefix alone, without Op.
	if err != nil || d.inst.Op == 0 || d.inst.Len <= 0 || d.inst.Len > len(code) {
		return fmt.Errorf("%w: % x", ErrUnsupported, code)
	}
	return nil
}

// prefixed tells whether the instruction has a prefix that isn't ignored.
func (c *CPU) prefixed(want x86asm.Prefix) bool {
	for _, p := range c.inst.Prefix {
		if p == 0 {
			break
		}
		if p&x86asm.PrefixIgnored == 0 && p&0xff == want && !(c.Mode == 64 && p.IsREX()) {
			return true
		}
	}
	return false
}

func sizeMask(size int) uint64 {
	if size >= 8 {
		return ^uint64(0)
	}
	return 1<<(8*size) - 1
}

func signExtend(v uint64, size int) uint64 {
	s := uint(64 - 8*size)
	return uint64(int64(v<<s) >> s)
}
