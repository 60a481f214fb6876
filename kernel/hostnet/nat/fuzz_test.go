package nat

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"gvisor.dev/gvisor/pkg/tcpip/header"

	"nidus/drivers/link"
	"nidus/kernel/hostnet/ipstack"
	"nidus/mm"
)

// packetTo is a frame of the guest's with its address, without what follows IPv4's header.
func packetTo(to string, protocol uint8, body []byte) []byte {
	f := make([]byte, 34, 34+len(body))
	gateway, guest := mac(20), mac(1)
	copy(f, gateway[:])
	copy(f[6:], guest[:])
	f[12] = 8
	ip := header.IPv4(f[14:])
	ip.Encode(&header.IPv4Fields{TotalLength: uint16(20 + len(body)), TTL: 64, Protocol: protocol,
		SrcAddr: ipstack.Address(netip.MustParseAddr("10.9.0.2")), DstAddr: ipstack.Address(netip.MustParseAddr(to))})
	ip.SetChecksum(^ip.CalculateChecksum())
	return append(f, body...)
}

// FuzzFrames has a guest send any frames, each cut at its first two bytes into pieces with
// their lengths before them: nothing fails, and it has no more than it may.
func FuzzFrames(f *testing.F) {
	piece := func(frames ...[]byte) (out []byte) {
		for _, b := range frames {
			out = binary.BigEndian.AppendUint16(out, uint16(len(b)))
			out = append(out, b...)
		}
		return out
	}
	udp := []byte{4, 0, 0, 53, 0, 12, 0, 0, 1, 2, 3, 4}
	echo := []byte{8, 0, 0xf6, 0xfd, 0, 1, 0, 1}
	tcp := []byte{4, 0, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0xff, 0xff, 0, 0, 0, 0}
	f.Add(piece(packetTo("192.0.2.9", 17, udp), packetTo("10.9.0.1", 17, udp)))
	f.Add(piece(packetTo("192.0.2.9", 1, echo), packetTo("192.0.2.9", 6, tcp)))
	f.Add(piece(packetTo("255.255.255.255", 17, []byte{0, 68, 0, 67, 0, 8, 0, 0}), make([]byte, 42)))
	s := newSetting(f, Config{Limits: Limits{Total: 8, PerGuest: 4}})
	f.Fuzz(func(t *testing.T, b []byte) {
		var frames []*link.Frame
		for len(b) > 2 && len(frames) < 64 {
			n := min(int(binary.BigEndian.Uint16(b)), len(b)-2, 1514)
			data := b[2 : 2+n]
			b = b[2+n:]
			if n < link.HeaderSize {
				continue
			}
			frames = append(frames, s.frame(t, data))
		}
		s.guestPort.Send(frames)
		tcp, udp, echo := s.net.Flows()
		if tcp > 4 || udp > 4 || echo > 4 {
			t.Errorf("%d flows of TCP, %d of UDP, %d echoes", tcp, udp, echo)
		}
	})
}

// frame puts data in a frame, with its checksum taken as verified, so that the fuzzer need not find it.
func (s *setting) frame(t testing.TB, data []byte) *link.Frame {
	page, err := s.mem.Alloc(0, mm.ZoneAny)
	if err != nil {
		t.Fatal(err)
	}
	s.mem.Page(page).Write(0, data)
	head := min(len(data), link.HeadFill)
	f := &link.Frame{Head: s.mem.Page(page).Bytes(0, head), HeadAt: link.Segment{Frame: page, Len: uint16(head)}, Checksum: link.Verified,
		Done: func(*link.Frame) { s.mem.Free(page, 0) }}
	if n := len(data) - head; n > 0 {
		f.Segments = []link.Segment{{Frame: page, Off: uint16(head), Len: uint16(n)}}
	}
	return f
}
