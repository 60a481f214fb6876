package netback

import (
	"encoding/hex"
	"net/netip"
	"testing"

	"nidus/drivers/link/packet"
)

// TestToeplitz: the vectors of Microsoft's "Verifying the RSS Hash Calculation".
func TestToeplitz(t *testing.T) {
	key, err := hex.DecodeString("6d5a56da255b0ec24167253d43a38fb0d0ca2bcbae7b30b477cb2da38030f20c6a42b73bbeac01fa")
	if err != nil {
		t.Fatal(err)
	}
	h := hashing{algorithm: hashToeplitz, key: [maxKey]byte(key)}
	for _, c := range []struct {
		src, dst    string
		plain, full uint32
	}{
		{"66.9.149.187:2794", "161.142.100.80:1766", 0x323e8fc2, 0x51ccc178},
		{"199.92.111.2:14230", "65.69.140.83:4739", 0xd718262a, 0xc626b0ea},
		{"24.19.198.95:12898", "12.22.207.184:38024", 0xd2d0a5de, 0x5c2b394a},
		{"[3ffe:2501:200:1fff::7]:2794", "[3ffe:2501:200:3::1]:1766", 0x2cc18cd5, 0x40207d3d},
		{"[3ffe:501:8::260:97ff:fe40:efab]:14230", "[ff02::1]:4739", 0x0f0c461c, 0xdde51bbf},
	} {
		src, dst := netip.MustParseAddrPort(c.src), netip.MustParseAddrPort(c.dst)
		frame := make([]byte, 12)
		if src.Addr().Is4() {
			frame = append(frame, 8, 0, 0x45, 0, 0, 40, 0, 0, 0, 0, 64, packet.TCP, 0, 0)
		} else {
			frame = append(frame, 0x86, 0xdd, 0x60, 0, 0, 0, 0, 20, packet.TCP, 64)
		}
		frame = append(append(frame, src.Addr().AsSlice()...), dst.Addr().AsSlice()...)
		frame = append(frame, byte(src.Port()>>8), byte(src.Port()), byte(dst.Port()>>8), byte(dst.Port()))
		frame = append(frame, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0, 0, 0, 0, 0, 0, 0)
		p := packet.Parse(frame)
		for _, x := range []struct{ types, want uint32 }{
			{hashIPv4 | hashIPv6, c.plain}, {hashAll, c.full}, {hashIPv4TCP | hashIPv6TCP, c.full},
		} {
			h.types = x.types
			if got := h.of(frame, &p); got != x.want {
				t.Errorf("%s to %s, types %d: %#x, want %#x", c.src, c.dst, x.types, got, x.want)
			}
		}
		p.Protocol = packet.UDP
		if got := h.of(frame, &p); got != 0 {
			t.Errorf("no TCP: %#x", got)
		}
	}
}
