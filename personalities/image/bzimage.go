package image

import "fmt"

// Fields of the real-mode kernel header (Linux/x86 boot protocol).
const (
	bzSetupSects    = 0x1f1 // u8
	bzBootFlag      = 0x1fe // u16, 0xaa55
	bzHeaderMagic   = 0x202 // "HdrS"
	bzVersion       = 0x206 // u16
	bzPayloadOffset = 0x248 // u32, from 2.08
	bzPayloadLength = 0x24c // u32, from 2.08
	bzHeaderEnd     = 0x250
)

func isBzImage(data []byte) bool {
	return len(data) >= bzVersion+2 && le.Uint16(data[bzBootFlag:]) == 0xaa55 &&
		string(data[bzHeaderMagic:bzHeaderMagic+4]) == "HdrS"
}

// bzImagePayload finds the packed kernel in a bzImage. Precondition:
// isBzImage(data).
func bzImagePayload(data []byte) ([]byte, error) {
	have := uint64(len(data))
	if v := le.Uint16(data[bzVersion:]); v < 0x0208 {
		return nil, fmt.Errorf("bzImage: %w: its boot protocol %d.%02d does not say where the kernel is; 2.08 does (Linux 2.6.26 and later)",
			ErrFormat, v>>8, v&0xff)
	}
	if have < bzHeaderEnd {
		return nil, missing("the bzImage header", bzHeaderEnd, have)
	}
	setup := uint64(data[bzSetupSects])
	if setup == 0 {
		setup = 4 // "For backwards compatibility, if the setup_sects field contains 0, the real value is 4."
	}
	// All three are at most 32 bits wide: no sum overflows.
	start := (setup+1)*512 + uint64(le.Uint32(data[bzPayloadOffset:]))
	size := uint64(le.Uint32(data[bzPayloadLength:]))
	if size == 0 {
		return nil, fmt.Errorf("bzImage: %w: its header says that the payload is empty", ErrFormat)
	}
	if start+size > have {
		return nil, fmt.Errorf("bzImage: %w", missing("the payload", start+size, have))
	}
	return data[start : start+size : start+size], nil
}
