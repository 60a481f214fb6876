package ring

import (
	"context"
	"net"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// plain is a region in one address space: the race detector sees both sides.
func plain(size int) (host, client []byte) {
	b := make([]byte, size+lineSize)
	m, err := newMemory(b)
	for err != nil {
		b = b[8:]
		m, err = newMemory(b)
	}
	return m[:size], m[:size]
}

// mapped is a file that is mapped twice, as by two programs.
func mapped(t testing.TB, size int) (host, client []byte) {
	t.Helper()
	f, err := os.CreateTemp(t.TempDir(), "region")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(int64(size)); err != nil {
		t.Fatal(err)
	}
	m := func() []byte {
		b, err := syscall.Mmap(int(f.Fd()), 0, size, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { syscall.Munmap(b) })
		return b
	}
	return m(), m()
}

// quick options make a peer's silence short enough for a test.
func quick(o Options) Options {
	o.PeerTimeout = 300 * time.Millisecond
	return o
}

func listen(t testing.TB, region []byte, o Options) *Listener {
	t.Helper()
	l, err := Listen(region, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func dial(t testing.TB, region []byte, o Options) *Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	c, err := Dial(ctx, region, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c.(*Conn)
}

func accept(t testing.TB, l net.Listener) *Conn {
	t.Helper()
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c.(*Conn)
}

// modes are the ways in which two sides can be joined.
var modes = []struct {
	name string
	opts func() (host, client Options)
}{
	{"poll", func() (Options, Options) { return Options{}, Options{} }},
	{"bell", func() (Options, Options) {
		h, c := Bells()
		return Options{Doorbell: h}, Options{Doorbell: c}
	}},
	{"host-bell-only", func() (Options, Options) {
		h, _ := Bells()
		return Options{Doorbell: h}, Options{}
	}},
	{"client-bell-only", func() (Options, Options) {
		_, c := Bells()
		return Options{}, Options{Doorbell: c}
	}},
}

// pair returns the two ends of a connection over rings of that size.
func pair(t testing.TB, ringSize int, h, c Options) (host, client *Conn) {
	t.Helper()
	h.Slots, h.RingSize = 1, ringSize
	a, b := plain(Size(1, ringSize))
	l := listen(t, a, h)
	client = dial(t, b, c)
	return accept(t, l), client
}

// noLeaks fails the test if goroutines of this package are left at its end, after every
// cleanup that was registered later.
func noLeaks(t *testing.T) {
	t.Helper()
	t.Cleanup(func() {
		var left string
		for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
			buf := make([]byte, 1<<20)
			left = ""
			for _, g := range strings.Split(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
				if strings.Contains(g, "ring.(*") && !strings.Contains(g, "testing.tRunner") {
					left += g + "\n\n"
				}
			}
			if left == "" {
				return
			}
		}
		t.Errorf("goroutines are left:\n%s", left)
	})
}

// soon waits for something that happens in the background.
func soon(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within 20 s", what)
		}
	}
}
