package names

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

var network = netip.MustParsePrefix("10.9.0.0/24")

func forwarder(servers ...string) *Forwarder {
	f := &Forwarder{
		Domain: "internal",
		Lookup: func(n string) (netip.Addr, bool) { return netip.MustParseAddr("10.9.0.2"), n == "web" },
		Reverse: func(a netip.Addr) (string, bool) {
			if a.String() == "10.9.0.2" {
				return "web", true
			}
			return "", network.Contains(a)
		},
		Servers: func() (all []netip.Addr) {
			for _, s := range servers {
				all = append(all, netip.MustParseAddr(s))
			}
			return all
		},
	}
	return f
}

func question(name string, kind dnsmessage.Type) []byte {
	m := dnsmessage.Message{Header: dnsmessage.Header{ID: 7, RecursionDesired: true}, Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName(name), Type: kind, Class: dnsmessage.ClassINET}}}
	b, _ := m.Pack()
	return b
}

func parse(t *testing.T, b []byte) dnsmessage.Message {
	t.Helper()
	var m dnsmessage.Message
	if err := m.Unpack(b); err != nil || m.ID != 7 || !m.Response {
		t.Fatalf("%v: %+v", err, m)
	}
	return m
}

func TestOwn(t *testing.T) {
	f := forwarder()
	for _, c := range []struct {
		name  string
		kind  dnsmessage.Type
		code  dnsmessage.RCode
		count int
	}{
		{"web.internal.", dnsmessage.TypeA, 0, 1},
		{"WEB.Internal.", dnsmessage.TypeA, 0, 1},
		{"web.", dnsmessage.TypeA, 0, 1},
		{"web.internal.", dnsmessage.TypeAAAA, 0, 0},
		{"db.internal.", dnsmessage.TypeA, dnsmessage.RCodeNameError, 0},
		{"db.", dnsmessage.TypeA, dnsmessage.RCodeNameError, 0},
		{"2.0.9.10.in-addr.arpa.", dnsmessage.TypePTR, 0, 1},
		{"2.0.9.10.in-addr.arpa.", dnsmessage.TypeTXT, 0, 0},
		{"3.0.9.10.in-addr.arpa.", dnsmessage.TypePTR, dnsmessage.RCodeNameError, 0},
		{"4.4.8.8.in-addr.arpa.", dnsmessage.TypePTR, dnsmessage.RCodeServerFailure, 0},
		{"example.org.", dnsmessage.TypeA, dnsmessage.RCodeServerFailure, 0},
		{"internal.", dnsmessage.TypeA, 0, 0},
		{"internal.", dnsmessage.TypeSOA, 0, 0},
		{"web.", dnsmessage.TypeNS, 0, 0},
		{"com.", dnsmessage.TypeAAAA, dnsmessage.RCodeNameError, 0},
		{"com.", dnsmessage.TypeNS, dnsmessage.RCodeServerFailure, 0}, // others are asked, of which there are none
		{"com.", dnsmessage.TypeSOA, dnsmessage.RCodeServerFailure, 0},
		{"com.", 43, dnsmessage.RCodeServerFailure, 0},
		{"com.", 48, dnsmessage.RCodeServerFailure, 0},
		{"db.internal.", dnsmessage.TypeNS, dnsmessage.RCodeNameError, 0},
		{".", dnsmessage.TypeNS, dnsmessage.RCodeServerFailure, 0},
	} {
		m := parse(t, f.Answer(context.Background(), "udp", question(c.name, c.kind)))
		if m.RCode != c.code || len(m.Answers) != c.count || len(m.Questions) != 1 {
			t.Errorf("%s %v: %+v", c.name, c.kind, m)
		}
	}
	for name, b := range map[string][]byte{"nothing": nil, "short": {1, 2, 3}, "an answer": f.Answer(context.Background(), "udp", question("web.", dnsmessage.TypeA))} {
		if a := f.Answer(context.Background(), "udp", b); a != nil {
			t.Errorf("%s is answered: %x", name, a)
		}
	}
}

// server answers on one end of a pipe as it is told.
func server(f *Forwarder, answer func(server string, q []byte) [][]byte) {
	f.Dial = func(_ context.Context, network, address string) (net.Conn, error) {
		own, peer := net.Pipe()
		go func() {
			defer peer.Close()
			buf := make([]byte, maxUDP)
			n, err := peer.Read(buf)
			if err != nil {
				return
			}
			for _, a := range answer(address, buf[:n]) {
				peer.Write(a)
			}
			peer.Read(buf) // until the other end has enough
		}()
		return own, nil
	}
}

// Only what answers the question is passed on, and a server that fails isn't the last one.
func TestForward(t *testing.T) {
	f := forwarder("1.1.1.1", "2.2.2.2")
	right := func(q []byte, a byte) []byte {
		var m dnsmessage.Message
		m.Unpack(q)
		m.Response = true
		m.Answers = []dnsmessage.Resource{{Header: dnsmessage.ResourceHeader{Name: m.Questions[0].Name, Class: dnsmessage.ClassINET}, Body: &dnsmessage.AResource{A: [4]byte{a}}}}
		b, _ := m.Pack()
		return b
	}
	server(f, func(s string, q []byte) [][]byte {
		if s == "1.1.1.1:53" {
			return nil
		}
		id := right(q, 1)
		id[0]++
		return [][]byte{{}, {1, 2}, q, id, right(question("example.com.", dnsmessage.TypeA), 2), right(q, 3)}
	})
	begin := time.Now()
	m := parse(t, f.Answer(context.Background(), "udp", question("example.org.", dnsmessage.TypeA)))
	if len(m.Answers) != 1 || m.Answers[0].Body.(*dnsmessage.AResource).A != [4]byte{3} || time.Since(begin) < tryTime {
		t.Errorf("%+v", m)
	}
	f.Dial = func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("no way") }
	if m := parse(t, f.Answer(context.Background(), "udp", question("example.org.", dnsmessage.TypeA))); m.RCode != dnsmessage.RCodeServerFailure {
		t.Errorf("%+v", m)
	}
}

func TestTCP(t *testing.T) {
	f := forwarder()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { f.ServeTCP(context.Background(), l); close(done) }()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := writeTCP(c, question("web.", dnsmessage.TypeA)); err != nil {
			t.Fatal(err)
		}
		a, err := readTCP(c)
		if err != nil || len(parse(t, a).Answers) != 1 {
			t.Fatalf("%v %x", err, a)
		}
	}
	l.Close()
	c.Close()
	<-done
}

// A guest that asks without end keeps no other one from an answer.
func TestLimits(t *testing.T) {
	f := forwarder("1.1.1.1")
	a, b := netip.MustParseAddr("10.9.0.2"), netip.MustParseAddr("10.9.0.3")
	n := 0
	for range 2 * maxAsking {
		if f.begin(a) {
			n++
		}
	}
	if n != maxPerGuest || !f.begin(b) {
		t.Errorf("%d questions of one guest", n)
	}
	for range n {
		f.end(a)
	}
	f.end(b)
	if len(f.of) != 0 || f.asking != 0 {
		t.Errorf("%v, %d stay", f.of, f.asking)
	}
}

func FuzzAnswer(f *testing.F) {
	f.Add(question("web.internal.", dnsmessage.TypeA))
	f.Add(question("2.0.9.10.in-addr.arpa.", dnsmessage.TypePTR))
	n := forwarder()
	f.Fuzz(func(t *testing.T, b []byte) {
		if a := n.Answer(context.Background(), "udp", b); len(a) > len(b)+512 {
			t.Errorf("%d bytes for %d", len(a), len(b))
		}
	})
}
