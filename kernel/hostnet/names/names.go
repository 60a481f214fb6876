// Package names answers guests' questions to the DNS: those for other guests from what the
// host knows, all others by asking the host's own servers.
package names

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// Port is the DNS'.
const Port = 53

// Limits.
const (
	// maxAsking bounds the questions that are being answered, and maxPerGuest those of
	// one guest.
	maxAsking   = 256
	maxPerGuest = 32
	// maxUDP is the longest message by UDP that is passed on, in bytes (RFC 6891, 6.2.5).
	maxUDP = 4096
	// tryTime is how long one server may take, and idleTime how long a guest may say
	// nothing on a connection.
	tryTime  = 3 * time.Second
	idleTime = 10 * time.Second
	// ttl is how long what the host itself says may be kept, in seconds.
	ttl = 5
)

// Forwarder answers. Its fields don't change while it does.
type Forwarder struct {
	// Domain is that of the guests: "internal". A name without a domain is in it, too.
	Domain string
	// Lookup finds the address of a guest, or of the host, by its name.
	Lookup func(name string) (netip.Addr, bool)
	// Reverse is Lookup's inverse; own is whether the address is the network's at all.
	Reverse func(a netip.Addr) (name string, own bool)
	// Servers are the host's own, in the order in which they are asked.
	Servers func() []netip.Addr
	// Dial reaches one; network is udp or tcp.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

	mu     sync.Mutex
	asking int
	of     map[netip.Addr]int
}

// begin counts a question of a guest; false: there are too many.
func (f *Forwarder) begin(who netip.Addr) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.asking >= maxAsking || f.of[who] >= maxPerGuest {
		return false
	}
	if f.of == nil {
		f.of = map[netip.Addr]int{}
	}
	f.asking++
	f.of[who]++
	return true
}

func (f *Forwarder) end(who netip.Addr) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asking--
	if f.of[who]--; f.of[who] == 0 {
		delete(f.of, who)
	}
}

// ServeUDP answers what comes in on a socket, until that is closed and all is answered.
func (f *Forwarder) ServeUDP(ctx context.Context, conn net.PacketConn) {
	var answers sync.WaitGroup
	defer answers.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	buf := make([]byte, maxUDP)
	for {
		n, from, err := conn.ReadFrom(buf)
		if err != nil {
			return
		}
		who := hostOf(from)
		if !f.begin(who) {
			continue // it asks again
		}
		q := append([]byte(nil), buf[:n]...)
		answers.Go(func() {
			defer f.end(who)
			if a := f.Answer(ctx, "udp", q); a != nil {
				conn.WriteTo(a, from)
			}
		})
	}
}

// ServeTCP answers the questions on connections, until the listener is closed.
func (f *Forwarder) ServeTCP(ctx context.Context, l net.Listener) {
	var conns sync.WaitGroup
	defer conns.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		who := hostOf(c.RemoteAddr())
		if !f.begin(who) {
			c.Close()
			continue
		}
		conns.Go(func() {
			defer f.end(who)
			defer context.AfterFunc(ctx, func() { c.Close() })()
			defer c.Close()
			for {
				c.SetDeadline(time.Now().Add(idleTime))
				q, err := readTCP(c)
				if err != nil {
					return
				}
				a := f.Answer(ctx, "tcp", q)
				if a == nil || writeTCP(c, a) != nil {
					return
				}
			}
		})
	}
}

func hostOf(a net.Addr) netip.Addr {
	p, _ := netip.ParseAddrPort(a.String())
	return p.Addr()
}

// Answer returns the answer to a question, or nil if it is none.
func (f *Forwarder) Answer(ctx context.Context, network string, question []byte) []byte {
	var p dnsmessage.Parser
	h, err := p.Start(question)
	if err != nil || h.Response {
		return nil
	}
	if h.OpCode != 0 {
		return refuse(h, nil, dnsmessage.RCodeNotImplemented)
	}
	q, err := p.Question()
	if err != nil {
		return refuse(h, nil, dnsmessage.RCodeFormatError)
	}
	if _, err := p.Question(); err != dnsmessage.ErrSectionDone { // nobody asks two
		return refuse(h, nil, dnsmessage.RCodeFormatError)
	}
	if a := f.own(h, q); a != nil {
		return a
	}
	for _, s := range f.Servers() {
		if a, err := f.ask(ctx, network, s, question, h.ID, q); err == nil {
			return a
		}
	}
	return refuse(h, &q, dnsmessage.RCodeServerFailure)
}

// own answers what the host knows itself; nil: it is for others to say.
func (f *Forwarder) own(h dnsmessage.Header, q dnsmessage.Question) []byte {
	if q.Class != dnsmessage.ClassINET {
		return nil
	}
	name := strings.ToLower(strings.TrimSuffix(q.Name.String(), "."))
	if a, ok := parseReverse(name); ok {
		guest, own := f.Reverse(a)
		switch {
		case !own:
			return nil
		case guest == "":
			return refuse(h, &q, dnsmessage.RCodeNameError)
		}
		target, err := dnsmessage.NewName(guest + "." + f.Domain + ".")
		if err != nil || q.Type != dnsmessage.TypePTR {
			return reply(h, q, nil)
		}
		return reply(h, q, &dnsmessage.PTRResource{PTR: target})
	}
	short, inside := strings.CutSuffix(name, "."+f.Domain)
	if !inside && strings.Contains(name, ".") {
		return nil
	}
	a, ok := f.Lookup(short)
	switch {
	case name == f.Domain:
		return reply(h, q, nil) // there are names in it
	case !ok && (name == "" || !inside && ofZones(q.Type)):
		return nil // the root, or its question about a zone such as com
	case !ok:
		return refuse(h, &q, dnsmessage.RCodeNameError) // and nobody else is told the name
	case q.Type == dnsmessage.TypeA || q.Type == dnsmessage.TypeALL:
		return reply(h, q, &dnsmessage.AResource{A: a.As4()})
	}
	return reply(h, q, nil) // there is the name, but nothing of that type
}

// Types of what a zone has, not a host, by which resolvers find their way (RFC 4034).
const (
	typeDS         dnsmessage.Type = 43
	typeDNSKEY     dnsmessage.Type = 48
	typeNSEC3PARAM dnsmessage.Type = 51 // RFC 5155
)

// ofZones tells whether a type is of zones.
func ofZones(t dnsmessage.Type) bool {
	switch t {
	case dnsmessage.TypeNS, dnsmessage.TypeSOA, typeDS, typeDNSKEY, typeNSEC3PARAM:
		return true
	}
	return false
}

// parseReverse reads 4.3.2.1.in-addr.arpa.
func parseReverse(name string) (netip.Addr, bool) {
	digits, ok := strings.CutSuffix(name, ".in-addr.arpa")
	a, err := netip.ParseAddr(digits)
	if !ok || err != nil || !a.Is4() {
		return netip.Addr{}, false
	}
	b := a.As4()
	return netip.AddrFrom4([4]byte{b[3], b[2], b[1], b[0]}), true
}

func reply(h dnsmessage.Header, q dnsmessage.Question, body dnsmessage.ResourceBody) []byte {
	m := dnsmessage.Message{Header: answerHeader(h), Questions: []dnsmessage.Question{q}}
	m.Authoritative = true
	if body != nil {
		m.Answers = []dnsmessage.Resource{{Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: ttl}, Body: body}}
	}
	b, err := m.Pack()
	if err != nil {
		return nil
	}
	return b
}

func refuse(h dnsmessage.Header, q *dnsmessage.Question, code dnsmessage.RCode) []byte {
	m := dnsmessage.Message{Header: answerHeader(h)}
	m.RCode = code
	if q != nil {
		m.Questions = []dnsmessage.Question{*q}
	}
	b, err := m.Pack()
	if err != nil {
		return nil
	}
	return b
}

func answerHeader(h dnsmessage.Header) dnsmessage.Header {
	return dnsmessage.Header{ID: h.ID, Response: true, OpCode: h.OpCode, RecursionDesired: h.RecursionDesired, RecursionAvailable: true}
}

// ask passes a question on. Each has a socket, and so a port, of its own: nobody who can't
// see it can answer it.
func (f *Forwarder) ask(ctx context.Context, network string, server netip.Addr, question []byte, id uint16, q dnsmessage.Question) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, tryTime)
	defer cancel()
	c, err := f.Dial(ctx, network, netip.AddrPortFrom(server, Port).String())
	if err != nil {
		return nil, err
	}
	defer context.AfterFunc(ctx, func() { c.Close() })()
	defer c.Close()
	end, _ := ctx.Deadline()
	c.SetDeadline(end)
	if network == "tcp" {
		if err := writeTCP(c, question); err != nil {
			return nil, err
		}
		a, err := readTCP(c)
		if err == nil && !answers(a, id, q) {
			err = errOther
		}
		return a, err
	}
	if _, err := c.Write(question); err != nil {
		return nil, err
	}
	buf := make([]byte, maxUDP)
	for {
		n, err := c.Read(buf)
		if err != nil {
			return nil, err
		}
		if answers(buf[:n], id, q) {
			return buf[:n], nil
		}
	}
}

var errOther = errors.New("the server answers another question")

// answers tells whether a is an answer to q.
func answers(a []byte, id uint16, q dnsmessage.Question) bool {
	var p dnsmessage.Parser
	h, err := p.Start(a)
	if err != nil || !h.Response || h.ID != id {
		return false
	}
	got, err := p.Question()
	if err != nil { // a server that understood nothing repeats nothing
		return h.RCode == dnsmessage.RCodeFormatError || h.RCode == dnsmessage.RCodeNotImplemented
	}
	return got.Type == q.Type && got.Class == q.Class && strings.EqualFold(got.Name.String(), q.Name.String())
}

// readTCP reads a message with its length before it (RFC 1035, 4.2.2).
func readTCP(c io.Reader) ([]byte, error) {
	var n [2]byte
	if _, err := io.ReadFull(c, n[:]); err != nil {
		return nil, err
	}
	b := make([]byte, binary.BigEndian.Uint16(n[:]))
	_, err := io.ReadFull(c, b)
	return b, err
}

func writeTCP(c io.Writer, m []byte) error {
	_, err := c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(m))), m...))
	return err
}
