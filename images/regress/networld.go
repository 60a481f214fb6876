package regress

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/channel"
	"gvisor.dev/gvisor/pkg/tcpip/link/ethernet"
	"gvisor.dev/gvisor/pkg/tcpip/network/arp"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
)

// The addresses of a world and of the host in it (RFC 5737), and the name of its server.
var worldAddress, worldHost = netip.MustParsePrefix("192.0.2.1/24"), netip.MustParsePrefix("192.0.2.2/24")

const worldName = "files.example"

// world is what is at the other end of the host's network card: a computer with servers, in
// this program. No packet of it leaves this program and the emulator.
type world struct {
	stack *stack.Stack
	ports *channel.Endpoint
}

// newWorld makes a world, and returns the emulator's arguments for a card in it.
func (t *T) newWorld() (*world, []string, error) {
	path := filepath.Join(t.dir, "net")
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, nil, err
	}
	t.open = append(t.open, l.Close)
	w := &world{ports: channel.New(4096, 1514, tcpip.LinkAddress("\x52\x54\x00\x00\x00\x01"))}
	w.stack = stack.New(stack.Options{
		NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol, arp.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol, udp.NewProtocol, icmp.NewProtocol4},
	})
	t.open = append(t.open, func() error { w.stack.Destroy(); return nil })
	if err := w.stack.CreateNIC(1, ethernet.New(w.ports)); err != nil {
		return nil, nil, errors.New(err.String())
	}
	own := tcpip.AddressWithPrefix{Address: tcpip.AddrFrom4(worldAddress.Addr().As4()), PrefixLen: worldAddress.Bits()}
	if err := w.stack.AddProtocolAddress(1, tcpip.ProtocolAddress{Protocol: ipv4.ProtocolNumber, AddressWithPrefix: own}, stack.AddressProperties{}); err != nil {
		return nil, nil, errors.New(err.String())
	}
	w.stack.SetRouteTable([]tcpip.Route{{Destination: own.Subnet(), NIC: 1}})
	go func() {
		if c, err := l.Accept(); err == nil {
			w.carry(c)
		}
	}()
	return w, []string{"-netdev", "stream,id=n,server=off,addr.type=unix,addr.path=net", "-device", "virtio-net-pci,netdev=n"}, nil
}

// carry carries frames between the emulator and the world, each after its length in four
// bytes, as QEMU's stream sends them, until the emulator ends.
func (w *world) carry(c net.Conn) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	defer c.Close()
	go func() {
		defer c.Close()
		for {
			p := w.ports.ReadContext(ctx)
			if p == nil {
				return
			}
			b := make([]byte, 4, 2048)
			for _, s := range p.AsSlices() {
				b = append(b, s...)
			}
			p.DecRef()
			binary.BigEndian.PutUint32(b, uint32(len(b)-4))
			if _, err := c.Write(b); err != nil {
				return
			}
		}
	}()
	r := bufio.NewReaderSize(c, 1<<16)
	var n [4]byte
	for {
		if _, err := io.ReadFull(r, n[:]); err != nil {
			return
		}
		b := make([]byte, min(binary.BigEndian.Uint32(n[:]), 1<<17))
		if _, err := io.ReadFull(r, b); err != nil {
			return
		}
		p := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(b)})
		w.ports.InjectInbound(header.IPv4ProtocolNumber, p) // the Ethernet header says it
		p.DecRef()
	}
}

// listen takes connections to a port of the world's.
func (w *world) listen(port uint16) (net.Listener, error) {
	return gonet.ListenTCP(w.stack, tcpip.FullAddress{NIC: 1, Port: port}, ipv4.ProtocolNumber)
}

// dial connects from the world to an address.
func (w *world) dial(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	return gonet.DialContextTCP(ctx, w.stack, tcpip.FullAddress{NIC: 1, Addr: tcpip.AddrFrom4(to.Addr().As4()), Port: to.Port()}, ipv4.ProtocolNumber)
}

// serveUDP answers each datagram to a port with what answer returns, if that is any.
func (w *world) serveUDP(port uint16, answer func(q []byte) []byte) error {
	u, err := gonet.DialUDP(w.stack, &tcpip.FullAddress{NIC: 1, Port: port}, nil, ipv4.ProtocolNumber)
	if err != nil {
		return err
	}
	go func() {
		buf := make([]byte, 2048)
		for {
			n, from, err := u.ReadFrom(buf)
			if err != nil {
				return
			}
			if a := answer(buf[:n]); a != nil {
				u.WriteTo(a, from)
			}
		}
	}()
	return nil
}

// serveNames answers the DNS: there is worldName, at the world's address, and no other.
func (w *world) serveNames() error {
	return w.serveUDP(53, func(b []byte) []byte {
		var q dnsmessage.Message
		if q.Unpack(b) != nil || len(q.Questions) != 1 {
			return nil
		}
		a := dnsmessage.Message{Header: dnsmessage.Header{ID: q.ID, Response: true, RecursionAvailable: true}, Questions: q.Questions}
		switch ask := q.Questions[0]; {
		case strings.TrimSuffix(ask.Name.String(), ".") != worldName:
			a.RCode = dnsmessage.RCodeNameError
		case ask.Type == dnsmessage.TypeA:
			a.Answers = []dnsmessage.Resource{{Header: dnsmessage.ResourceHeader{Name: ask.Name, Class: ask.Class, TTL: 60}, Body: &dnsmessage.AResource{A: worldAddress.Addr().As4()}}}
		}
		b, err := a.Pack()
		if err != nil {
			return nil
		}
		return b
	})
}

// worldAhead is how much the world's clock is ahead of this machine's.
const worldAhead = time.Hour

// serveTime answers NTP (RFC 4330), with the world's clock.
func (w *world) serveTime() error {
	return w.serveUDP(123, func(q []byte) []byte {
		const size, since1900 = 48, 2208988800
		if len(q) < size {
			return nil
		}
		a := make([]byte, size)
		a[0], a[1] = 4<<3|4, 2 // a server of version 4, stratum 2
		copy(a[24:32], q[40:48])
		now := time.Now().Add(worldAhead)
		for _, at := range []int{32, 40} {
			binary.BigEndian.PutUint32(a[at:], uint32(now.Unix()+since1900))
			binary.BigEndian.PutUint32(a[at+4:], uint32(uint64(now.Nanosecond())<<32/1e9))
		}
		return a
	})
}

// serveFiles serves files of N MiB under http://worldName/N.
func (w *world) serveFiles() error {
	l, err := w.listen(80)
	if err != nil {
		return err
	}
	go http.Serve(l, http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		n, err := strconv.Atoi(strings.TrimPrefix(r.URL.Path, "/"))
		if err != nil {
			http.NotFound(out, r)
			return
		}
		out.Header().Set("Content-Length", strconv.Itoa(n<<20))
		io.Copy(out, worldFile(n))
	}))
	return nil
}

// worldFile is what a file of n MiB has: bytes of chance, always the same.
func worldFile(n int) io.Reader {
	return io.LimitReader(rand.NewChaCha8([32]byte{byte(n)}), int64(n)<<20)
}

// worldSum is its SHA-256.
func worldSum(n int) string {
	h := sha256.New()
	io.Copy(h, worldFile(n)) // neither fails
	return hex.EncodeToString(h.Sum(nil))
}

// serve starts a world with its servers.
func (t *T) serve() (*world, []string, error) {
	w, args, err := t.newWorld()
	if err != nil {
		return nil, nil, err
	}
	if err := errors.Join(w.serveNames(), w.serveTime(), w.serveFiles()); err != nil {
		return nil, nil, fmt.Errorf("the world's servers: %w", err)
	}
	return w, args, nil
}
