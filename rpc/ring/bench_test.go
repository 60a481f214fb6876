package ring

import (
	"context"
	"io"
	"net"
	"path/filepath"
	"testing"
	"time"
)

// transports are what the benchmarks compare: the ring in each mode, and a socket.
var transports = []struct {
	name string
	make func(testing.TB) (server, client net.Conn)
}{
	{"ring-bell", func(t testing.TB) (net.Conn, net.Conn) { return benchPair(t, true) }},
	{"ring-poll", func(t testing.TB) (net.Conn, net.Conn) { return benchPair(t, false) }},
	{"unix", unixPair},
}

func benchPair(t testing.TB, bells bool) (server, client net.Conn) {
	var ho, co Options
	if bells {
		ho.Doorbell, co.Doorbell = Bells()
	}
	h, c := mapped(t, Size(1, 256<<10))
	ho.Slots = 1
	l := listen(t, h, ho)
	client = dial(t, c, co)
	return accept(t, l), client
}

func unixPair(t testing.TB) (server, client net.Conn) {
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err = net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	server, err = l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close(); client.Close() })
	return server, client
}

// call is the size of a small call, and of its answer.
const call = 64

// echo answers each call by itself, as a server does.
func echo(c net.Conn) {
	b := make([]byte, call)
	for {
		if _, err := io.ReadFull(c, b); err != nil {
			return
		}
		if _, err := c.Write(b); err != nil {
			return
		}
	}
}

// BenchmarkCall is one small call at a time: its latency.
func BenchmarkCall(b *testing.B) {
	for _, tr := range transports {
		b.Run(tr.name, func(b *testing.B) {
			server, client := tr.make(b)
			go echo(server)
			m := make([]byte, call)
			b.ReportAllocs()
			for b.Loop() {
				client.Write(m)
				if _, err := io.ReadFull(client, m); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkCalls has many small calls in flight: each is one Write and each answer too.
func BenchmarkCalls(b *testing.B) {
	for _, tr := range transports {
		b.Run(tr.name, func(b *testing.B) {
			server, client := tr.make(b)
			go echo(server)
			b.ReportAllocs()
			b.ResetTimer()
			go func() {
				m := make([]byte, call)
				for range b.N {
					client.Write(m)
				}
			}()
			m := make([]byte, call)
			for range b.N {
				if _, err := io.ReadFull(client, m); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "calls/s")
		})
	}
}

// BenchmarkBulk streams one way, 64 KiB in a Write.
func BenchmarkBulk(b *testing.B) {
	for _, tr := range transports {
		b.Run(tr.name, func(b *testing.B) {
			server, client := tr.make(b)
			m := make([]byte, 64<<10)
			b.SetBytes(int64(len(m)))
			b.ReportAllocs()
			b.ResetTimer()
			go func() {
				m := make([]byte, len(m))
				for range b.N {
					server.Write(m)
				}
			}()
			for range b.N {
				if _, err := io.ReadFull(client, m); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkRest is the first call after the connection rested, without a doorbell.
func BenchmarkRest(b *testing.B) {
	server, client := benchPair(b, false)
	go echo(server)
	m := make([]byte, call)
	for range b.N {
		b.StopTimer()
		time.Sleep(20 * time.Millisecond)
		b.StartTimer()
		client.Write(m)
		io.ReadFull(client, m)
	}
}

// BenchmarkDial opens and closes a connection.
func BenchmarkDial(b *testing.B) {
	var ho, co Options
	ho.Doorbell, co.Doorbell = Bells()
	h, c := plain(Size(2, minRingSize))
	ho.Slots = 2
	l := listen(b, h, ho)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				io.Copy(io.Discard, conn)
				conn.Close()
			}()
		}
	}()
	for b.Loop() {
		conn, err := Dial(context.Background(), c, co)
		if err != nil {
			b.Fatal(err)
		}
		conn.Close()
	}
}
