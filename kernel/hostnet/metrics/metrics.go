// Package metrics answers Prometheus' scrapes, in the text format 0.0.4
// (https://prometheus.io/docs/instrumenting/exposition_formats/).
package metrics

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"net/textproto"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Page is the text that is answered with, in the making. Families come one after another.
type Page struct{ buf bytes.Buffer }

// Kinds of families.
const (
	Gauge   = "gauge"
	Counter = "counter"
)

// Family begins one: all samples that follow are of it.
func (p *Page) Family(name, kind, help string) Family {
	fmt.Fprintf(&p.buf, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind)
	return Family{p, name}
}

// Family is a name that samples have.
type Family struct {
	p    *Page
	name string
}

var escape = strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`)

// Add adds a sample; labels are names and values in turn.
func (f Family) Add(v float64, labels ...string) {
	b := &f.p.buf
	b.WriteString(f.name)
	for i := 0; i+1 < len(labels); i += 2 {
		b.WriteByte("{,"[min(i, 1)])
		fmt.Fprintf(b, `%s="%s"`, labels[i], escape.Replace(labels[i+1]))
	}
	if len(labels) > 1 {
		b.WriteByte('}')
	}
	b.WriteByte(' ')
	b.WriteString(strconv.FormatFloat(v, 'g', -1, 64))
	b.WriteByte('\n')
}

// Bytes is the text so far.
func (p *Page) Bytes() []byte { return p.buf.Bytes() }

// Limits of those who ask.
const (
	maxConns  = 8
	askTime   = 10 * time.Second
	maxHeader = 16 << 10
)

// Serve answers requests for /metrics with what write makes, until ctx ends or l fails. It
// speaks as much of HTTP/1.1 (RFC 9112) as that takes: a request, an answer, the end.
func Serve(ctx context.Context, l net.Listener, write func(*Page)) error {
	defer context.AfterFunc(ctx, func() { l.Close() })()
	defer l.Close()
	var wg sync.WaitGroup
	defer wg.Wait()
	var open askers
	slots := make(chan struct{}, maxConns)
	for {
		c, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("metrics: %w", err)
		}
		open.add(c)
		slots <- struct{}{} // who was closed for c ends soon
		wg.Go(func() {
			defer func() { <-slots }()
			defer open.remove(c)
			defer context.AfterFunc(ctx, func() { c.Close() })()
			defer c.Close()
			c.SetDeadline(time.Now().Add(askTime))
			answer(c, write)
		})
	}
}

func answer(c net.Conn, write func(*Page)) {
	status, body := "200 OK", []byte(nil)
	method, path, err := request(c)
	switch {
	case err != nil:
		status, body = "400 Bad Request", []byte("this is no request of HTTP\n")
	case method != "GET" && method != "HEAD":
		status, body = "405 Method Not Allowed", []byte("only GET is answered\n")
	case path != "/metrics":
		status, body = "404 Not Found", []byte("there is only /metrics\n")
	default:
		var p Page
		write(&p)
		body = p.Bytes()
	}
	head := fmt.Sprintf("HTTP/1.1 %s\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\nContent-Length: %d\r\nAllow: GET, HEAD\r\nConnection: close\r\n\r\n", status, len(body))
	if method == "HEAD" {
		body = nil
	}
	c.Write(append([]byte(head), body...))
}

// request reads a request, without a body.
func request(c net.Conn) (method, path string, err error) {
	r := textproto.NewReader(bufio.NewReader(&limited{c, maxHeader}))
	line, err := r.ReadLine()
	if err != nil {
		return "", "", err
	}
	f := strings.Split(line, " ")
	if len(f) != 3 || !strings.HasPrefix(f[2], "HTTP/1.") {
		return "", "", fmt.Errorf("%.100q", line)
	}
	if _, err := r.ReadMIMEHeader(); err != nil {
		return "", "", err
	}
	path, _, _ = strings.Cut(f[1], "?")
	return f[0], path, nil
}

// limited ends after n bytes.
type limited struct {
	net.Conn
	n int
}

func (l *limited) Read(b []byte) (int, error) {
	if l.n <= 0 {
		return 0, fmt.Errorf("more than %d bytes", maxHeader)
	}
	n, err := l.Conn.Read(b[:min(len(b), l.n)])
	l.n -= n
	return n, err
}
