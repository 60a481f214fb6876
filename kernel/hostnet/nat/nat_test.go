package nat

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"

	"nidus/drivers/device/devicetest"
	"nidus/drivers/link"
	"nidus/drivers/link/packet"
	"nidus/drivers/link/pipe"
	"nidus/kernel/hostnet/dhcp"
	"nidus/kernel/hostnet/endpoint"
	"nidus/kernel/hostnet/ipstack"
)

var (
	own     = netip.MustParsePrefix("10.9.0.1/24")
	hostIP  = netip.MustParsePrefix("192.0.2.2/24")
	worldIP = netip.MustParsePrefix("192.0.2.9/24")
)

func mac(n byte) link.MAC { return link.MAC{0, 0x16, 0x3e, 0, 0, n} }

// some is two guests' interfaces, web's and db's.
type some struct{}

func (some) Guest(m link.MAC) (string, bool) {
	for n, x := range map[string]link.MAC{"web": mac(1), "db": mac(2)} {
		if x == m {
			return n, true
		}
	}
	return "", false
}

func (s some) Interfaces(name string) []link.MAC {
	return map[string][]link.MAC{"web": {mac(1)}, "db": {mac(2)}}[name]
}

// setting is a guest behind a Network, and what is outside.
type setting struct {
	t           testing.TB
	mem         devicetest.Host
	net         *Network
	host, world *ipstack.Stack
	guest       *ipstack.Stack
	guestPort   *pipe.End
	goroutines  int
}

func wire(a, b byte) (*pipe.End, *pipe.End) {
	return pipe.New(link.Info{Name: "a", MAC: mac(a), MTU: 1500, Take: endpoint.Take}, link.Info{Name: "b", MAC: mac(b), MTU: 1500, Take: endpoint.Take})
}

func newSetting(t testing.TB, c Config) *setting {
	s := &setting{t: t, goroutines: runtime.NumGoroutine()}
	a, b := wire(10, 11)
	s.host, s.world = s.stack(a), s.stack(b)
	s.configure(s.host, ipstack.Config{Address: hostIP, DNS: []netip.Addr{worldIP.Addr()}})
	s.configure(s.world, ipstack.Config{Address: worldIP})
	x, y := wire(20, 1)
	c.Own, c.Guests, c.Log = own, some{}, t.Logf
	var err error
	if s.net, err = New(c, x, &s.mem, s.host); err != nil {
		t.Fatal(err)
	}
	s.guest, s.guestPort = s.stack(y), y
	t.Cleanup(s.close)
	return s
}

// boot gives the guest its address.
func (s *setting) boot() netip.Addr {
	s.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	leases := make(chan dhcp.Lease, 2)
	go (&dhcp.Client{Stack: s.guest, Changed: func(l dhcp.Lease) { leases <- l }}).Run(ctx)
	select {
	case l := <-leases:
		return l.Address.Addr()
	case <-time.After(5 * time.Second):
		s.t.Fatal("no address")
	}
	return netip.Addr{}
}

func (s *setting) stack(p link.Port) *ipstack.Stack {
	st, err := ipstack.New(p, &s.mem, ipstack.Options{})
	if err != nil {
		s.t.Fatal(err)
	}
	return st
}

func (s *setting) configure(st *ipstack.Stack, c ipstack.Config) {
	if err := st.Configure(c); err != nil {
		s.t.Fatal(err)
	}
}

// close ends all, and looks for what is left.
func (s *setting) close() {
	s.net.Close()
	for _, k := range []kind{tcpFlow, udpFlow, echoFlow} {
		for end := time.Now().Add(5 * time.Second); s.net.users.count(k) != 0; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				s.t.Errorf("%d flows of kind %d stay", s.net.users.count(k), k)
				break
			}
		}
	}
	s.guest.Destroy()
	s.host.Destroy()
	s.world.Destroy()
	// A refusal may still be on its way: nobody waits for who sends it.
	for end := time.Now().Add(5 * time.Second); s.mem.Frames() != 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			s.t.Errorf("%d pages are lost", s.mem.Frames())
			break
		}
	}
	if _, fuzzing := s.t.(*testing.F); fuzzing {
		return // it has goroutines of its own
	}
	for end := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > s.goroutines; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			buf := make([]byte, 1<<20)
			s.t.Errorf("%d goroutines, %d before:\n%s", runtime.NumGoroutine(), s.goroutines, buf[:runtime.Stack(buf, true)])
			break
		}
	}
}

// echoServer answers TCP at a port of a stack with what it is sent, after the last byte.
func (s *setting) echoServer(st *ipstack.Stack, port uint16) {
	l, err := st.ListenTCP(port)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				b, _ := io.ReadAll(c)
				c.Write([]byte(peer(c).String() + " "))
				c.Write(b)
			}()
		}
	}()
}

func (s *setting) dial(st *ipstack.Stack, to string) (*gonet.TCPConn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	c, err := st.DialContext(ctx, "tcp", to)
	if err != nil {
		return nil, err
	}
	return c.(*gonet.TCPConn), nil
}

// says sends text and reads to the end.
func (s *setting) says(c *gonet.TCPConn, text string) (string, error) {
	defer c.Close()
	c.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := io.WriteString(c, text); err != nil {
		return "", err
	}
	if err := c.CloseWrite(); err != nil {
		return "", err
	}
	b, err := io.ReadAll(c)
	return string(b), err
}

func TestOut(t *testing.T) {
	s := newSetting(t, Config{})
	s.echoServer(s.world, 80)
	s.echoServer(s.host, 22)
	if a := s.boot(); a.String() != "10.9.0.2" {
		t.Errorf("the guest has %v", a)
	}
	// TCP, with an end of each direction of its own.
	big := strings.Repeat("0123456789", 100000)
	c, err := s.dial(s.guest, "192.0.2.9:80")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := s.says(c, big); err != nil || got != "192.0.2.2 "+big {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	// Where nobody listens, and where nobody may go.
	for _, to := range []string{"192.0.2.9:81", "192.0.2.2:22", "10.9.0.1:22", "10.9.0.77:80", "127.0.0.1:22", "0.0.0.0:22", "255.255.255.255:22"} {
		begin := time.Now()
		if c, err := s.dial(s.guest, to); err == nil || to[:4] == "192." && !strings.Contains(err.Error(), "refused") {
			t.Errorf("%s: %v after %v", to, err, time.Since(begin))
			if err == nil {
				c.Close()
			}
		}
	}
	// UDP.
	u, err := s.world.ListenUDP(7)
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	go func() {
		buf := make([]byte, 65536)
		for {
			n, from, err := u.ReadFrom(buf)
			if err != nil {
				return
			}
			u.WriteTo(bytes.ToUpper(buf[:n]), from)
		}
	}()
	g, err := s.guest.DialUDP(netip.AddrPortFrom(worldIP.Addr(), 7))
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	for _, n := range []int{1, 1400, 8000} {
		data := bytes.Repeat([]byte("x"), n)
		g.Write(data)
		g.SetDeadline(time.Now().Add(5 * time.Second))
		buf := make([]byte, 10000)
		if k, err := g.Read(buf); err != nil || !bytes.Equal(buf[:k], bytes.ToUpper(data)) {
			t.Errorf("UDP of %d bytes: %d, %v", n, k, err)
		}
	}
}

func TestPing(t *testing.T) {
	s := newSetting(t, Config{})
	s.boot()
	for to, answers := range map[string]bool{"192.0.2.9": true, "10.9.0.1": true, "192.0.2.2": false, "192.0.2.77": false} {
		var k socket
		if err := k.open(s.guest.Stack, icmp.ProtocolNumber4); err != nil {
			t.Fatal(err)
		}
		if err := k.connect(tcpip.FullAddress{NIC: ipstack.NIC, Addr: ipstack.Address(netip.MustParseAddr(to))}); err != nil {
			t.Fatal(err)
		}
		m := make(header.ICMPv4, 64)
		m.SetType(header.ICMPv4Echo)
		m.SetSequence(5)
		copy(m[8:], "hello")
		got := ""
		for end := time.Now().Add(time.Second); got == "" && time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
			k.send(m)
			var buf bytes.Buffer
			k.drain(&buf, func(b []byte) {
				if h := header.ICMPv4(b); h.Type() == header.ICMPv4EchoReply && h.Sequence() == 5 {
					got = string(b[8:13])
				}
			})
		}
		if (got == "hello") != answers {
			t.Errorf("%s: %q", to, got)
		}
		k.close()
	}
}

func TestNames(t *testing.T) {
	s := newSetting(t, Config{})
	s.boot()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	for name, want := range map[string]string{"web.internal": "10.9.0.2", "host.internal": "10.9.0.1", "db.internal": ""} {
		all, err := s.guest.Resolver().LookupNetIP(ctx, "ip4", name)
		if got := strings.Trim(fmt.Sprint(all), "[]"); got != want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	// The rest comes from the host's server, which refuses what it is sent as TCP would be.
	u, err := s.world.ListenUDP(53)
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	asked := make(chan string, 10)
	go func() {
		buf := make([]byte, 1000)
		for {
			n, from, err := u.ReadFrom(buf)
			if err != nil {
				return
			}
			asked <- from.(*net.UDPAddr).IP.String()
			buf[2] |= 0x80
			buf[3] |= 3 // there is no such name
			u.WriteTo(buf[:n], from)
		}
	}()
	_, err = s.guest.Resolver().LookupNetIP(ctx, "ip4", "example.org")
	var no *net.DNSError
	if !errors.As(err, &no) || !no.IsNotFound || <-asked != "192.0.2.2" {
		t.Errorf("%v", err)
	}
}

func TestAllowAndForward(t *testing.T) {
	s := newSetting(t, Config{Allow: []uint16{22}})
	s.echoServer(s.host, 22)
	s.echoServer(s.guest, 8000)
	if err := s.net.Forward(Forward{Port: 80, Guest: "web", To: 8000}); err != nil {
		t.Fatal(err)
	}
	if err := s.net.Forward(Forward{Port: 81, Guest: "10.9.0.2", To: 8000}); err != nil {
		t.Fatal(err)
	}
	if err := s.net.Forward(Forward{Port: 82, Guest: "db", To: 8000}); err != nil {
		t.Fatal(err)
	}
	if err := s.net.Forward(Forward{Port: 80, Guest: "db", To: 8000}); err == nil {
		t.Error("a port was forwarded twice")
	}
	s.boot()
	c, err := s.dial(s.guest, "10.9.0.1:22")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := s.says(c, "x"); err != nil || got != "192.0.2.2 x" {
		t.Errorf("%q, %v", got, err)
	}
	for _, p := range []string{"80", "81"} {
		c, err = s.dial(s.world, "192.0.2.2:"+p)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := s.says(c, "y"); err != nil || got != "192.0.2.9 y" {
			t.Errorf("port %s: %q, %v", p, got, err)
		}
	}
	if c, err = s.dial(s.world, "192.0.2.2:82"); err != nil {
		t.Fatal(err)
	}
	if got, err := s.says(c, "z"); err == nil && got != "" {
		t.Errorf("a guest that isn't there says %q", got)
	}
}

// A guest has no more connections than it may, and when it is gone, none.
func TestLimits(t *testing.T) {
	s := newSetting(t, Config{Limits: Limits{Total: 20, PerGuest: 5}})
	s.echoServer(s.world, 80)
	s.boot()
	var all []*gonet.TCPConn
	for range 5 {
		c, err := s.dial(s.guest, "192.0.2.9:80")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		all = append(all, c)
	}
	if c, err := s.dial(s.guest, "192.0.2.9:80"); err == nil {
		c.Close()
		t.Error("a sixth connection")
	}
	for i := range 30 {
		u, err := s.guest.DialUDP(netip.AddrPortFrom(worldIP.Addr(), uint16(1000+i)))
		if err != nil {
			t.Fatal(err)
		}
		u.Write([]byte("x"))
		u.Close()
	}
	if n := s.net.users.count(udpFlow); n > 5 {
		t.Errorf("%d flows of UDP", n)
	}
	s.net.Forget(mac(1))
	all[0].SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := all[0].Read(make([]byte, 1)); err == nil || strings.Contains(err.Error(), "timeout") {
		t.Errorf("after Forget: %v", err)
	}
}

// Who has another's address, or is nobody's interface, is not heard.
func TestSpoofing(t *testing.T) {
	s := newSetting(t, Config{})
	s.boot()
	ip := func(m link.MAC, src string) []byte {
		f := make([]byte, 60)
		copy(f, []byte{0, 0x16, 0x3e, 0, 0, 20})
		copy(f[6:], m[:])
		f[12], f[14] = 8, 0x45
		a := netip.MustParseAddr(src).As4()
		copy(f[26:], a[:])
		return f
	}
	for _, c := range []struct {
		m    link.MAC
		src  string
		want bool
	}{
		{mac(1), "10.9.0.2", true}, {mac(2), "10.9.0.2", false}, {mac(1), "10.9.0.1", false}, {mac(1), "192.0.2.9", false}, {mac(3), "10.9.0.3", false},
		{mac(2), "10.9.0.3", true}, {mac(1), "10.9.0.3", false}, {mac(1), "10.9.0.0", false}, {mac(1), "10.9.0.255", false}, {mac(1), "0.0.0.0", false}, {mac(1), "127.0.0.1", false},
	} {
		if got := s.net.filter(ip(c.m, c.src)); got != c.want {
			t.Errorf("%v from %s: %v, want %v", c.m, c.src, got, c.want)
		}
	}
	arp := func(m link.MAC, speaks link.MAC, src, dst string) []byte {
		f := append(append([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, m[:]...), 8, 6, 0, 1, 8, 0, 6, 4, 0, 1)
		a, b := netip.MustParseAddr(src).As4(), netip.MustParseAddr(dst).As4()
		return slices.Concat(f, speaks[:], a[:], make([]byte, 6), b[:])
	}
	udp := func(m link.MAC, src string, from, to uint16) []byte {
		f := append(ip(m, src), make([]byte, 40)...)
		f[23] = 17
		binary.BigEndian.PutUint16(f[34:], from)
		binary.BigEndian.PutUint16(f[36:], to)
		copy(f[42+28:], m[:])
		return f
	}
	fragment := func(f []byte, at uint16) []byte {
		f = slices.Clone(f)
		binary.BigEndian.PutUint16(f[20:], at)
		return f
	}
	const more = 0x2000
	other := udp(mac(1), "10.9.0.2", 68, 67)
	other[42+28+5]++
	tagged := append(append(slices.Clone(ip(mac(1), "10.9.0.1")[:12]), 0x81, 0, 0, 7), ip(mac(1), "10.9.0.1")[12:]...)
	answer := arp(mac(1), mac(1), "10.9.0.2", "192.0.2.9")
	answer[21] = 2
	for _, c := range []struct {
		name      string
		f         []byte
		may, seen bool // by others of the network; by the gateway's stack
	}{
		{"asks for the gateway", arp(mac(1), mac(1), "10.9.0.2", "10.9.0.1"), true, true},
		{"asks for another guest", arp(mac(1), mac(1), "10.9.0.2", "10.9.0.3"), true, false},
		{"asks whether it may have an address", arp(mac(1), mac(1), "0.0.0.0", "10.9.0.2"), true, false},
		{"answers one whom the gateway speaks for", answer, true, true},
		{"is the gateway", arp(mac(1), mac(1), "10.9.0.1", "10.9.0.3"), false, false},
		{"is another guest", arp(mac(1), mac(1), "10.9.0.3", "10.9.0.1"), false, false},
		{"speaks for another", arp(mac(1), mac(2), "10.9.0.2", "10.9.0.1"), false, false},
		{"cut ARP", arp(mac(1), mac(1), "10.9.0.2", "10.9.0.1")[:41], false, false},
		{"client of DHCP", udp(mac(1), "0.0.0.0", 68, 67), true, true},
		{"client of DHCP, for another", udp(mac(1), "0.0.0.0", 68, 67)[:75], false, false},
		{"server of DHCP", udp(mac(1), "10.9.0.2", 67, 68), false, false},
		{"server of DHCP without an address", udp(mac(1), "0.0.0.0", 67, 68), false, false},
		{"client of DHCP with an address", udp(mac(1), "10.9.0.2", 68, 67), true, true},
		{"client of DHCP with an address, for another", other, false, false},
		{"client of DHCP in fragments", fragment(udp(mac(1), "10.9.0.2", 68, 67), more), false, false},
		{"server of DHCP in fragments", fragment(udp(mac(1), "10.9.0.2", 67, 68), more), false, false},
		{"fragments", fragment(udp(mac(1), "10.9.0.2", 53, 1024), more), true, true},
		{"a later fragment that looks like DHCP", fragment(udp(mac(1), "10.9.0.2", 67, 67), 10), true, true},
		{"UDP without a header", udp(mac(1), "10.9.0.2", 53, 1024)[:41], false, false},
		{"server of DNS", udp(mac(1), "10.9.0.2", 53, 1024), true, true},
		{"IPv6", append(append(slices.Clone(ip(mac(1), "0.0.0.0")[:12]), 0x86, 0xdd, 0x60), make([]byte, 60)...), false, false},
		{"is the gateway, in a VLAN", tagged, false, false},
	} {
		h := packet.Parse(c.f)
		if may := s.net.MaySend(c.f, &h); may != c.may || s.net.filter(c.f) != c.seen {
			t.Errorf("%s: may be sent: %v, want %v; the stack sees it: %v, want %v", c.name, may, c.may, !c.seen, c.seen)
		}
	}
	for n := range 60 { // heads cut anywhere
		for _, kind := range []uint16{0x0800, 0x0806, 0x86dd} {
			f := ip(mac(1), "0.0.0.0")
			f[12], f[13] = byte(kind>>8), byte(kind)
			if n >= 14 && s.net.filter(f[:n]) {
				t.Errorf("%d bytes of %#x", n, kind)
			}
		}
	}
}
