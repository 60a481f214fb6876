package dhcp

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"nidus/drivers/link"
	"nidus/kernel/hostnet/ipstack"
)

// Lease is what a server gave.
type Lease struct {
	ipstack.Config
	// NTP are the servers of the time that it named.
	NTP []netip.Addr
	// Server gave it.
	Server netip.Addr
	// Time is how long it is given for.
	Time time.Duration

	renew time.Duration // when it is asked for again
}

// Client asks for a stack's address.
type Client struct {
	Stack *ipstack.Stack
	// Name is what the host calls itself.
	Name string
	// Changed is told of each new lease, and of its loss, with the zero Lease. The client
	// has configured the stack by then.
	Changed func(Lease)
	// Log gets what is wrong with a lease that the stack does not take; may be nil.
	Log func(format string, args ...any)

	times times // tests have shorter ones
}

// times are those of RFC 2131, 4.1 and 4.4.5: a message that isn't answered is sent again
// after first, then after twice as long, until most; a lease that is renewed is asked for
// at intervals of again at least.
type times struct{ first, most, again, lease time.Duration }

var usualTimes = times{first: 4 * time.Second, most: 64 * time.Second, again: time.Minute, lease: time.Minute}

// Run gets a lease and keeps it until ctx ends.
func (c *Client) Run(ctx context.Context) error {
	conn, err := c.Stack.ListenUDP(clientPort)
	if err != nil {
		return fmt.Errorf("DHCP: %w", err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	x := &exchange{Client: c, conn: conn, ctx: ctx, t: c.times}
	if x.t == (times{}) {
		x.t = usualTimes
	}
	for ctx.Err() == nil {
		l, err := x.acquire()
		if err != nil {
			return err
		}
		if err := c.Stack.Configure(l.Config); err != nil {
			x.complain(l, err)
			c.Stack.Configure(ipstack.Config{})
			x.sleep(spread(x.t.most)) // another server may give another one
			continue
		}
		x.complained = ""
		c.Changed(l)
		x.keep(l)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		c.Stack.Configure(ipstack.Config{}) // which always can be
		c.Changed(Lease{})
	}
	return ctx.Err()
}

// exchange is a client's talk with servers.
type exchange struct {
	*Client
	conn net.PacketConn
	ctx  context.Context
	t    times
	// complained is what was logged last.
	complained string
}

// complain logs what the stack says of a lease, once.
func (x *exchange) complain(l Lease, err error) {
	s := fmt.Sprintf("DHCP: what %v gave can't be used: %v; it is asked for again", l.Server, err)
	if x.Log != nil && s != x.complained {
		x.Log("%s", s)
	}
	x.complained = s
}

var (
	errRefused = errors.New("the server refuses")
	errSilence = errors.New("no server answers")
)

// acquire asks until there is a lease; its error is ctx's.
func (x *exchange) acquire() (Lease, error) {
	for wait := x.t.first; ; wait = min(2*wait, x.t.most) {
		d, err := dhcpv4.NewDiscovery(x.hw(), x.usual()...)
		if err != nil {
			return Lease{}, err
		}
		offer, err := x.ask(d, time.Now().Add(spread(wait)), dhcpv4.MessageTypeOffer)
		if err == nil {
			var r *dhcpv4.DHCPv4
			if r, err = dhcpv4.NewRequestFromOffer(offer, x.usual()...); err != nil {
				return Lease{}, err
			}
			var ack *dhcpv4.DHCPv4
			if ack, err = x.ask(r, time.Now().Add(spread(x.t.first)), dhcpv4.MessageTypeAck); err == nil {
				if l, err := lease(ack, x.t.lease); err == nil {
					return l, nil
				}
			}
		}
		if x.ctx.Err() != nil {
			return Lease{}, x.ctx.Err()
		}
		if err == errRefused { // at once would be a storm
			x.sleep(x.t.first)
		}
	}
}

// keep renews a lease, as RFC 2131, 4.4.5, has it, until it is lost or ctx ends.
func (x *exchange) keep(l Lease) {
	for got := time.Now(); ; {
		end := got.Add(l.Time)
		if !x.sleep(time.Until(got.Add(l.renew))) {
			return
		}
		renewed := false
		for time.Now().Before(end) {
			r, err := dhcpv4.New(append(x.usual(), dhcpv4.WithHwAddr(x.hw()), dhcpv4.WithMessageType(dhcpv4.MessageTypeRequest),
				dhcpv4.WithClientIP(l.Address.Addr().AsSlice()))...)
			if err != nil {
				return
			}
			asked := time.Now()
			ack, err := x.ask(r, soonest(end, asked.Add(spread(x.t.first))), dhcpv4.MessageTypeAck)
			if err == errRefused || x.ctx.Err() != nil {
				return
			}
			if err == nil {
				n, err := lease(ack, x.t.lease)
				if err != nil || n.Address != l.Address {
					return
				}
				if err := x.Stack.Configure(n.Config); err != nil {
					x.complain(n, err)
					return
				}
				l, got, renewed = n, asked, true
				break
			}
			// After half of what is left.
			if !x.sleep(min(time.Until(end), max(time.Until(end)/2, x.t.again))) {
				return
			}
		}
		if !renewed {
			return
		}
	}
}

func soonest(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// sleep is false if ctx ended.
func (x *exchange) sleep(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-x.ctx.Done():
		return false
	}
}

// spread keeps hosts that start together from asking together: a quarter more or less.
func spread(d time.Duration) time.Duration { return d*3/4 + rand.N(d/2+1) }

func (x *exchange) hw() net.HardwareAddr { return x.Stack.MAC[:] }

// usual is what all messages have. Answers are to be sent to everybody: the stack takes no
// others while it has no address.
func (x *exchange) usual() []dhcpv4.Modifier {
	return []dhcpv4.Modifier{dhcpv4.WithBroadcast(true), dhcpv4.WithOption(dhcpv4.OptHostName(x.Name)),
		dhcpv4.WithRequestedOptions(dhcpv4.OptionSubnetMask, dhcpv4.OptionRouter, dhcpv4.OptionDomainNameServer, dhcpv4.OptionNTPServers)}
}

// ask sends a message and waits for its answer.
func (x *exchange) ask(m *dhcpv4.DHCPv4, until time.Time, want dhcpv4.MessageType) (*dhcpv4.DHCPv4, error) {
	src := netip.AddrPortFrom(netip.IPv4Unspecified(), clientPort)
	if a := address(m.ClientIPAddr); a.IsValid() {
		src = netip.AddrPortFrom(a, clientPort)
	}
	err := x.Stack.SendDatagram(link.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, src, netip.AddrPortFrom(broadcast, ServerPort), m.ToBytes())
	x.conn.SetReadDeadline(until)
	if x.ctx.Err() != nil { // it may have set the deadline before
		return nil, x.ctx.Err()
	}
	buf := make([]byte, 2048)
	for {
		n, _, rerr := x.conn.ReadFrom(buf)
		if rerr != nil {
			if err == nil {
				err = errSilence
			}
			return nil, err
		}
		r, perr := dhcpv4.FromBytes(buf[:n])
		if perr != nil || r.OpCode != dhcpv4.OpcodeBootReply || r.TransactionID != m.TransactionID || r.ClientHWAddr.String() != m.ClientHWAddr.String() {
			continue
		}
		switch r.MessageType() {
		case want:
			return r, nil
		case dhcpv4.MessageTypeNak:
			return nil, errRefused
		}
	}
}

// lease reads what a server gave. A lease is taken to hold for least.
func lease(m *dhcpv4.DHCPv4, least time.Duration) (Lease, error) {
	const usual = time.Hour // if it doesn't say
	l := Lease{Server: address(m.ServerIdentifier()), Time: max(m.IPAddressLeaseTime(usual), least)}
	a := address(m.YourIPAddr)
	bits, whole := m.SubnetMask().Size()
	if !a.IsValid() || a.IsMulticast() || a.IsLoopback() || whole != 32 || bits == 0 {
		return l, fmt.Errorf("DHCP: %v with mask %v is no address for a host", m.YourIPAddr, m.SubnetMask())
	}
	l.Address = netip.PrefixFrom(a, bits)
	if r := m.Router(); len(r) > 0 {
		if g := address(r[0]); g.IsValid() && g != a && l.Address.Contains(g) {
			l.Gateway = g
		}
	}
	l.DNS, l.NTP = addresses(m.DNS()), addresses(m.NTPServers())
	l.renew = min(m.IPAddressRenewalTime(l.Time/2), l.Time/2)
	l.renew = max(l.renew, least/2)
	return l, nil
}

// addresses are the first few of what a server named.
func addresses(ips []net.IP) (out []netip.Addr) {
	const most = 4
	for _, ip := range ips[:min(len(ips), most)] {
		if a := address(ip); a.IsValid() {
			out = append(out, a)
		}
	}
	return out
}
