package ring

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func dialFile(t *testing.T, name string) *Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	c, err := DialFile(ctx, name, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c.(*Conn)
}

// within fails the test if something takes as long as a heart needs to be missed.
func within(t *testing.T, what string) func() {
	begin := time.Now()
	return func() {
		t.Helper()
		if took := time.Since(begin); took >= defaultPeerTimeout/2 {
			t.Errorf("%s took %v", what, took)
		}
	}
}

// TestKilledProgramsLeaveNothing: the host would miss a heart after 15 s only, but the
// next program finds the lock free and the slot its own.
func TestKilledProgramsLeaveNothing(t *testing.T) {
	name, region := regionFile(t, Size(1, minRingSize))
	dropped := make(chan error, 10)
	l := listen(t, region, Options{Slots: 1, RingSize: minRingSize, Dropped: func(_ int, why error) { dropped <- why }})
	done := within(t, "10 programs, of which 9 were killed")
	for range 10 {
		cmd := program(t, name)
		accept(t, l)
		cmd.Process.Kill()
		cmd.Wait()
	}
	done()
	for range 9 {
		if why := <-dropped; !errors.Is(why, ErrPeerReset) || !strings.Contains(why.Error(), "found the client dead") {
			t.Error(why)
		}
	}
}

// TestReap: who is found dead, and who is not.
func TestReap(t *testing.T) {
	for _, tt := range []struct {
		name string
		die  func(t *testing.T, c *Conn, d *dialer)
		dead bool
	}{
		{"alive", func(*testing.T, *Conn, *dialer) {}, false},
		{"killed", func(_ *testing.T, c *Conn, _ *dialer) { c.vanish() }, true},
		{"killed after CloseWrite", func(_ *testing.T, c *Conn, _ *dialer) { c.CloseWrite(); c.vanish() }, true},
		{"closed in order", func(_ *testing.T, c *Conn, _ *dialer) { c.Close() }, false},
		{"has no lock, says so", func(_ *testing.T, c *Conn, d *dialer) {
			d.mem.word(c.geo.slot(0) + offClaim).Store(tagged(c.epoch, 5))
			c.vanish()
		}, false},
		{"claim of another epoch", func(_ *testing.T, c *Conn, d *dialer) {
			d.mem.word(c.geo.slot(0) + offClaim).Store(tagged(c.epoch-1, lockedClaim))
			c.vanish()
		}, false},
	} {
		name, region := regionFile(t, Size(2, minRingSize))
		l := listen(t, region, Options{Slots: 2, RingSize: minRingSize})
		c := dialFile(t, name)
		host := accept(t, l)
		if _, err := c.Write([]byte("last words")); err != nil {
			t.Fatal(err)
		}
		mem := memory(region)
		tt.die(t, c, &dialer{mem: mem})
		dialFile(t, name)
		if dead := mem.word(l.geo.slot(0)+offDead).Load() == tagged(host.epoch, 0); dead != tt.dead {
			t.Errorf("%s: found dead: %v", tt.name, dead)
		}
		host.SetReadDeadline(time.Now().Add(2 * time.Second))
		var err error
		var got []byte
		for b := make([]byte, 20); err == nil; {
			var n int
			n, err = host.Read(b)
			got = append(got, b[:n]...)
		}
		if tt.dead != errors.Is(err, ErrPeerReset) {
			t.Errorf("%s: the host reads %q, %v", tt.name, got, err)
		}
		if !tt.dead && string(got) != "last words" {
			t.Errorf("%s: the host reads %q, %v", tt.name, got, err)
		}
		l.Close()
	}
}

// TestReapHalfOpen: a program that dies between its claim and its hello.
func TestReapHalfOpen(t *testing.T) {
	name, region := regionFile(t, Size(1, minRingSize))
	l := listen(t, region, Options{Slots: 1, RingSize: minRingSize})
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	d := &dialer{mem: memory(region), opts: Options{Locks: fileLocks{f}}}
	h, err := d.header()
	if err != nil {
		t.Fatal(err)
	}
	if _, _, _, ok := d.claim(h); !ok {
		t.Fatal("not claimed")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if _, err := DialFile(ctx, name, Options{}); !errors.Is(err, ErrBusy) {
		t.Fatalf("beside a living one: %v", err)
	}
	f.Close() // as a kill does
	done := within(t, "the next Dial")
	dialFile(t, name)
	done()
	accept(t, l)
}

// TestHostRestartsUnderLocks: a client that was reset lets go of its slot's lock.
func TestHostRestartsUnderLocks(t *testing.T) {
	name, region := regionFile(t, Size(1, minRingSize))
	first := listen(t, region, Options{Slots: 1, RingSize: minRingSize})
	old := dialFile(t, name)
	accept(t, first).vanish()
	first.Close()
	listen(t, region, Options{Slots: 1, RingSize: minRingSize})
	done := within(t, "the next Dial")
	dialFile(t, name) // although the old one is not closed
	done()
	if _, err := old.Write([]byte{1}); !errors.Is(err, ErrPeerReset) {
		t.Error(err)
	}
}

// TestOfferIsRepaired: nobody but the host may write it; who does can't take a free slot
// away for good.
func TestOfferIsRepaired(t *testing.T) {
	dropped := make(chan error, 1)
	h, c := plain(Size(1, minRingSize))
	l := listen(t, h, quick(Options{Slots: 1, RingSize: minRingSize, Dropped: func(_ int, why error) { dropped <- why }}))
	memory(c).word(l.geo.slot(0) + offOffer).Store(tagged(77, 99))
	dial(t, c, Options{})
	if why := <-dropped; !strings.Contains(why.Error(), "offer") {
		t.Error(why)
	}
}

func TestDialFileErrors(t *testing.T) {
	dir := t.TempDir()
	empty := filepath.Join(dir, "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]error{
		filepath.Join(dir, "none"): os.ErrNotExist,
		empty:                      ErrFormat,
		"/dev/zero":                ErrFormat,
	} {
		if _, err := DialFile(t.Context(), name, Options{}); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
	}
}
