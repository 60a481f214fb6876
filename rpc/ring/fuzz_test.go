package ring

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// TestHalves moves random amounts through one ring, step by step, against a buffer
// that is known to be right. Positions start just below their wrap.
func TestHalves(t *testing.T) {
	for seed := range uint64(50) {
		r := rand.New(rand.NewPCG(seed, 0))
		data := make([]byte, minRingSize)
		var tail, head atomic.Uint64
		const epoch = 7
		start := uint32(posMask - r.IntN(3*minRingSize))
		tail.Store(tagged(epoch, start))
		head.Store(tagged(epoch, start))
		p := producer{data: data, epoch: epoch, tail: start, own: &tail,
			head: view{word: &head, pos: start, seen: head.Load()}}
		c := consumer{data: data, epoch: epoch, head: start, own: &head,
			tail: view{word: &tail, pos: start, seen: tail.Load()}}
		var model []byte
		for step := range 400 {
			if r.IntN(2) == 0 {
				n, err := p.room()
				if err != nil || n != len(data)-len(model) {
					t.Fatalf("seed %d step %d: room %d, %v; want %d", seed, step, n, err, len(data)-len(model))
				}
				b := make([]byte, r.IntN(n+1))
				for i := range b {
					b[i] = byte(r.Uint32())
				}
				p.put(b)
				p.publish(false)
				model = append(model, b...)
				continue
			}
			n, err := c.avail()
			if err != nil || n != len(model) {
				t.Fatalf("seed %d step %d: avail %d, %v; want %d", seed, step, n, err, len(model))
			}
			b := make([]byte, r.IntN(n+1))
			c.take(b)
			c.publish(false)
			if !bytes.Equal(b, model[:len(b)]) {
				t.Fatalf("seed %d step %d: other bytes", seed, step)
			}
			model = model[len(b):]
		}
	}
}

// TestView: every way in which an index word can lie, and none in which it does not.
func TestView(t *testing.T) {
	const epoch, limit = 5, 100
	for _, tc := range []struct {
		name   string
		pos    uint32
		closed bool
		word   uint64
		why    string // "": fine
	}{
		{"moves", 10, false, tagged(epoch, 110), ""},
		{"wraps", posMask - 9, false, tagged(epoch, 90), ""},
		{"closes", 10, false, tagged(epoch, 20|closedBit), ""},
		{"too far", 10, false, tagged(epoch, 111), "could move by 0x64"},
		{"wraps too far", posMask - 9, false, tagged(epoch, 91), "could move by"},
		{"back", 10, false, tagged(epoch, 9), "it went from 0xa to 0x9"},
		{"back over the wrap", 0, false, tagged(epoch, posMask), "could move by"},
		{"older epoch", 10, false, tagged(epoch-1, 20), "of epoch 0x4"},
		{"zero", 10, false, 0, "of epoch 0x0"},
		{"opens again", 10, true, tagged(epoch, 10), "after it was closed"},
		{"moves when closed", 10, true, tagged(epoch, 11|closedBit), "after it was closed"},
	} {
		var w atomic.Uint64
		v := view{word: &w, off: offClientTail, pos: tc.pos, closed: tc.closed, seen: indexWord(epoch, tc.pos, tc.closed)}
		before := v
		w.Store(tc.word)
		err := v.load(epoch, limit)
		if tc.why == "" {
			if err != nil || v.pos != uint32(tc.word)&posMask || v.closed != (tc.word&closedBit != 0) {
				t.Errorf("%s: %v, %+v", tc.name, err, v)
			}
			continue
		}
		var p *ProtocolError
		if !errors.As(err, &p) || !errors.Is(err, ErrProtocol) || p.Field != "client_tail" || p.Value != tc.word || !strings.Contains(p.Why, tc.why) {
			t.Errorf("%s: %v, want %q", tc.name, err, tc.why)
		}
		if v != before {
			t.Errorf("%s: a refused value was kept", tc.name)
		}
	}
}

// TestLiarIsDropped: both sides, each word; the error names it, the other side is told
// (if it is the client), and a host's slot serves the next client.
func TestLiarIsDropped(t *testing.T) {
	for _, tc := range []struct {
		off   int
		liar  string
		value func(was uint64) uint64
	}{
		{offClientTail, "client", func(w uint64) uint64 { return w + minRingSize + 1 }},
		{offClientTail, "client", func(w uint64) uint64 { return w - 1 }},
		{offClientTail, "client", func(w uint64) uint64 { return w + 1<<32 }},
		{offClientHead, "client", func(w uint64) uint64 { return w + 8 }},
		{offHostTail, "host", func(w uint64) uint64 { return w + minRingSize + 1 }},
		{offHostHead, "host", func(w uint64) uint64 { return w + 8 }},
	} {
		h, c := mapped(t, Size(1, minRingSize))
		l := listen(t, h, Options{Slots: 1, RingSize: minRingSize})
		client := dial(t, c, Options{})
		host := accept(t, l)
		honest, liar, region := host, client, c
		if tc.liar == "host" {
			honest, liar, region = client, host, h
		}
		go io.Copy(io.Discard, honest)
		liar.Write(make([]byte, 5))
		honest.Write(make([]byte, 5))
		io.ReadFull(liar, make([]byte, 5))
		soon(t, "an honest read", func() bool { return uint32(honest.in.own.Load()) == 5 })
		w := memory(region).word(l.geo.slot(0) + tc.off)
		lie := tc.value(w.Load())
		w.Store(lie)

		var err error
		soon(t, "a drop", func() bool {
			honest.SetReadDeadline(time.Now().Add(time.Millisecond))
			_, err = honest.Read(make([]byte, 1))
			if errors.Is(err, os.ErrDeadlineExceeded) {
				_, err = honest.Write([]byte{1})
			}
			return errors.Is(err, ErrProtocol)
		})
		var p *ProtocolError
		if !errors.As(err, &p) || p.Field != wordName(tc.off) || p.Value != lie || p.Slot != 0 {
			t.Errorf("%v, want one about %s = %#x", err, wordName(tc.off), lie)
		}
		if tc.liar == "host" {
			continue
		}
		honest.Close()
		soon(t, "a reset", func() bool { _, err = liar.Read(make([]byte, 1)); return err != nil })
		if !errors.Is(err, ErrPeerReset) || !strings.Contains(err.Error(), "protocol violation in "+wordName(tc.off)) {
			t.Errorf("the liar got %v", err)
		}
		dial(t, c, Options{})
		accept(t, l)
	}
}

// FuzzPeer plays a hostile peer. The fuzzer's bytes are a list of writes into the
// region, made at their moments while the honest side reads and writes; the region ends
// where its mapping does, so that a look past it is a fault.
func FuzzPeer(f *testing.F) {
	word := func(op byte, slot byte, off uint16, v uint64) []byte {
		b := binary.LittleEndian.AppendUint16([]byte{op, slot}, off)
		return binary.LittleEndian.AppendUint64(b, v)
	}
	f.Add(true, word(0, 0, offClientTail, 1<<63))
	f.Add(true, word(1, 0, offClientTail, 4096))
	f.Add(false, word(2, 0, offHostHead, 0))
	f.Add(false, word(1, 0, offOffer, 1<<32))
	f.Add(true, append(word(0, 1, offClaim, 5), word(3, 1, offHello, 0)...))
	f.Add(false, word(4, 0, offRingSize, 1<<40))
	f.Fuzz(func(t *testing.T, hostIsHonest bool, script []byte) {
		const slots = 2
		size := Size(slots, minRingSize)
		h, c := mapped(t, size)
		o := Options{Slots: slots, RingSize: minRingSize, PeerTimeout: 30 * time.Millisecond, MaxPause: time.Millisecond}
		l := listen(t, h, o)
		client := dial(t, c, o)
		host := accept(t, l)
		honest, liar := host, client
		if !hostIsHonest {
			honest, liar = client, host
		}
		end := time.Now().Add(50 * time.Millisecond)
		honest.SetDeadline(end)
		liar.SetDeadline(end)
		done := make(chan struct{}, 3)
		go func() { // the honest side echoes
			io.Copy(struct{ io.Writer }{honest}, struct{ io.Reader }{honest})
			honest.Close()
			done <- struct{}{}
		}()
		go func() { io.Copy(io.Discard, liar); done <- struct{}{} }()
		go func() { // other clients come and go
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
			defer cancel()
			if conn, err := Dial(ctx, c, o); err == nil {
				conn.Close()
			}
			done <- struct{}{}
		}()
		go func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				go func() {
					conn.SetDeadline(end)
					io.Copy(io.Discard, conn)
					conn.Close()
				}()
			}
		}()
		m := memory(c)
		for len(script) >= 12 && time.Now().Before(end) {
			op, slot := script[0], int(script[1])%slots
			off := int(binary.LittleEndian.Uint16(script[2:])) % (slotHeader + 64) &^ 7
			v := binary.LittleEndian.Uint64(script[4:])
			script = script[12:]
			at := l.geo.slot(slot) + off
			if off >= 0x400 && off < slotHeader { // nothing there: rather a word that counts
				at = l.geo.slot(slot) + off%0x380&^0x3f
			}
			liar.Write([]byte("some bytes in between"))
			switch w := m.word(at); op % 6 {
			case 0:
				w.Store(v)
			case 1:
				w.Add(v % (2 * minRingSize))
			case 2:
				w.Add(-(v % (2 * minRingSize)))
			case 3: // with the right epoch
				epoch := epochOf(m.word(l.geo.slot(slot) + offOffer).Load())
				w.Store(tagged(epoch, uint32(v)))
			case 4: // the header
				m.word(off % 0x80 &^ 7).Store(v)
			case 5:
				time.Sleep(time.Duration(v%1000) * time.Microsecond)
			}
		}
		liar.Close()
		l.Close()
		for range cap(done) {
			select {
			case <-done:
			case <-time.After(20 * time.Second):
				t.Fatal("something hangs 20 s past its deadline")
			}
		}
		if _, err := honest.Read(make([]byte, 1)); err == nil || err != io.EOF && !errors.Is(err, net.ErrClosed) && !errors.Is(err, ErrPeerReset) && !errors.Is(err, ErrProtocol) {
			t.Errorf("a closed connection reads with %v", err)
		}
		soon(t, "the keeper's end", func() bool {
			select {
			case <-l.done:
				return true
			default:
				return false
			}
		})
	})
}

// FuzzIndexes changes the peer's index words between the steps of both halves, and
// keeps an account of what a correct half may then do.
func FuzzIndexes(f *testing.F) {
	f.Add(uint32(0), []byte{0, 9, 1, 9, 2, 1, 0, 3, 1, 0})
	f.Add(uint32(posMask-3), []byte{0, 200, 2, 200, 1, 200, 3, 200, 0, 1, 1, 1})
	f.Add(uint32(77), []byte{4, 1, 0, 1, 5, 1, 1, 1})
	f.Fuzz(func(t *testing.T, start uint32, script []byte) {
		const epoch, size = 3, 64
		start &= posMask
		var words [4]atomic.Uint64 // ours, then the peer's: tail and head of each ring
		for i := range words {
			words[i].Store(tagged(epoch, start))
		}
		guard := make([]byte, 3*size) // the rings lie in the middle of guards
		p := producer{data: guard[size:][:size:size], epoch: epoch, tail: start, own: &words[0],
			head: view{word: &words[2], pos: start, seen: words[2].Load()}}
		c := consumer{data: bytes.Clone(guard)[size:][:size:size], epoch: epoch, head: start, own: &words[1],
			tail: view{word: &words[3], pos: start, seen: words[3].Load()}}
		buf := bytes.Repeat([]byte{0xff}, size)
		for ; len(script) >= 2; script = script[2:] {
			n := int(script[1])
			switch op := script[0] % 8; op {
			case 0:
				room, err := p.room()
				if room < 0 || room > size || err != nil && room != 0 {
					t.Fatalf("room %d, %v", room, err)
				}
				p.put(buf[:min(n, room)])
				p.publish(false)
			case 1:
				avail, err := c.avail()
				if avail < 0 || avail > size || err != nil && avail != 0 {
					t.Fatalf("avail %d, %v", avail, err)
				}
				c.take(buf[:min(n, avail)])
				c.publish(false)
			case 2, 3: // an honest peer's move, mostly
				words[op].Add(uint64(n))
			case 4, 5: // back
				words[op-2].Add(-uint64(n))
			case 6, 7: // any bit
				words[op-4].Store(words[op-4].Load() ^ 1<<(n%64))
			}
			if p.head.closed && words[2].Load()&closedBit == 0 {
				if err := p.head.load(epoch, size); err == nil {
					t.Fatal("a closed head opened again")
				}
			}
		}
		if g := guard; bytes.Count(g[:size], []byte{0}) != size || bytes.Count(g[2*size:], []byte{0}) != size {
			t.Fatal("put wrote past the ring")
		}
	})
}
