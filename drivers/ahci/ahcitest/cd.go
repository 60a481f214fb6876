package ahcitest

import (
	"encoding/binary"
	"fmt"
)

const cdSignature = 0xeb140101

// do12 does a packet's command, and returns the error register.
func (k *Disk) do12(p *port, c Command) uint8 {
	fail := func(key, code uint8) uint8 {
		k.key, k.code = key, code
		return key << 4
	}
	if (c.features&1 != 0) != (len(c.spans) > 0) {
		panic(fmt.Sprintf("ahcitest: a packet with features %#x and %d PRDs", c.features, len(c.spans)))
	}
	op := c.packet[0]
	if op == 0x03 { // REQUEST SENSE
		b := make([]byte, 18)
		b[0], b[2], b[12] = 0x70, k.key, k.code
		if k.key == 6 {
			k.New = false
		}
		k.key, k.code = 0, 0
		p.move(c, b, true)
		return 0
	}
	switch {
	case k.New: // until its sense is read, as in QEMU
		return fail(6, 0x28)
	case k.Disc == nil:
		return fail(2, 0x3a)
	case k.Starting > 0:
		k.Starting--
		return fail(2, 0x04)
	}
	be := binary.BigEndian
	switch sectors := uint32(len(k.Disc) / 2048); op {
	case 0x00: // TEST UNIT READY
	case 0x25: // READ CAPACITY
		p.move(c, be.AppendUint32(be.AppendUint32(nil, sectors-1), 2048), true)
	case 0xa8: // READ (12)
		first, n := be.Uint32(c.packet[2:]), be.Uint32(c.packet[6:])
		if n == 0 || first+n > sectors {
			return fail(5, 0x21)
		}
		p.move(c, k.Disc[first*2048:(first+n)*2048], true)
	default:
		return fail(5, 0x20)
	}
	return 0
}
