package emulate

import (
	"testing"

	"nidus/mm"
)

// lastAddr remembers where an instruction read.
type lastAddr struct{ at mm.GuestVirt }

func (l *lastAddr) Read(a mm.GuestVirt, p []byte) error  { l.at = a; return nil }
func (l *lastAddr) Write(a mm.GuestVirt, p []byte) error { l.at = a; return nil }

// Displacements are signed; Linux reaches its APIC page by a negative one.
func TestDisplacement(t *testing.T) {
	for _, tt := range []struct {
		name string
		mode int
		code []byte
		want mm.GuestVirt
	}{
		{"disp32, 64-bit", 64, []byte{0x8b, 0x87, 0x00, 0xd0, 0x5f, 0xff}, 0xffffffffff5fd020},
		{"disp32, 32-bit", 32, []byte{0x8b, 0x87, 0x00, 0xd0, 0x5f, 0xff}, 0xff5fd020},
		{"disp8, 64-bit", 64, []byte{0x8b, 0x47, 0xf0}, 0x10},
		{"absolute disp32, 64-bit", 64, []byte{0x8b, 0x04, 0x25, 0x00, 0xd0, 0x5f, 0xff}, 0xffffffffff5fd000},
		{"RIP-relative", 64, []byte{0x8b, 0x05, 0xf6, 0xff, 0xff, 0xff}, 0x1000 + 6 - 10},
		{"moffs64", 64, []byte{0xa1, 0, 0xd0, 0x5f, 0xff, 0, 0, 0, 0}, 0xff5fd000},
	} {
		m := &lastAddr{}
		c := &CPU{Mode: tt.mode, Mem: m, RIP: 0x1000}
		for i := range c.Segs {
			c.Segs[i].Limit = 0xffffffff
		}
		c.Regs[7] = 0x20
		if _, err := Step(c, tt.code); err != nil || m.at != tt.want {
			t.Errorf("%s: read %#x, error %v; want %#x", tt.name, m.at, err, tt.want)
		}
	}
}
