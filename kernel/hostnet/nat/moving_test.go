package nat

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"nidus/kernel/hostnet/ipstack"
)

// TestMoving: a guest that takes another address has no more connections for it, and with
// the guest those of all its addresses end.
func TestMoving(t *testing.T) {
	s := newSetting(t, Config{Limits: Limits{Total: 64, PerGuest: 8}})
	s.echoServer(s.world, 80)
	s.boot()
	s.configure(s.guest, ipstack.Config{Address: netip.MustParsePrefix("10.9.0.2/24"), Gateway: own.Addr()})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	dial := func(i byte) (*gonet.TCPConn, error) {
		return s.guest.DialTCP(ctx, netip.AddrFrom4([4]byte{10, 9, 0, i}), netip.AddrPortFrom(worldIP.Addr(), 80))
	}
	for i := range byte(4) {
		i += 50
		p := tcpip.AddressWithPrefix{Address: tcpip.AddrFrom4([4]byte{10, 9, 0, i}), PrefixLen: 24}
		if err := s.guest.AddProtocolAddress(ipstack.NIC, tcpip.ProtocolAddress{Protocol: ipv4.ProtocolNumber, AddressWithPrefix: p}, stack.AddressProperties{}); err != nil {
			t.Fatal(err)
		}
		for k := range 2 {
			c, err := dial(i)
			if err != nil {
				t.Fatalf("connection %d from %v: %v", k, p, err)
			}
			defer c.Close()
		}
	}
	if c, err := dial(53); err == nil {
		c.Close()
		t.Error("a ninth connection")
	}
	s.net.Forget(mac(1))
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		n, _, _ := s.net.Flows()
		if n == 0 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("the guest is gone and has %d connections", n)
		}
	}
}
