package hostnet

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"nidus/drivers/device/devicetest"
	"nidus/drivers/link"
	"nidus/drivers/link/pipe"
	"nidus/kernel/boot"
	"nidus/kernel/hostnet/dhcp"
	"nidus/kernel/hostnet/endpoint"
	"nidus/kernel/hostnet/ipstack"
)

// lines are what a Network logs.
type lines chan string

func (l lines) log(format string, args ...any) { l <- fmt.Sprintf(format, args...) }

// network makes a Network of options, and the stack of a neighbour, 192.0.2.1.
func network(t *testing.T, o boot.NetOptions) (*Network, *ipstack.Stack, lines) {
	mem := &devicetest.Host{}
	a, b := pipe.New(link.Info{Name: "host", MAC: link.MAC{2, 0, 0, 0, 0, 2}, MTU: 1500, Take: endpoint.Take},
		link.Info{Name: "peer", MAC: link.MAC{2, 0, 0, 0, 0, 1}, MTU: 1500, Take: endpoint.Take})
	peer, err := ipstack.New(b, mem, ipstack.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(peer.Destroy)
	if err := peer.Configure(ipstack.Config{Address: netip.MustParsePrefix("192.0.2.1/24")}); err != nil {
		t.Fatal(err)
	}
	said := make(lines, 10)
	n, err := New(t.Context(), Config{Options: o, Port: a, Memory: mem, Name: "nidus", Clock: &wrong{}, Log: said.log})
	if err != nil {
		t.Fatal(err)
	}
	return n, peer, said
}

func (l lines) want(t *testing.T, text string) {
	t.Helper()
	select {
	case got := <-l:
		if got != text {
			t.Errorf("the log has %q, want %q", got, text)
		}
	case <-time.After(10 * time.Second):
		t.Errorf("the log has nothing, want %q", text)
	}
}

func TestStatic(t *testing.T) {
	n, peer, said := network(t, boot.NetOptions{IP: boot.IPStatic, NoNTP: true, Address: netip.MustParsePrefix("192.0.2.2/24"),
		Gateway: netip.MustParseAddr("192.0.2.1"), DNS: []netip.Addr{netip.MustParseAddr("192.0.2.1")}, NTP: []string{"time.example"}})
	said.want(t, "network: the host is 192.0.2.2/24, gateway 192.0.2.1, DNS [192.0.2.1]")
	if got, _ := n.timeServers(); !slices.Equal(got, []string{"time.example"}) {
		t.Errorf("servers of the time: %v", got)
	}
	l, err := n.ListenTCP(5417)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	c, err := peer.DialContext(ctx, "tcp", "192.0.2.2:5417")
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}

func TestDHCP(t *testing.T) {
	n, peer, said := network(t, boot.NetOptions{})
	if s := n.String(); !strings.Contains(s, "no address") {
		t.Errorf("before there is one: %s", s)
	}
	if got, _ := n.timeServers(); got != nil {
		t.Errorf("servers of the time before there is an address: %v", got)
	}
	_, changed := n.timeServers()
	own := netip.MustParsePrefix("192.0.2.1/24")
	conn, err := peer.ListenUDP(dhcp.ServerPort)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	go (&dhcp.Server{Leases: dhcp.NewLeases(own, nil), Own: own, MTU: 1500, Time: time.Hour}).Serve(peer, conn)
	said.want(t, "network: the host is 192.0.2.2/24, by DHCP from 192.0.2.1, gateway 192.0.2.1, DNS [192.0.2.1]")
	select {
	case <-changed:
	case <-time.After(time.Second):
		t.Error("who keeps the clock is not told that there is an address")
	}
	n.leased(dhcp.Lease{})
	said.want(t, "network: the host's address is lost; it asks for another")
}
