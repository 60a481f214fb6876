package bridge

import (
	"net/netip"
	"strings"
	"testing"

	"nidus/drivers/link"
	"nidus/drivers/link/packet"
)

// TestGuard: which frames a port may send.
func TestGuard(t *testing.T) {
	own := link.MAC{0, 0x16, 0x3e, 1, 2, 3}
	eth := func(src link.MAC, typ string, rest ...string) []byte {
		return []byte("\xff\xff\xff\xff\xff\xff" + string(src[:]) + typ + strings.Join(rest, ""))
	}
	ip4 := func(src string, proto byte, rest string) string {
		a := netip.MustParseAddr(src).As4()
		return "\x45\x00\x00\x40\x00\x00\x00\x00\x40" + string([]byte{proto}) + "\x00\x00" + string(a[:]) + "\x0a\x00\x00\x02" + rest
	}
	ip6 := func(src string, next byte, rest string) string {
		a := netip.MustParseAddr(src).As16()
		return "\x60\x00\x00\x00\x00\x40" + string([]byte{next}) + "\xff" + string(a[:]) + strings.Repeat("\xff", 16) + rest
	}
	arp := func(mac link.MAC, src string) string {
		a := netip.MustParseAddr(src).As4()
		return "\x00\x01\x08\x00\x06\x04\x00\x01" + string(mac[:]) + string(a[:]) + strings.Repeat("\x00", 10)
	}
	nd := func(typ byte, target string) string {
		a := netip.MustParseAddr(target).As16()
		return string([]byte{typ}) + "\x00\x00\x00\x00\x00\x00\x00" + string(a[:])
	}
	const v4, v6, ARP, local = "\x08\x00", "\x86\xdd", "\x08\x06", "fe80::216:3eff:fe01:203"
	other := link.MAC{0, 0x16, 0x3e, 1, 2, 4}
	dhcp := "\x00\x44\x00\x43\x00\x08\x00\x00"
	for _, c := range []struct {
		name    string
		frame   []byte
		mac, ip bool // whether a Guard for the address, and one for 10.0.0.0/30 and fd00::1, allow it
	}{
		{"IPv4", eth(own, v4, ip4("10.0.0.1", 6, "")), true, true},
		{"another MAC", eth(other, v4, ip4("10.0.0.1", 6, "")), false, false},
		{"another IPv4", eth(own, v4, ip4("10.0.0.4", 6, "")), true, false},
		{"cut IPv4", eth(own, v4, ip4("10.0.0.1", 6, "")[:19]), true, false},
		{"version 6 in IPv4", eth(own, v4, "\x65"+ip4("10.0.0.1", 6, "")[1:]), true, false},
		{"DHCP", eth(own, v4, ip4("0.0.0.0", 17, dhcp)), true, true},
		{"no DHCP", eth(own, v4, ip4("0.0.0.0", 17, "\x00\x44\x00\x44\x00\x08\x00\x00")), true, false},
		{"cut DHCP", eth(own, v4, ip4("0.0.0.0", 17, dhcp[:7])), true, false},
		{"ARP", eth(own, ARP, arp(own, "10.0.0.1")), true, true},
		{"ARP's probe", eth(own, ARP, arp(own, "0.0.0.0")), true, true},
		{"ARP of another MAC", eth(own, ARP, arp(other, "10.0.0.1")), false, false},
		{"ARP of another IPv4", eth(own, ARP, arp(own, "10.0.0.9")), true, false},
		{"cut ARP", eth(own, ARP, arp(own, "10.0.0.1")[:27]), true, false},
		{"IPv6", eth(own, v6, ip6("fd00::1", 6, "")), true, true},
		{"another IPv6", eth(own, v6, ip6("fd00::2", 6, "")), true, false},
		{"link-local", eth(own, v6, ip6(local, 17, "")), true, true},
		{"another's link-local", eth(own, v6, ip6("fe80::216:3eff:fe01:204", 17, "")), true, false},
		{"looks for duplicates", eth(own, v6, ip6("::", 58, nd(135, local))), true, true},
		{"looks for others' duplicates", eth(own, v6, ip6("::", 58, nd(135, "fd00::9"))), true, false},
		{"advertises itself", eth(own, v6, ip6(local, 58, nd(136, "fd00::1"))), true, true},
		{"advertises another", eth(own, v6, ip6(local, 58, nd(136, "fd00::2"))), true, false},
		{"advertises a router", eth(own, v6, ip6(local, 58, nd(134, local))), true, false},
		{"redirects", eth(own, v6, ip6(local, 58, nd(137, local))), true, false},
		{"asks for routers", eth(own, v6, ip6("::", 58, "\x85\x00\x00\x00\x00\x00\x00\x00")), true, true},
		{"fragments of discovery", eth(own, v6, ip6("fd00::1", 44, "\x3a\x00\x00\x08\x00\x00\x00\x01"+nd(136, "fd00::2"))), true, false},
		{"router behind options", eth(own, v6, ip6(local, 0, "\x3a\x00\x00\x00\x00\x00\x00\x00"+nd(134, local))), true, false},
		{"router behind long options", eth(own, v6, ip6(local, 0, "\x3a\x10"+strings.Repeat("\x00", 134)+nd(134, local)))[:link.HeadFill], true, false},
		{"endless options", eth(own, v6, ip6(local, 0, "\x00\x00\x00\x00\x00\x00\x00\x00")), true, false},
		{"something else", eth(own, "\x88\xcc", "x"), true, false},
	} {
		for _, g := range []struct {
			guard Guard
			want  bool
		}{{Guard{}, true}, {Guard{MAC: true}, c.mac}, {Guard{IPs: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/30"), netip.MustParsePrefix("fd00::1/128")}}, c.ip}} {
			n := newNet(t)
			p, m := n.join("p", Config{MAC: own, Guard: g.guard})
			q, _ := n.join("q", Config{})
			p.receive([]*link.Frame{{Head: c.frame, Done: func(*link.Frame) { n.done++ }}})
			if got := len(q.got) == 1; got != g.want || got == (m.Spoofed.Load() == 1) || n.done != 1 {
				t.Errorf("%s, %+v: goes through: %v; %d done", c.name, g.guard, got, n.done)
			}
		}
	}
}

// A check that refuses is heard, whatever the rest of the guard allows.
func TestGuardCheck(t *testing.T) {
	own := link.MAC{0, 0x16, 0x3e, 1, 2, 3}
	head := append(append(make([]byte, 6), own[:]...), 8, 0)
	for _, c := range []struct{ check, mac, want bool }{{true, true, true}, {false, true, false}, {true, false, false}} {
		g := Guard{MAC: true, Check: func([]byte, *packet.Headers) bool { return c.check }}
		who := own
		if !c.mac {
			who[5]++
		}
		h := packet.Parse(head)
		if got := g.allows(head, &h, who); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}
