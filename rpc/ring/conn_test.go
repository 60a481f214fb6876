package ring

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestStream sends random writes both ways at once, some longer than the ring, and
// compares what arrives.
func TestStream(t *testing.T) {
	for _, m := range modes {
		t.Run(m.name, func(t *testing.T) {
			noLeaks(t)
			h, c := m.opts()
			host, client := pair(t, minRingSize, h, c)
			var wg sync.WaitGroup
			for i, way := range []struct{ from, to *Conn }{{host, client}, {client, host}} {
				sent := make([]byte, 1<<20)
				r := rand.New(rand.NewPCG(1, uint64(i)))
				for i := range sent {
					sent[i] = byte(r.Uint32())
				}
				wg.Go(func() {
					r := rand.New(rand.NewPCG(2, uint64(i)))
					for rest := sent; len(rest) > 0; {
						n := min(r.IntN(3*minRingSize>>r.IntN(12)), len(rest))
						if w, err := way.from.Write(rest[:n]); err != nil || w != n {
							t.Errorf("wrote %d of %d: %v", w, n, err)
							return
						}
						rest = rest[n:]
					}
					if err := way.from.CloseWrite(); err != nil {
						t.Error(err)
					}
				})
				wg.Go(func() {
					r := rand.New(rand.NewPCG(3, uint64(i)))
					var got []byte
					for {
						b := make([]byte, 1+r.IntN(2*minRingSize>>r.IntN(12)))
						n, err := way.to.Read(b)
						got = append(got, b[:n]...)
						if err == io.EOF {
							break
						}
						if err != nil || n == 0 {
							t.Errorf("read %d: %v", n, err)
							return
						}
					}
					if !bytes.Equal(got, sent) {
						t.Errorf("%d bytes arrived of %d, or others", len(got), len(sent))
					}
				})
			}
			wg.Wait()
		})
	}
}

func TestHalfClose(t *testing.T) {
	host, client := pair(t, minRingSize, Options{}, Options{})
	client.Write([]byte("question"))
	if err := client.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Write([]byte("more")); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("Write after CloseWrite: %v", err)
	}
	if got, err := io.ReadAll(host); string(got) != "question" || err != nil {
		t.Fatalf("%q, %v", got, err)
	}
	host.Write([]byte("answer"))
	host.Close()
	if got, err := io.ReadAll(client); string(got) != "answer" || err != nil {
		t.Fatalf("%q, %v", got, err)
	}
}

func TestCloseWakesBoth(t *testing.T) {
	for _, m := range modes {
		for _, closer := range []string{"self", "peer"} {
			t.Run(m.name+"/"+closer, func(t *testing.T) {
				noLeaks(t)
				h, c := m.opts()
				host, client := pair(t, minRingSize, h, c)
				var wg sync.WaitGroup
				wg.Go(func() {
					_, err := client.Read(make([]byte, 1))
					if want := map[string]error{"self": net.ErrClosed, "peer": io.EOF}[closer]; !errors.Is(err, want) {
						t.Errorf("Read: %v, want %v", err, want)
					}
				})
				wg.Go(func() {
					n, err := client.Write(make([]byte, 2*minRingSize))
					if want := map[string]error{"self": net.ErrClosed, "peer": io.ErrClosedPipe}[closer]; !errors.Is(err, want) {
						t.Errorf("Write: %v, want %v", err, want)
					}
					if n != minRingSize {
						t.Errorf("Write says that it wrote %d of %d", n, minRingSize)
					}
				})
				soon(t, "a full ring", func() bool { return uint32(host.in.tail.word.Load())&posMask == minRingSize })
				if closer == "self" {
					client.Close()
				} else {
					host.Close()
				}
				wg.Wait()
			})
		}
	}
}

func TestAfterClose(t *testing.T) {
	host, client := pair(t, minRingSize, Options{}, Options{})
	for _, c := range []*Conn{host, client} {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		_, rerr := c.Read(make([]byte, 1))
		_, werr := c.Write(make([]byte, 1))
		for _, err := range []error{rerr, werr, c.Close(), c.CloseWrite(), c.SetDeadline(time.Now())} {
			if !errors.Is(err, net.ErrClosed) {
				t.Errorf("%v, want net.ErrClosed", err)
			}
		}
	}
}

func TestDeadline(t *testing.T) {
	for _, m := range modes {
		t.Run(m.name, func(t *testing.T) {
			h, c := m.opts()
			host, client := pair(t, minRingSize, h, c)
			b := make([]byte, 2*minRingSize)
			timedOut := func(what string, n, want int, err error) {
				t.Helper()
				var ne net.Error
				if n != want || !errors.Is(err, os.ErrDeadlineExceeded) || !errors.As(err, &ne) || !ne.Timeout() {
					t.Errorf("%s: %d bytes, %v; want %d and a timeout", what, n, err, want)
				}
			}
			start := time.Now()
			client.SetDeadline(start.Add(20 * time.Millisecond))
			n, err := client.Read(b)
			timedOut("Read", n, 0, err)
			if d := time.Since(start); d < 20*time.Millisecond {
				t.Errorf("after %v", d)
			}
			n, err = client.Write(b)
			timedOut("Write after the deadline", n, 0, err)
			client.SetDeadline(time.Now().Add(20 * time.Millisecond))
			n, err = client.Write(b)
			timedOut("Write", n, minRingSize, err)

			// A Read that waits is ended by a deadline that is set later, also a past one.
			done := make(chan error)
			go func() {
				_, err := host.Read(b)
				for err == nil {
					_, err = host.Read(b)
				}
				done <- err
			}()
			host.SetReadDeadline(time.Now().Add(time.Hour))
			host.SetReadDeadline(time.Unix(1, 0))
			timedOut("waiting Read", 0, 0, <-done)

			// The connection still works.
			client.SetDeadline(time.Time{})
			host.SetDeadline(time.Time{})
			go host.Write([]byte("x"))
			if n, err := client.Read(b); n != 1 || err != nil {
				t.Errorf("%d, %v", n, err)
			}
		})
	}
}

// TestDeadlineMoves: the timer of a deadline that was replaced changes nothing.
func TestDeadlineMoves(t *testing.T) {
	var w waiter
	w.init(nil, time.Millisecond)
	var d deadline
	for _, step := range []struct {
		at     time.Time
		passed bool
	}{
		{time.Time{}, false},
		{time.Now().Add(time.Hour), false},
		{time.Now().Add(-time.Second), true},
		{time.Unix(1<<60, 0), false},
		{time.Unix(-1<<60, 0), true},
		{time.Time{}, false},
	} {
		d.set(step.at, &w)
		if d.passed() != step.passed || (len(w.wake) == 1) != step.passed {
			t.Errorf("%v: passed %v, %d pokes", step.at, d.passed(), len(w.wake))
		}
		for len(w.wake) > 0 {
			<-w.wake
		}
	}
}

// TestNoLostBell: a word that changed before the flag was up rings no bell, so the
// waiter must not sleep.
func TestNoLostBell(t *testing.T) {
	var word, flag atomic.Uint64
	var w waiter
	w.init(&flag, time.Millisecond)
	w.spin = 0
	word.Store(1)
	done := make(chan struct{})
	go func() { w.wait(&word, 0); close(done) }()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatal("it sleeps")
	}
	if flag.Load() != 0 {
		t.Error("the flag is still up")
	}
}

// TestClients: more clients than slots, one after the other in each slot.
func TestClients(t *testing.T) {
	for _, m := range modes {
		t.Run(m.name, func(t *testing.T) {
			noLeaks(t)
			ho, co := m.opts()
			ho.Slots, ho.RingSize = 3, minRingSize
			h, c := plain(Size(3, minRingSize))
			l := listen(t, h, ho)
			go func() {
				for {
					conn, err := l.Accept()
					if err != nil {
						return
					}
					go func() {
						io.Copy(conn, conn)
						conn.Close()
					}()
				}
			}()
			var wg sync.WaitGroup
			for i := range 12 {
				wg.Go(func() {
					ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
					defer cancel()
					conn, err := Dial(ctx, c, co)
					if err != nil {
						t.Error(err)
						return
					}
					defer conn.Close()
					sent := bytes.Repeat([]byte{byte(i)}, 3*minRingSize)
					go func() {
						conn.Write(sent)
						conn.(*Conn).CloseWrite()
					}()
					if got, err := io.ReadAll(conn); err != nil || !bytes.Equal(got, sent) {
						t.Errorf("client %d: %d bytes, %v", i, len(got), err)
					}
				})
			}
			wg.Wait()
		})
	}
}

func TestNoAllocations(t *testing.T) {
	for _, m := range modes {
		h, c := m.opts()
		host, client := pair(t, minRingSize, h, c)
		go io.Copy(struct{ io.Writer }{host}, struct{ io.Reader }{host})
		b := make([]byte, 64)
		n := testing.AllocsPerRun(1000, func() {
			client.Write(b)
			io.ReadFull(client, b)
		})
		if n != 0 {
			t.Errorf("%s: %v allocations for a Write, a Read and an echo", m.name, n)
		}
	}
}
