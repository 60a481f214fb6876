package console

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"nidus/mm"
)

// guestOut and guestIn are a guest's side of the ring.
func guestOut(p mm.Page, b []byte) int {
	cons, prod := p.Load32(offOutCons), p.Load32(offOutProd)
	n := min(len(b), outSize-int(prod-cons))
	for i := range n {
		p.Store8(offOut+int((prod+uint32(i))%outSize), b[i])
	}
	p.Store32(offOutProd, prod+uint32(n))
	return n
}

func guestIn(p mm.Page) (b []byte) {
	cons, prod := p.Load32(offInCons), p.Load32(offInProd)
	for ; cons != prod; cons++ {
		b = append(b, p.Load8(offIn+int(cons%inSize)))
	}
	p.Store32(offInCons, cons)
	return b
}

func TestRingRandom(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	p := mm.NewPage()
	for off := offInCons; off <= offOutProd; off += 4 {
		p.Store32(off, 0xfffff000) // wraps
	}
	r := NewRing(p)
	var out, gotOut, in, gotIn []byte
	buf := make([]byte, 4096)
	random := func() []byte {
		b := make([]byte, rnd.IntN(3000))
		for i := range b {
			b[i] = byte(rnd.Uint32())
		}
		return b
	}
	for range 2000 {
		b := random()
		out = append(out, b[:guestOut(p, b)]...)
		gotOut = append(gotOut, buf[:r.Drain(buf[:rnd.IntN(len(buf))])]...)
		b = random()
		in = append(in, b[:r.Push(b)]...)
		if rnd.IntN(2) == 0 {
			gotIn = append(gotIn, guestIn(p)...)
		}
	}
	gotOut = append(gotOut, buf[:r.Drain(buf)]...)
	gotIn = append(gotIn, guestIn(p)...)
	if !bytes.Equal(out, gotOut) || !bytes.Equal(in, gotIn) || len(out) < 100000 || len(in) < 100000 {
		t.Errorf("out %d/%d bytes, in %d/%d", len(gotOut), len(out), len(gotIn), len(in))
	}
	if r.Resyncs() != 0 {
		t.Errorf("%d resyncs", r.Resyncs())
	}
}

func TestRingHostile(t *testing.T) {
	p := mm.NewPage()
	r := NewRing(p)
	buf := make([]byte, 8192)
	p.Store32(offOutProd, outSize+1)
	if n := r.Drain(buf); n != 0 || r.Resyncs() != 1 {
		t.Errorf("drained %d, %d resyncs", n, r.Resyncs())
	}
	guestOut(p, []byte("again"))
	if n := r.Drain(buf); string(buf[:n]) != "again" {
		t.Errorf("after resync: %q", buf[:n])
	}
	p.Store32(offInCons, 12345)
	if n := r.Push([]byte("x")); n != 1 || r.Resyncs() != 2 || string(guestIn(p)) != "x" {
		t.Errorf("pushed %d, %d resyncs", n, r.Resyncs())
	}
	if n := r.Push(buf); n != inSize {
		t.Errorf("pushed %d into an empty ring", n)
	}
	if n := r.Push(buf); n != 0 {
		t.Errorf("pushed %d into a full ring", n)
	}
	r.Close()
	p.Clear()
	if r.Push(buf) != 0 || r.Drain(buf) != 0 || p.Load32(offInProd) != 0 {
		t.Error("closed ring still works")
	}
}

func FuzzRing(f *testing.F) {
	f.Add(uint32(0), uint32(5), uint32(0), uint32(0), 10)
	f.Add(^uint32(0), uint32(4000), uint32(1<<31), uint32(3), 5000)
	f.Fuzz(func(t *testing.T, oc, op, ic, ip uint32, n int) {
		p := mm.NewPage()
		p.Store32(offOutCons, oc)
		p.Store32(offInProd, ip)
		r := NewRing(p)
		buf := make([]byte, uint(n)%8192)
		for range 3 {
			p.Store32(offOutProd, op)
			p.Store32(offInCons, ic)
			if k := r.Drain(buf); k > outSize || k > len(buf) {
				t.Errorf("drained %d", k)
			}
			if k := r.Push(buf); k > inSize || k > len(buf) {
				t.Errorf("pushed %d", k)
			}
			if r.outCons != p.Load32(offOutCons) || r.inProd != p.Load32(offInProd) {
				t.Error("indexes not published")
			}
		}
	})
}

func TestHistoryReaders(t *testing.T) {
	h := NewHistory(8, nil)
	fmt.Fprint(h, "abc")
	a, live := h.Attach(), h.AttachLive()
	buf := make([]byte, 100)
	if n := a.TryRead(buf); string(buf[:n]) != "abc" {
		t.Errorf("history %q", buf[:n])
	}
	fmt.Fprint(h, "defghij")
	for name, c := range map[string]struct {
		r    *Reader
		want string
	}{"a": {a, "defghij"}, "live": {live, "defghij"}, "new": {h.Attach(), "cdefghij"}} {
		if n := c.r.TryRead(buf); string(buf[:n]) != c.want {
			t.Errorf("%s reads %q, want %q", name, buf[:n], c.want)
		}
	}
	fmt.Fprint(h, "0123456789")
	var got string
	for range 100 {
		n := a.TryRead(buf[:3]) // the marker comes in pieces
		got += string(buf[:n])
	}
	if want := "\r\n[2 bytes lost]\r\n23456789"; got != want {
		t.Errorf("slow reader got %q, want %q", got, want)
	}
	if string(h.Bytes()) != "23456789" {
		t.Errorf("bytes %q", h.Bytes())
	}
}

func TestHistoryLimit(t *testing.T) {
	now := time.Duration(0)
	b := NewBucket(10, 5, func() time.Duration { return now })
	h := NewHistory(100, b.Take)
	fmt.Fprint(h, "0123456789")
	now = time.Second / 5
	fmt.Fprint(h, "abcdef")
	if got := string(h.Bytes()); got != "01234ab" {
		t.Errorf("kept %q", got)
	}
	if kept, cut := h.Written(); kept != 7 || cut != 9 {
		t.Errorf("kept %d, cut %d", kept, cut)
	}
}

// Readers that keep up see every byte in order while writers go on; one that
// waits wakes.
func TestHistoryConcurrent(t *testing.T) {
	h := NewHistory(1<<20, nil)
	var wg sync.WaitGroup
	const total = 50000
	for range 3 {
		r := h.Attach()
		wg.Go(func() {
			var got []byte
			buf := make([]byte, 700)
			for len(got) < total {
				n, err := r.Read(t.Context(), buf)
				if err != nil {
					t.Error(err)
					return
				}
				got = append(got, buf[:n]...)
			}
			for i, c := range got {
				if c != byte(i) {
					t.Errorf("byte %d is %d", i, c)
					return
				}
			}
		})
	}
	for i := range total {
		_, _ = h.Write([]byte{byte(i)})
	}
	wg.Wait()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := h.AttachLive().Read(ctx, make([]byte, 1)); !errors.Is(err, context.Canceled) {
		t.Errorf("detached: %v", err)
	}
}

func TestEmergency(t *testing.T) {
	h := NewHistory(4096, nil)
	e := NewEmergency(h, "(d3) ")
	fmt.Fprint(e, "hel")
	fmt.Fprint(e, "lo\r\n\x1b[2Jx\n")
	fmt.Fprint(e, strings.Repeat("y", 300))
	e.Flush()
	e.Flush()
	want := "(d3) hello\n(d3) .[2Jx\n(d3) " + strings.Repeat("y", 256) + "\n(d3) " + strings.Repeat("y", 44) + "\n"
	if got := string(h.Bytes()); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func newLog(now *time.Duration) *Log {
	return NewLog(LogConfig{
		Size: 4096, Prefix: "(XEN) ", Now: func() time.Duration { return *now },
		Host: Threshold{2, 3}, Guest: Threshold{0, 2}, Rate: 1, Burst: 2,
	})
}

func TestLog(t *testing.T) {
	var now time.Duration
	l := newLog(&now)
	l.Printf(LevelWarning, "a %d\n", 1)
	l.Print(LevelDebug, "no")
	l.Guestf(3, LevelInfo, "no")
	for i := range 5 {
		l.Guestf(3, LevelError, "bad %d \x1b\nx", i)
	}
	l.Guestf(4, LevelError, "other")
	now = 2 * time.Second
	l.Guestf(3, LevelError, "again")
	for range 3 {
		l.GuestOncef(5, "hypercall", 77, LevelError, "hypercall %d", 77)
	}
	want := "(XEN) a 1\n(XEN) d3 bad 0 ..x\n(XEN) d3 bad 1 ..x\n(XEN) d4 other\n" +
		"(XEN) d3 3 messages suppressed\n(XEN) d3 again\n(XEN) d5 hypercall 77\n"
	if got := string(l.Bytes()); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	// Keys of a guest's own choice are bounded.
	first := 0
	for n := range uint64(10000) {
		if l.GuestOncef(6, "msr", n, LevelError, "msr %x", n) {
			first++
		}
	}
	if first != maxOnce {
		t.Errorf("%d keys kept", first)
	}
	l.Forget(6)
	if !l.GuestOncef(6, "msr", 1, LevelError, "msr") {
		t.Error("forgotten domain is remembered")
	}
	l.Printf(LevelError, "%s", strings.Repeat("z", 100000))
	if b := l.Bytes(); len(b) > 4096 || !bytes.HasSuffix(b, []byte("zzz...\n")) {
		t.Errorf("long line ends %q", b[len(b)-10:])
	}
}

func TestTimestamp(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "[    0.000000] ", 12*time.Second + 345678*time.Microsecond: "[   12.345678] ",
		99999*time.Second + time.Millisecond: "[99999.001000] ", 7 * time.Microsecond: "[    0.000007] ",
	} {
		if got := string(appendTime(nil, d)); got != want {
			t.Errorf("%v: %q, want %q", d, got, want)
		}
	}
}

func TestThreshold(t *testing.T) {
	for s, want := range map[string]Threshold{
		"all": {4, 4}, "none/warning": {0, 2}, "warning": {2, 2}, "error/debug": {1, 4}, "info/none": {3, 3},
	} {
		if got, err := ParseThreshold(s); got != want || err != nil {
			t.Errorf("%s: %v, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "loud", "all/", "/all", "all/all/all"} {
		if _, err := ParseThreshold(s); err == nil {
			t.Errorf("%q accepted", s)
		}
	}
}

func TestMux(t *testing.T) {
	var notes []string
	m := NewMux(func(s string) { notes = append(notes, s) })
	got := ""
	typ := func(s string) {
		m.Input([]byte(s), func(to mm.DomID, b []byte) { got += fmt.Sprintf("%d:%q ", to, b) })
	}
	step := func(want string) {
		t.Helper()
		if got != want {
			t.Errorf("delivered %s, want %s", got, want)
		}
		got = ""
	}
	m.Start()
	m.AddDomain(7)
	m.AddDomain(1)
	typ("ab")
	step(`0:"ab" `)
	typ("a\x01b\x01\x01")
	step(`0:"a" 0:"\x01" 0:"b" `)
	typ("c")
	step(`0:"\x01\x01" 0:"c" `)
	typ("x\x01\x01\x01y")
	step(`0:"x" 1:"y" `)
	typ("\x01")
	typ("\x01\x01z\x01\x01\x01\x01")
	step(`7:"z" `)
	typ("q")
	step(`0:"\x01" 0:"q" `)
	m.SwitchTo(7)
	m.RemoveDomain(7)
	typ("w")
	step(`0:"w" `)
	m.RemoveDomain(0)
	if m.SwitchTo(7) || !m.SwitchTo(0) {
		t.Error("circle is wrong")
	}
	if want := "*** Serial input to DOM1 (type 'CTRL-a' three times to switch input)"; notes[1] != want {
		t.Errorf("notice %q, want %q", notes[1], want)
	}
	for s, good := range map[string]bool{"b": true, "bx": true, "`": true, "": false, "A": false, "abc": false, "x": true, "1": false} {
		if err := NewMux(nil).Configure(s); (err == nil) != good {
			t.Errorf("conswitch=%s: %v", s, err)
		}
	}
	if err := m.Configure("`"); err != nil {
		t.Fatal(err)
	}
	typ("\x01\x01\x01")
	step(`0:"\x01\x01\x01" `)
}

// Whatever is typed is delivered or a switch: nothing is lost, in any pieces.
func FuzzMux(f *testing.F) {
	f.Add([]byte("a\x01\x01b\x01\x01\x01\x01c"), 3)
	f.Fuzz(func(t *testing.T, b []byte, piece int) {
		m := NewMux(nil)
		m.AddDomain(1)
		one := func(n int) (s string) {
			m.SwitchTo(0)
			for rest := b; len(rest) > 0; {
				k := min(n, len(rest))
				m.Input(rest[:k], func(to mm.DomID, p []byte) {
					for _, c := range p {
						s += fmt.Sprint(to, c, " ")
					}
				})
				rest = rest[k:]
			}
			m.Input([]byte{'.'}, func(to mm.DomID, p []byte) { s += fmt.Sprint(to, p) })
			return s
		}
		if x, y := one(len(b)), one(int(uint(piece)%7)+1); x != y {
			t.Errorf("in one piece %s, in several %s", x, y)
		}
	})
}

func BenchmarkDrain(b *testing.B) {
	p := mm.NewPage()
	r := NewRing(p)
	buf := make([]byte, 2048)
	b.ReportAllocs()
	b.SetBytes(80)
	for b.Loop() {
		p.Store32(offOutProd, p.Load32(offOutProd)+80)
		r.Drain(buf)
	}
}

func BenchmarkPush(b *testing.B) {
	p := mm.NewPage()
	r := NewRing(p)
	buf := make([]byte, 16)
	b.ReportAllocs()
	for b.Loop() {
		r.Push(buf)
		p.Store32(offInCons, p.Load32(offInProd))
	}
}

func BenchmarkHistoryWrite(b *testing.B) {
	h := NewHistory(64<<10, nil)
	buf := make([]byte, 80)
	b.ReportAllocs()
	b.SetBytes(80)
	for b.Loop() {
		_, _ = h.Write(buf)
	}
}

func BenchmarkLogPrint(b *testing.B) {
	l := NewLog(LogConfig{Size: 64 << 10, Prefix: "(XEN) ", Timestamps: true, Host: Threshold{4, 4}, Now: func() time.Duration { return time.Second }})
	b.ReportAllocs()
	for b.Loop() {
		l.Print(LevelInfo, "a line of the hypervisor's log, as they come")
	}
}

func TestHistoryTake(t *testing.T) {
	h := NewHistory(16, nil)
	h.Write([]byte("hello"))
	if got := h.Take(); string(got) != "hello" {
		t.Errorf("took %q", got)
	}
	if got := h.Bytes(); len(got) != 0 {
		t.Errorf("kept %q", got)
	}
	h.Write([]byte("more"))
	if got := h.Bytes(); string(got) != "more" {
		t.Errorf("after Take: %q", got)
	}
}
