package metrics

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestPage(t *testing.T) {
	var p Page
	f := p.Family("x_total", Counter, "How many.")
	f.Add(1)
	f.Add(2.5, "a", `q"\`+"\n", "b", "")
	f.Add(1<<53, "a", "z")
	want := "# HELP x_total How many.\n# TYPE x_total counter\nx_total 1\nx_total{a=\"q\\\"\\\\\\n\",b=\"\"} 2.5\nx_total{a=\"z\"} 9.007199254740992e+15\n"
	if got := string(p.Bytes()); got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// A real client understands the answers, and what isn't HTTP is told so.
func TestServe(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- Serve(ctx, l, func(p *Page) { p.Family("up", Gauge, "Is.").Add(1) })
	}()
	base := "http://" + l.Addr().String()
	for path, want := range map[string]int{"/metrics": 200, "/metrics?x=1": 200, "/": 404} {
		r, err := http.Get(base + path)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(r.Body)
		r.Body.Close()
		if r.StatusCode != want || want == 200 && (!strings.Contains(string(b), "up 1\n") || !strings.HasPrefix(r.Header.Get("Content-Type"), "text/plain; version=0.0.4")) {
			t.Errorf("%s: %v %q", path, r.Status, b)
		}
	}
	if r, err := http.Head(base + "/metrics"); err != nil || r.StatusCode != 200 || r.ContentLength <= 0 {
		t.Errorf("HEAD: %v", err)
	}
	if r, err := http.Post(base+"/metrics", "", nil); err != nil || r.StatusCode != 405 {
		t.Errorf("POST: %v", err)
	}
	for _, bad := range []string{"\r\n\r\n", "hello\r\n\r\n", "GET / SPDY/1\r\n\r\n", "GET /metrics HTTP/1.1\r\nx: " + strings.Repeat("y", 2*maxHeader) + "\r\n\r\n"} {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(c, bad)
		b, _ := io.ReadAll(c)
		if len(b) > 0 && !strings.HasPrefix(string(b), "HTTP/1.1 400 ") {
			t.Errorf("%.20q: %q", bad, b)
		}
		c.Close()
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// TestSilent: connections that say nothing keep nobody from asking, and of those that ask
// none is closed while others of the same address have more.
func TestSilent(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- Serve(ctx, l, func(p *Page) { p.Family("up", Gauge, "Is.").Add(1) })
	}()
	dial := func(from string) net.Conn {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
		c, err := d.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	slow := dial("127.0.0.2")
	for range 3 * maxConns {
		dial("127.0.0.1")
	}
	for name, c := range map[string]net.Conn{"a new one": dial("127.0.0.1"), "one that asks late": slow} {
		c.SetDeadline(time.Now().Add(askTime / 2))
		io.WriteString(c, "GET /metrics HTTP/1.1\r\n\r\n")
		if b, err := io.ReadAll(c); err != nil || !strings.HasPrefix(string(b), "HTTP/1.1 200 ") {
			t.Errorf("%s: %q, %v", name, b, err)
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
