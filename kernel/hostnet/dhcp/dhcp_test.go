package dhcp

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"nidus/drivers/device/devicetest"
	"nidus/drivers/link"
	"nidus/drivers/link/pipe"
	"nidus/kernel/hostnet/endpoint"
	"nidus/kernel/hostnet/ipstack"
)

var network = netip.MustParsePrefix("10.9.0.1/24")

func mac(n byte) link.MAC { return link.MAC{0, 0x16, 0x3e, 0, 0, n} }

// Leases in random order: no address has two interfaces, no interface two addresses, and
// none is given that is no guest's.
func TestLeasesModel(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	own := netip.MustParsePrefix("10.9.0.1/28")
	l := NewLeases(own, func(m link.MAC) bool { return m[5] < 30 })
	model := map[link.MAC]netip.Addr{}
	all := own.Masked().Addr()
	for step := range 30000 {
		m := mac(byte(r.IntN(32)))
		a := all
		for range r.IntN(17) {
			a = a.Next()
		}
		var who *link.MAC
		for k, v := range model {
			if v == a {
				who = &k
			}
		}
		usable := own.Contains(a) && a != own.Addr() && a != all && own.Contains(a.Next())
		switch r.IntN(4) {
		case 0:
			got, ok := l.Give(m, a)
			had, has := model[m]
			switch {
			case has && (!ok || got != had), !has && ok && m[5] >= 30, !has && ok && usable && who == nil && got != a, !has && !ok && m[5] < 30 && len(model) < 13:
				t.Fatalf("step %d: %v wants %v: %v, %v", step, m, a, got, ok)
			}
			if ok {
				model[m] = got
			}
		case 1:
			ok := l.Claim(m, a)
			if want := model[m] == a || usable && who == nil && m[5] < 30; ok != want {
				t.Fatalf("step %d: %v claims %v: %v, want %v", step, m, a, ok, want)
			}
			if ok {
				model[m] = a
			}
		case 2:
			l.Forget(m)
			delete(model, m)
		case 3:
			got, ok := l.Of(m)
			if want, has := model[m]; ok != has || got != want {
				t.Fatalf("step %d: %v has %v, want %v", step, m, got, want)
			}
			if w, ok := l.Who(a); ok != (who != nil) || ok && w != *who {
				t.Fatalf("step %d: %v is %v's", step, a, w)
			}
		}
		seen := map[netip.Addr]bool{}
		for _, a := range model {
			if seen[a] || a == own.Addr() || a == all || !own.Contains(a.Next()) {
				t.Fatalf("step %d: %v", step, model)
			}
			seen[a] = true
		}
	}
}

func TestGroupHasNoAddress(t *testing.T) {
	l := NewLeases(network, nil)
	for _, m := range []link.MAC{{}, {1}, {0xff, 0xff, 0xff, 0xff, 0xff, 0xff}} {
		if a, ok := l.Give(m, netip.Addr{}); ok {
			t.Errorf("%v got %v", m, a)
		}
	}
}

func server() *Server {
	return &Server{Leases: NewLeases(network, nil), Own: network, Domain: "internal", MTU: 1500, Time: time.Second, Name: func(m link.MAC) string { return "guest" }}
}

func TestAnswer(t *testing.T) {
	hw := func(n byte) dhcpv4.Modifier { m := mac(n); return dhcpv4.WithHwAddr(m[:]) }
	kind := func(m dhcpv4.MessageType) dhcpv4.Modifier { return dhcpv4.WithMessageType(m) }
	wants := func(s string) dhcpv4.Modifier {
		return dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(netip.MustParseAddr(s).AsSlice()))
	}
	has := func(s string) dhcpv4.Modifier { return dhcpv4.WithClientIP(netip.MustParseAddr(s).AsSlice()) }
	of := func(s string) dhcpv4.Modifier {
		return dhcpv4.WithOption(dhcpv4.OptServerIdentifier(netip.MustParseAddr(s).AsSlice()))
	}
	type mods = []dhcpv4.Modifier
	s := server()
	for i, c := range []struct {
		mods mods
		want dhcpv4.MessageType // 0: no answer
		your string
		to   string
	}{
		{mods{hw(1), kind(dhcpv4.MessageTypeDiscover)}, dhcpv4.MessageTypeOffer, "10.9.0.2", "10.9.0.2"},
		{mods{hw(1), kind(dhcpv4.MessageTypeRequest), wants("10.9.0.2"), of("10.9.0.1")}, dhcpv4.MessageTypeAck, "10.9.0.2", "10.9.0.2"},
		{mods{hw(1), kind(dhcpv4.MessageTypeRequest), has("10.9.0.2")}, dhcpv4.MessageTypeAck, "10.9.0.2", "10.9.0.2"},
		{mods{hw(1), kind(dhcpv4.MessageTypeRequest), wants("10.9.0.7")}, dhcpv4.MessageTypeNak, "0.0.0.0", "255.255.255.255"},
		{mods{hw(1), kind(dhcpv4.MessageTypeRequest), wants("10.9.0.2"), of("10.9.0.9")}, 0, "", ""},
		{mods{hw(2), kind(dhcpv4.MessageTypeDiscover), wants("10.9.0.50"), dhcpv4.WithBroadcast(true)}, dhcpv4.MessageTypeOffer, "10.9.0.50", "255.255.255.255"},
		{mods{hw(3), kind(dhcpv4.MessageTypeDiscover), wants("10.9.0.1")}, dhcpv4.MessageTypeOffer, "10.9.0.3", "10.9.0.3"},
		{mods{hw(4), kind(dhcpv4.MessageTypeInform), has("10.9.0.77")}, dhcpv4.MessageTypeAck, "0.0.0.0", "10.9.0.77"},
		{mods{hw(4), kind(dhcpv4.MessageTypeInform)}, 0, "", ""},
		{mods{hw(1), kind(dhcpv4.MessageTypeRelease)}, 0, "", ""},
		{mods{hw(1), kind(dhcpv4.MessageTypeDiscover), dhcpv4.WithRelay([]byte{1, 2, 3, 4})}, 0, "", ""},
		{mods{hw(1)}, 0, "", ""},
	} {
		m, err := dhcpv4.New(c.mods...)
		if err != nil {
			t.Fatal(err)
		}
		r, to := s.Answer(m.ToBytes())
		switch {
		case c.want == 0:
			if r != nil {
				t.Errorf("%d: %v", i, r.Summary())
			}
		case r == nil || r.MessageType() != c.want || r.YourIPAddr.String() != c.your || to.String() != c.to:
			t.Errorf("%d: to %v, %v", i, to, r)
		case c.want != dhcpv4.MessageTypeNak && (r.Router()[0].String() != "10.9.0.1" || r.DNS()[0].String() != "10.9.0.1" || r.SubnetMask().String() != "ffffff00" || r.HostName() != "guest"):
			t.Errorf("%d: %v", i, r.Summary())
		}
	}
}

func FuzzAnswer(f *testing.F) {
	d, _ := dhcpv4.NewDiscovery([]byte{0, 0x16, 0x3e, 0, 0, 1})
	f.Add(d.ToBytes())
	s := server()
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, _ := s.Answer(b); r != nil {
			r.ToBytes()
		}
	})
}

// FuzzLease has a server of the network's, which nobody vouches for, give the host its address.
func FuzzLease(f *testing.F) {
	d, _ := dhcpv4.NewDiscovery([]byte{0, 0x16, 0x3e, 0, 0, 1})
	s := server()
	r, _ := s.Answer(d.ToBytes())
	r.UpdateOption(dhcpv4.OptNTPServers(net.IPv4(10, 9, 0, 1)))
	f.Add(r.ToBytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := dhcpv4.FromBytes(b)
		if err != nil {
			return
		}
		l, err := lease(m, time.Minute)
		if err != nil {
			return
		}
		if a := l.Address; !a.IsValid() || !a.Addr().Is4() || a.Bits() == 0 || l.Time < time.Minute || l.renew < 30*time.Second || l.renew > l.Time ||
			l.Gateway.IsValid() && !a.Contains(l.Gateway) || len(l.DNS) > 4 || len(l.NTP) > 4 {
			t.Errorf("%+v", l)
		}
	})
}

func newStack(t *testing.T, p link.Port, mem *devicetest.Host) *ipstack.Stack {
	s, err := ipstack.New(p, mem, ipstack.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// The client gets an address from the server, though the first messages are lost, keeps
// it, and loses it when the server does not answer any more.
func TestClientLife(t *testing.T) {
	var mem devicetest.Host
	a, b := pipe.New(link.Info{Name: "a", MAC: mac(1), MTU: 1500, Take: endpoint.Take}, link.Info{Name: "b", MAC: mac(2), MTU: 1500, Take: endpoint.Take})
	host, peer := newStack(t, a, &mem), newStack(t, b, &mem)
	if err := peer.Configure(ipstack.Config{Address: network}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	leases := make(chan Lease, 10)
	c := &Client{Stack: host, Name: "nidus", Changed: func(l Lease) { leases <- l }, times: times{5 * time.Millisecond, 50 * time.Millisecond, 5 * time.Millisecond, time.Second}}
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	time.Sleep(30 * time.Millisecond) // there is no server, and then there is
	conn, err := peer.ListenUDP(ServerPort)
	if err != nil {
		t.Fatal(err)
	}
	s := server()
	served := make(chan struct{})
	go func() { s.Serve(peer, conn); close(served) }()
	l := <-leases
	want := ipstack.Config{Address: netip.MustParsePrefix("10.9.0.2/24"), Gateway: network.Addr(), DNS: []netip.Addr{network.Addr()}}
	if got, _ := host.Config(); l.Address != want.Address || got.Gateway != want.Gateway || !slices.Equal(got.DNS, want.DNS) || l.Time != s.Time {
		t.Errorf("%+v, stack %+v", l, got)
	}
	time.Sleep(2 * s.Time) // it is renewed
	if got, _ := host.Config(); got.Address != want.Address || len(leases) != 0 {
		t.Errorf("after twice the lease: %+v, %d changes", got, len(leases))
	}
	conn.Close()
	<-served
	select {
	case l := <-leases:
		if l.Address.IsValid() {
			t.Errorf("without a server: %+v", l)
		}
	case <-time.After(20 * s.Time):
		t.Error("without a server the address stays")
	}
	if got, _ := host.Config(); got.Address.IsValid() {
		t.Errorf("without a server: %+v", got)
	}
	cancel()
	if err := <-ended; err != context.Canceled {
		t.Error(err)
	}
	host.Destroy()
	peer.Destroy()
}

// TestClientGoesOn: a lease that the stack does not take is not the end: the log has it once,
// and the client asks again.
func TestClientGoesOn(t *testing.T) {
	var mem devicetest.Host
	a, b := pipe.New(link.Info{Name: "a", MAC: mac(1), MTU: 1500, Take: endpoint.Take}, link.Info{Name: "b", MAC: mac(2), MTU: 1500, Take: endpoint.Take})
	host, peer := newStack(t, a, &mem), newStack(t, b, &mem)
	if err := peer.Configure(ipstack.Config{Address: network}); err != nil {
		t.Fatal(err)
	}
	conn, err := peer.ListenUDP(ServerPort)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() { server().Serve(peer, conn); close(served) }()
	// Somebody has given the stack that address already.
	taken := tcpip.ProtocolAddress{Protocol: ipv4.ProtocolNumber, AddressWithPrefix: tcpip.AddressWithPrefix{Address: ipstack.Address(netip.MustParseAddr("10.9.0.2")), PrefixLen: 24}}
	if err := host.AddProtocolAddress(ipstack.NIC, taken, stack.AddressProperties{}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	leases, lines := make(chan Lease, 10), make(chan string, 100)
	c := &Client{Stack: host, Name: "nidus", Changed: func(l Lease) { leases <- l }, times: times{5 * time.Millisecond, 20 * time.Millisecond, 5 * time.Millisecond, time.Second},
		Log: func(f string, args ...any) { lines <- fmt.Sprintf(f, args...) }}
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	select {
	case s := <-lines:
		if !strings.Contains(s, "what 10.9.0.1 gave can't be used: address 10.9.0.2/24") {
			t.Error(s)
		}
	case err := <-ended:
		t.Fatalf("the client ended: %v", err)
	}
	time.Sleep(100 * time.Millisecond) // it fails some more times
	if len(leases) != 0 || len(lines) != 0 {
		t.Errorf("%d leases, %d more lines", len(leases), len(lines))
	}
	host.RemoveAddress(ipstack.NIC, taken.AddressWithPrefix.Address)
	select {
	case l := <-leases:
		if l.Address.String() != "10.9.0.2/24" {
			t.Errorf("%+v", l)
		}
	case err := <-ended:
		t.Fatalf("the client ended: %v", err)
	case <-time.After(10 * time.Second):
		t.Error("the client does not ask again")
	}
	cancel()
	if err := <-ended; err != context.Canceled {
		t.Error(err)
	}
	conn.Close()
	<-served
	host.Destroy()
	peer.Destroy()
}
