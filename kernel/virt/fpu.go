package virt

import "encoding/binary"

// Layout of an XSAVE image in standard format (APM vol. 2, 11.5.2 and 11.5.3;
// FXSAVE's is its first 512 bytes).
const (
	FXSize        = 512
	XSaveHeader   = 64
	XSaveMin      = FXSize + XSaveHeader
	fxFCW         = 0
	fxMXCSR       = 24
	fxMXCSRMask   = 28
	xsaveBV       = 512
	xsaveComp     = 520
	xsaveReserved = 528
	initialFCW    = 0x37f
	initialMXCSR  = 0x1f80
)

// Components of XCR0 (APM vol. 2, 11.5.2).
const (
	XCR0X87    = 1 << 0
	XCR0SSE    = 1 << 1
	XCR0AVX    = 1 << 2
	XCR0AVX512 = 7 << 5
)

// CheckXCR0 tells whether XSETBV would accept v when only allowed's components
// exist. A value that it refuses must never reach XSETBV in the host.
func CheckXCR0(v, allowed uint64) error {
	switch {
	case allowed == 0:
		if v != XCR0X87 {
			return BadState("XCR0", v, "this host doesn't offer XSAVE")
		}
	case v&^allowed != 0:
		return BadState("XCR0", v, "components that this host doesn't offer")
	case v&XCR0X87 == 0:
		return BadState("XCR0", v, "x87 can't be off")
	case v&XCR0AVX != 0 && v&XCR0SSE == 0:
		return BadState("XCR0", v, "AVX needs SSE")
	case v&XCR0AVX512 != 0 && (v&XCR0AVX512 != XCR0AVX512 || v&XCR0AVX == 0):
		return BadState("XCR0", v, "AVX-512 needs all its parts and AVX")
	}
	return nil
}

// SetFPUImage puts the image src into area, as XRSTOR (FXRSTOR when xcr0 is 0)
// takes it without a fault; what src is too short for gets initial values.
// mxcsrMask is the processor's MXCSR_MASK. The error wraps ErrBadState and
// leaves area as it was.
func SetFPUImage(area, src []byte, xcr0 uint64, mxcsrMask uint32) error {
	le := binary.LittleEndian
	size := len(area)
	if xcr0 == 0 {
		size = FXSize
	}
	if size > len(area) || size < FXSize || xcr0 != 0 && size < XSaveMin {
		return BadState("FPU area of size", uint64(len(area)), "too small for an image")
	}
	if len(src) > size {
		return BadState("FPU image of size", uint64(len(src)), "longer than this host's; it holds components that are not here")
	}
	if len(src) != 0 && len(src) < FXSize || len(src) > FXSize && len(src) < XSaveMin {
		return BadState("FPU image of size", uint64(len(src)), "an image has 0, 512, or 576 and more bytes")
	}
	mxcsr, bv := uint32(initialMXCSR), uint64(0)
	if len(src) >= FXSize {
		mxcsr = le.Uint32(src[fxMXCSR:])
		bv = XCR0X87 | XCR0SSE // an FXSAVE image
	}
	if mxcsr&^mxcsrMask != 0 {
		return BadState("MXCSR", uint64(mxcsr), "reserved bits")
	}
	if len(src) >= XSaveMin {
		bv = le.Uint64(src[xsaveBV:])
		if bv&^xcr0 != 0 {
			return BadState("XSTATE_BV", bv, "components that this host doesn't offer")
		}
		for _, b := range src[xsaveComp:XSaveMin] {
			if b != 0 {
				return BadState("XSAVE header", le.Uint64(src[xsaveComp:]), "not the standard format")
			}
		}
		if avail := componentsIn(len(src)); bv&^avail != 0 {
			return BadState("XSTATE_BV", bv, "components beyond the image's end")
		}
	}
	clear(area[copy(area[:size], src):size])
	if len(src) == 0 {
		le.PutUint16(area[fxFCW:], initialFCW)
		le.PutUint32(area[fxMXCSR:], initialMXCSR)
	}
	le.PutUint32(area[fxMXCSRMask:], mxcsrMask)
	if xcr0 != 0 {
		le.PutUint64(area[xsaveBV:], bv&xcr0)
	}
	return nil
}

// componentsIn says which components a standard-format image of n bytes can
// hold; those behind AVX are taken to be there when anything follows AVX's.
func componentsIn(n int) uint64 {
	switch {
	case n >= XSaveMin+256+1:
		return ^uint64(0)
	case n >= XSaveMin+256:
		return XCR0X87 | XCR0SSE | XCR0AVX
	}
	return XCR0X87 | XCR0SSE
}
