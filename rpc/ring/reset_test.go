package ring

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// vanish is what a program's death looks like: no word is written any more.
func (c *Conn) vanish() {
	c.once.Do(func() {
		c.fail(errVanished)
		c.detach(false)
		c.finish()
	})
}

var errVanished = errors.New("killed by the test")

// waiting starts a Read and a Write that block, and returns what ends them.
func waiting(c *Conn) (errs func() [2]error) {
	var got [2]error
	var wg sync.WaitGroup
	wg.Go(func() {
		for got[0] == nil {
			_, got[0] = c.Read(make([]byte, 1))
		}
	})
	wg.Go(func() {
		for got[1] == nil {
			_, got[1] = c.Write(make([]byte, 2*minRingSize))
		}
	})
	return func() [2]error { wg.Wait(); return got }
}

func wantReset(t *testing.T, errs [2]error, why string) {
	t.Helper()
	for _, err := range errs {
		if !errors.Is(err, ErrPeerReset) || !strings.Contains(err.Error(), why) {
			t.Errorf("got %v, want ErrPeerReset because %q", err, why)
		}
	}
}

// TestClientDies: the host notices, its operations end, and the slot serves the next.
func TestClientDies(t *testing.T) {
	for _, m := range modes {
		t.Run(m.name, func(t *testing.T) {
			noLeaks(t)
			ho, co := m.opts()
			ho.Slots, ho.RingSize = 1, minRingSize
			h, c := plain(Size(1, minRingSize))
			l := listen(t, h, quick(ho))
			for range 3 {
				client := dial(t, c, co)
				host := accept(t, l)
				errs := waiting(host)
				client.vanish()
				wantReset(t, errs(), "heartbeat stopped")
			}
		})
	}
}

// TestClientDiesEarly: between its claim and its hello.
func TestClientDiesEarly(t *testing.T) {
	h, c := plain(Size(1, minRingSize))
	l := listen(t, h, quick(Options{Slots: 1, RingSize: minRingSize}))
	d := &dialer{mem: c}
	hd, err := d.header()
	if err != nil {
		t.Fatal(err)
	}
	if _, _, _, ok := d.claim(hd); !ok {
		t.Fatal("not claimed")
	}
	if _, _, _, ok := d.claim(hd); ok {
		t.Fatal("claimed twice")
	}
	client := dial(t, c, Options{})
	go accept(t, l).Write([]byte("x"))
	if _, err := client.Read(make([]byte, 1)); err != nil {
		t.Error(err)
	}
}

// TestHostRestarts: a new host lays the region out over living clients.
func TestHostRestarts(t *testing.T) {
	for _, m := range modes {
		t.Run(m.name, func(t *testing.T) {
			noLeaks(t)
			ho, co := m.opts()
			ho.Slots, ho.RingSize = 2, minRingSize
			h, c := plain(Size(2, minRingSize))
			first := listen(t, h, ho)
			client := dial(t, c, quick(co))
			host := accept(t, first)
			errs := waiting(client)
			host.vanish()
			first.mu.Lock()
			first.closed = true // the first host's keeper stops without a word
			first.mu.Unlock()
			<-first.done

			second := listen(t, h, ho)
			wantReset(t, errs(), "the host started anew")
			client.Close()
			again := dial(t, c, co)
			go accept(t, second).Write([]byte("welcome"))
			if _, err := io.ReadFull(again, make([]byte, 7)); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestHostDies: its heart stands still; a client's operations end, and a Dial says so.
func TestHostDies(t *testing.T) {
	noLeaks(t)
	o := quick(Options{Slots: 4, RingSize: minRingSize})
	h, c := plain(Size(4, minRingSize))
	l := listen(t, h, o)
	client := dial(t, c, o)
	host := accept(t, l)
	errs := waiting(client)
	host.vanish()
	l.Close()
	wantReset(t, errs(), "heartbeat stopped")

	memory(c).word(offMagic).Store(Magic) // it died, it did not close
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	_, err := Dial(ctx, c, o)
	if !errors.Is(err, ErrNoHost) || !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "heartbeat") {
		t.Errorf("Dial: %v", err)
	}
}

// TestLinger: a client that does not close holds its slot for PeerTimeout, and can read
// what was written until then.
func TestLinger(t *testing.T) {
	o := quick(Options{Slots: 1, RingSize: minRingSize})
	h, c := plain(Size(1, minRingSize))
	l := listen(t, h, o)
	client := dial(t, c, o)
	host := accept(t, l)
	host.Write([]byte("last words"))
	host.Close()
	if got, err := io.ReadAll(client); string(got) != "last words" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	soon(t, "a reset", func() bool { _, err := client.Read(make([]byte, 1)); return errors.Is(err, ErrPeerReset) })
	if _, err := client.Read(make([]byte, 1)); !strings.Contains(err.Error(), "did not wait longer") {
		t.Error(err)
	}
	dial(t, c, o)
}

func TestListenerClose(t *testing.T) {
	noLeaks(t)
	h, c := plain(Size(2, minRingSize))
	l := listen(t, h, Options{Slots: 2, RingSize: minRingSize})
	served := dial(t, c, Options{})
	host := accept(t, l)
	queued := dial(t, c, Options{})
	soon(t, "a queue", func() bool { l.mu.Lock(); defer l.mu.Unlock(); return len(l.queue) == 1 })
	accepting := make(chan error)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	go func() { _, err := l.Accept(); accepting <- err }()
	for _, err := range []error{<-accepting, l.Close()} {
		if !errors.Is(err, net.ErrClosed) {
			t.Errorf("%v, want net.ErrClosed", err)
		}
	}
	if _, err := queued.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("not accepted: %v, want EOF", err)
	}
	go host.Write([]byte("x"))
	if _, err := served.Read(make([]byte, 1)); err != nil {
		t.Errorf("accepted before: %v", err)
	}
	host.Close()
	select {
	case <-l.done:
	default:
		t.Error("the keeper runs on after the last Close")
	}
}

func TestDialErrors(t *testing.T) {
	format := func(change func(memory)) []byte {
		_, c := plain(Size(2, minRingSize))
		if err := Format(c, Options{Slots: 2, RingSize: minRingSize}); err != nil {
			t.Fatal(err)
		}
		change(c)
		return c
	}
	set := func(off int, v uint64) func(memory) { return func(m memory) { m.word(off).Store(v) } }
	for _, tc := range []struct {
		name   string
		region []byte
		want   error
	}{
		{"nothing there", format(set(offMagic, 0)), ErrNoHost},
		{"nobody serves it", format(func(memory) {}), ErrNoHost},
		{"something else there", format(set(offMagic, 0x464c457f)), ErrFormat},
		{"major version", format(set(offVersion, tagged(2, 0))), ErrVersion},
		{"minor version", format(set(offVersion, tagged(1, 7))), ErrNoHost},
		{"no slots", format(set(offSlots, 0)), ErrFormat},
		{"many slots", format(set(offSlots, 1<<63)), ErrFormat},
		{"more slots than fit", format(set(offSlots, 3)), ErrFormat},
		{"slot size", format(set(offSlotSize, slotHeader)), ErrFormat},
		{"odd ring", format(set(offRingSize, minRingSize+8)), ErrFormat},
		{"ring of nothing", format(set(offRingSize, 0)), ErrFormat},
		{"huge ring", format(set(offRingSize, 1<<62)), ErrFormat},
		{"ring that does not fit", format(set(offRingSize, 1<<30)), ErrFormat},
		{"busy", format(func(m memory) {
			d := &dialer{mem: m}
			h, _ := d.header()
			d.claim(h)
			d.claim(h)
		}), ErrBusy},
		{"odd start", format(func(memory) {})[8:], ErrFormat},
		{"short", format(func(memory) {})[:64], ErrFormat},
		{"nil", nil, ErrFormat},
	} {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Millisecond)
		_, err := Dial(ctx, tc.region, Options{})
		cancel()
		if !errors.Is(err, tc.want) {
			t.Errorf("%s: %v, want %v", tc.name, err, tc.want)
		}
		if temporary := tc.want == ErrNoHost || tc.want == ErrBusy; errors.Is(err, context.DeadlineExceeded) != temporary {
			t.Errorf("%s: %v: waited, or did not", tc.name, err)
		}
	}
}

func TestListenErrors(t *testing.T) {
	h, _ := plain(Size(1, minRingSize))
	for _, o := range []Options{
		{Slots: -1}, {Slots: maxSlots + 1}, {Slots: 2, RingSize: minRingSize}, {Slots: 2},
		{Slots: 1, RingSize: minRingSize + 1}, {Slots: 1, RingSize: -minRingSize}, {Slots: 1, RingSize: 1},
	} {
		if _, err := Listen(h, o); !errors.Is(err, ErrFormat) {
			t.Errorf("%+v: %v, want ErrFormat", o, err)
		}
	}
	if l, err := Listen(h, Options{Slots: 1}); err != nil {
		t.Error(err)
	} else {
		l.Close()
	}
}

// TestDialCancelled: the host opens the slot of a client that has given up, and sees
// an orderly end.
func TestDialCancelled(t *testing.T) {
	h, c := plain(Size(1, minRingSize))
	f, err := format(h, Options{Slots: 1, RingSize: minRingSize})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if _, err := Dial(ctx, c, Options{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	l := serve(f, Options{}.withDefaults())
	host := accept(t, l)
	if _, err := host.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("%v, want EOF", err)
	}
	host.Close()
	l.Close()
}
