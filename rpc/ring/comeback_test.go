package ring

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// serveAny accepts connections, and reads each to its end; or, as a server whose buffers
// are full, reads nothing and closes what has ended; or closes it at once.
func serveAny(l *Listener, r *rand.Rand) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		kind := r.IntN(4)
		go func() {
			switch c := conn.(*Conn); kind {
			case 0:
				<-c.Ended()
			case 1:
			default:
				io.Copy(c, struct{ io.Reader }{c})
			}
			conn.Close()
		}()
	}
}

// lie changes words of a slot as no client does.
func lie(r *rand.Rand, m memory, at int) {
	epoch := epochOf(m.word(at + offOffer).Load())
	store := func(off int, epoch, low uint32) { m.word(at + off).Store(tagged(epoch, low)) }
	switch r.IntN(6) {
	case 0: // a handshake, or half of one
		store(offClaim, epoch, [...]uint32{lockedClaim, r.Uint32()}[r.IntN(2)])
		store(offClientTail, epoch, 0)
		store(offClientHead, epoch, 0)
		if r.IntN(3) != 0 {
			store(offHello, epoch, r.Uint32()&uint32(r.IntN(2)))
		}
	case 1: // a state, of this connection or of those to come
		states := [...]int{offOffer, offClaim, offHello, offDead}
		for range 1 + r.IntN(4) {
			store(states[r.IntN(len(states))], epoch+uint32(r.IntN(4)), [...]uint32{0, stateFree, stateOpen, lockedClaim}[r.IntN(4)])
		}
	case 2: // an index, perhaps closed
		for _, off := range []int{offClientTail, offClientHead} {
			store(off, epoch+uint32(r.IntN(8)/7), r.Uint32N(minRingSize)|closedBit*uint32(r.IntN(2)))
		}
	case 3: // a heart
		m.word(at + offClientBeat).Add(1)
	case 4: // any bit
		w := m.word(at + r.IntN(offClientBeat/8+1)*8)
		w.Store(w.Load() ^ 1<<r.IntN(64))
	case 5: // any word
		m.word(at + r.IntN(offClientBeat/8+1)*8).Store(r.Uint64())
	}
}

// TestSlotsComeBack: whatever a hostile peer leaves in the slots' words, all of them can
// be had at once in the time that docs/ring.md has under Death, and work.
func TestSlotsComeBack(t *testing.T) {
	const (
		slots = 4
		bound = (missedBeats+1)*time.Second + 100*time.Millisecond // and some looks
	)
	for seed := range uint64(50) {
		synctest.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 0))
			h, c := plain(Size(slots, minRingSize))
			l := listen(t, h, Options{Slots: slots, RingSize: minRingSize})
			defer func() { l.Close(); <-l.done }() // within the bubble's time
			go serveAny(l, rand.New(rand.NewPCG(seed, 1)))
			m := memory(c)
			for range 1 + r.IntN(100) {
				if r.IntN(20) == 0 { // somebody to be lied to
					ctx, cancel := context.WithTimeout(t.Context(), time.Second)
					if conn, err := Dial(ctx, c, Options{}); err == nil {
						conn.(*Conn).vanish()
					}
					cancel()
				}
				lie(r, m, l.geo.slot(r.IntN(slots)))
				time.Sleep(time.Duration(r.ExpFloat64() * float64([...]time.Duration{time.Millisecond, time.Second}[r.IntN(2)])))
			}
			ctx, cancel := context.WithTimeout(t.Context(), bound)
			defer cancel()
			for i := range slots {
				conn, err := Dial(ctx, c, Options{})
				if err != nil {
					t.Errorf("seed %d: slot %d of %d: %v", seed, i+1, slots, err)
					break
				}
				defer conn.Close()
			}
		})
	}
}

// TestShutOut: how soon the host takes a slot back, and why.
func TestShutOut(t *testing.T) {
	const beat = time.Second
	for _, tc := range []struct {
		name   string
		attack func(m memory, at int, epoch uint32, l *Listener)
		bound  int // heartbeats
		why    string
	}{
		{"claimed, no hello", func(m memory, at int, epoch uint32, _ *Listener) {
			m.word(at + offClaim).Store(tagged(epoch, 1))
		}, startBeats, "heartbeat stopped"},
		{"hello, a heart that never beats", func(m memory, at int, epoch uint32, _ *Listener) {
			hello(m, at, epoch)
		}, startBeats, "heartbeat stopped"},
		{"a heart that beat once", func(m memory, at int, epoch uint32, _ *Listener) {
			hello(m, at, epoch)
			time.Sleep(beat / 2)
			m.word(at + offClientBeat).Add(1)
		}, missedBeats, "heartbeat stopped"},
		{"the host closes what is silent", func(m memory, at int, epoch uint32, l *Listener) {
			hello(m, at, epoch)
			time.Sleep(beat / 2)
			m.word(at + offClientBeat).Add(1)
			conn, _ := l.Accept()
			conn.Close()
		}, startBeats, "heartbeat stopped"},
		{"offer of a free slot", func(m memory, at int, epoch uint32, _ *Listener) {
			m.word(at + offOffer).Store(tagged(epoch, stateOpen))
		}, 1, "protocol in offer"},
		{"offer of an open slot", func(m memory, at int, epoch uint32, _ *Listener) {
			hello(m, at, epoch)
			time.Sleep(beat / 2)
			m.word(at + offClientBeat).Add(1)
			m.word(at + offOffer).Store(tagged(epoch+9, stateFree))
		}, 1, "protocol in offer"},
		{"words of connections to come", func(m memory, at int, epoch uint32, _ *Listener) {
			m.word(at + offDead).Store(tagged(epoch+1, 0))
			m.word(at + offHello).Store(tagged(epoch+2, 0))
			m.word(at + offClaim).Store(tagged(epoch+3, 0))
			m.word(at + offOffer).Store(0)
		}, 1, "protocol in offer"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, c := plain(Size(1, minRingSize))
				var dropped []string
				l := listen(t, h, Options{Slots: 1, RingSize: minRingSize, Dropped: func(_ int, why error) { dropped = append(dropped, fmt.Sprint(why)) }})
				defer func() { l.Close(); <-l.done }()
				at := l.geo.slot(0)
				tc.attack(memory(c), at, epochOf(memory(c).word(at+offOffer).Load()), l)
				begin := time.Now()
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				conn, err := Dial(ctx, c, Options{})
				if err != nil {
					t.Fatal(err)
				}
				took := time.Since(begin)
				if limit := time.Duration(tc.bound+1)*beat + 100*time.Millisecond; took > limit || took < time.Duration(tc.bound-1)*beat {
					t.Errorf("after %v, want at most %v", took, limit)
				}
				if all := strings.Join(dropped, "; "); len(dropped) != 1 || !strings.Contains(all, tc.why) {
					t.Errorf("dropped: %q, want one: %q", all, tc.why)
				}
				conn.Close()
				for {
					host := accept(t, l)
					host.Close()
					if host.epoch == conn.(*Conn).epoch {
						break
					}
				}
			})
		})
	}
}

// hello shakes hands as a client does that is then silent.
func hello(m memory, at int, epoch uint32) {
	m.word(at + offClaim).Store(tagged(epoch, 1))
	m.word(at + offClientTail).Store(tagged(epoch, 0))
	m.word(at + offClientHead).Store(tagged(epoch, 0))
	m.word(at + offHello).Store(tagged(epoch, 0))
}
