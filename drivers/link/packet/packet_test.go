package packet

import (
	"testing"

	"nidus/drivers/link"
)

const addrs = "\x02\x00\x00\x00\x00\x01\x02\x00\x00\x00\x00\x02"

// ip4 is a header with the protocol, a fragment's field, and the length in its first byte.
func ip4(first, proto byte, frag string) string {
	return string([]byte{first}) + "\x00\x00\x30\x00\x00" + frag + "\x40" + string([]byte{proto}) + "\x00\x00\x0a\x00\x00\x01\x0a\x00\x00\x02"
}

func ip6(next byte) string {
	return "\x60\x00\x00\x00\x00\x20" + string([]byte{next}) + "\x40" + "0123456789abcdef0123456789abcdef"
}

const (
	tcp = "\x00\x01\x00\x02\x00\x00\x00\x00\x00\x00\x00\x00\x50\x10\x00\x00\x00\x00\x00\x00"
	udp = "\x00\x44\x00\x43\x00\x08\x00\x00"
)

func TestParse(t *testing.T) {
	for _, c := range []struct {
		name, rest string
		want       Headers
	}{
		{"nothing known", "\x88\xb5xyz", Headers{EtherType: 0x88b5, L3: 14}},
		{"TCP", "\x08\x00" + ip4(0x45, 6, "\x40\x00") + tcp, Headers{EtherType: IPv4, L3: 14, IP: true, End: 62, Protocol: 6, L4: 34, Payload: 54}},
		{"tagged UDP", "\x81\x00\xe0\x07\x08\x00" + ip4(0x45, 17, "\x00\x00") + udp, Headers{EtherType: IPv4, Tagged: true, VLAN: 7, L3: 18, IP: true, End: 66, Protocol: 17, L4: 38, Payload: 46}},
		{"half a tag", "\x81\x00\x00\x07", Headers{EtherType: 0, Tagged: true, L3: 18}},
		{"two tags", "\x81\x00\x00\x07\x81\x00\x00\x08", Headers{EtherType: VLAN, Tagged: true, VLAN: 7, L3: 18}},
		{"options", "\x08\x00" + ip4(0x46, 17, "\x00\x00") + "\x01\x01\x01\x01" + udp, Headers{EtherType: IPv4, L3: 14, IP: true, End: 62, Protocol: 17, L4: 38, Payload: 46}},
		{"header too small", "\x08\x00" + ip4(0x44, 17, "\x00\x00") + udp, Headers{EtherType: IPv4, L3: 14}},
		{"header cut", "\x08\x00" + ip4(0x4f, 17, "\x00\x00") + udp, Headers{EtherType: IPv4, L3: 14}},
		{"not version 4", "\x08\x00" + ip4(0x65, 17, "\x00\x00") + udp, Headers{EtherType: IPv4, L3: 14}},
		{"first fragment", "\x08\x00" + ip4(0x45, 17, "\x20\x00") + udp, Headers{EtherType: IPv4, L3: 14, IP: true, End: 62, Protocol: 17, L4: 34, Fragment: true}},
		{"later fragment", "\x08\x00" + ip4(0x45, 17, "\x00\x01") + udp, Headers{EtherType: IPv4, L3: 14, IP: true, End: 62, Protocol: 17, L4: 34, Fragment: true}},
		{"cut UDP", "\x08\x00" + ip4(0x45, 17, "\x00\x00") + udp[:7], Headers{EtherType: IPv4, L3: 14, IP: true, End: 62, Protocol: 17, L4: 34}},
		{"TCP's header too small", "\x08\x00" + ip4(0x45, 6, "\x00\x00") + tcp[:12] + "\x40" + tcp[13:], Headers{EtherType: IPv4, L3: 14, IP: true, End: 62, Protocol: 6, L4: 34}},
		{"TCP's options cut", "\x08\x00" + ip4(0x45, 6, "\x00\x00") + tcp[:12] + "\x60" + tcp[13:], Headers{EtherType: IPv4, L3: 14, IP: true, End: 62, Protocol: 6, L4: 34}},
		{"IPv6", "\x86\xdd" + ip6(6) + tcp, Headers{EtherType: IPv6, L3: 14, IP: true, End: 86, Protocol: 6, L4: 54, Payload: 74}},
		{"IPv6 with options", "\x86\xdd" + ip6(0) + "\x3c\x00345678" + "\x11\x01345678abcdefgh" + udp, Headers{EtherType: IPv6, L3: 14, IP: true, End: 86, Protocol: 17, L4: 78, Payload: 86}},
		{"IPv6's fragment", "\x86\xdd" + ip6(44) + "\x11\x00\x00\x00\x00\x00\x00\x00" + udp, Headers{EtherType: IPv6, L3: 14, IP: true, End: 86, Protocol: 17, L4: 62, Fragment: true}},
		{"IPv6's options go beyond the head", "\x86\xdd" + ip6(0) + "\x11\xff345678", Headers{EtherType: IPv6, L3: 14, IP: true, End: 86, Protocol: 17, L4: 2102}},
		{"IPv6's options cut", "\x86\xdd" + ip6(0) + "\x3c\xff34567", Headers{EtherType: IPv6, L3: 14, End: 86}},
	} {
		got := Parse([]byte(addrs + c.rest))
		if got != c.want {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
	}
}

func TestSum(t *testing.T) {
	// RFC 1071, section 3, and the same with an odd end.
	b := []byte{0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7}
	if got := Fold(Sum(0, b)); got != 0xddf2 {
		t.Errorf("%#x", got)
	}
	if got, want := Fold(Sum(0, b[:7])), Fold(Sum(0, append(b[:7:7], 0))); got != want {
		t.Errorf("%#x, want %#x", got, want)
	}
	full := make([]byte, 65536)
	for i := range full {
		full[i] = 0xff
	}
	if got := Fold(Sum(0xffffffff, full)); got != 0xffff {
		t.Errorf("%#x", got)
	}
}

// FuzzParse: whatever a head is, what Parse says of it lies in it.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"\x08\x00" + ip4(0x45, 6, "\x40\x00") + tcp, "\x81\x00\x00\x07\x86\xdd" + ip6(0) + "\x2c\x00345678" + "\x11\x00\x00\x00\x00\x00\x00\x00" + udp, "\x81\x00\x00\x07"} {
		f.Add([]byte(addrs + s))
	}
	f.Fuzz(func(t *testing.T, head []byte) {
		if len(head) < link.HeaderSize || len(head) > link.HeadSize {
			return
		}
		h := Parse(head)
		if h.Payload > len(head) || h.Payload != 0 && (h.L4 >= h.Payload || h.L3 >= h.L4) || h.Payload != 0 && (!h.IP || h.Fragment) {
			t.Errorf("%+v", h)
		}
		if h.IP {
			h.Pseudo(head, 0)
		}
		if off, ok := h.SumOffset(); ok && h.L4+off+2 > len(head) {
			t.Errorf("the checksum is at %d of %d", h.L4+off, len(head))
		}
	})
}

// TestPseudo: no carry is lost, whatever the addresses add up to.
func TestPseudo(t *testing.T) {
	for _, c := range []struct {
		src, dst string
		n        int
	}{
		{"\x0a\x00\x00\x01", "\x0a\x00\x00\x02", 20},
		{"\xc0\xa8\x01\x0a", "\x3f\x57\xfe\xf0", 20}, // 192.168.1.10, 63.87.254.240: ones, almost
		{"\xc0\xa8\x01\x0a", "\x3f\x57\xfe\xf5", 1480},
		{"\xff\xff\xff\xff", "\xff\xff\xff\xff", 65535},
	} {
		f := []byte(addrs + "\x08\x00" + ip4(0x45, 6, "\x00\x00")[:12] + c.src + c.dst + tcp)
		h := Parse(f)
		want := TCP + c.n
		for i := 26; i < 34; i += 2 {
			want += int(f[i])<<8 | int(f[i+1])
		}
		for want > 0xffff {
			want = want>>16 + want&0xffff
		}
		if got := Fold(h.Pseudo(f, c.n)); int(got) != want {
			t.Errorf("%x to %x, %d bytes: %#x, want %#x", c.src, c.dst, c.n, got, want)
		}
	}
}
