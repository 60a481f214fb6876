//go:build linux

package main

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
)

// Requests of the network protocol (io/netif.h). A frontend's pages are the ring for what
// it sends, the ring of pages that it wants to receive in, and one of data.
const (
	txSlot, txSlots = 12, 256
	rxRing          = pageSize

	netMore, netExtra   = 4, 8
	extraGSO, extraMore = 1, 1
)

// helper is the interface that a breach sends a frame from to another.
const helper = 15

// send is struct netif_tx_request.
type send struct {
	ref                  uint32
	off, flags, id, size uint16
}

// putSend writes a request into slot i.
func (f *front) putSend(i uint32, r send) {
	b := f.txSlot(i)
	binary.LittleEndian.PutUint32(b, r.ref)
	for k, v := range []uint16{r.off, r.flags, r.id, r.size} {
		binary.LittleEndian.PutUint16(b[4+2*k:], v)
	}
}

func (f *front) txSlot(i uint32) []byte {
	return f.mem[ringSlots+int(i%txSlots)*txSlot:][:txSlot]
}

// sends sends requests.
func sends(list ...func(f *front) send) func(*front) error {
	return func(f *front) error {
		for i, r := range list {
			f.putSend(uint32(i), r(f))
		}
		return f.push(uint32(len(list)))
	}
}

// data makes a request for the data page.
func data(off, flags, size uint16) func(*front) send {
	return func(f *front) send { return send{f.refs[2], off, flags, 0, size} }
}

// grant makes a request for another page.
func grant(ref uint32) func(*front) send {
	return func(*front) send { return send{ref: ref, size: 100} }
}

var netNodes = []breach{
	node("tx-ring-ref", "4000000000"), node("event-channel", "-1"), node("request-rx-copy", "0"),
}

var netBreaches = []breach{
	{"a million requests", func(f *front) error { return f.push(1_000_000) }, true},
	{"no such grant", sends(grant(3000)), true},
	{"slot beyond the page", sends(data(4000, 0, 100)), true},
	{"sizes that don't add up", sends(data(0, netMore, 100), data(0, 0, 200)), true},
	{"slots without end", func(f *front) error {
		for i := range uint32(txSlots) {
			f.putSend(i, send{f.refs[2], 0, netMore, 0, 10})
		}
		return f.push(txSlots)
	}, true},
	{"segments of 0 bytes", func(f *front) error {
		f.putSend(0, send{f.refs[2], 0, netExtra, 0, 100})
		copy(f.txSlot(1), []byte{extraGSO, 0, 0, 0, 1})
		return f.push(2)
	}, true},
	{"noise", func(f *front) error {
		for i := range txSlots * txSlot {
			f.mem[ringSlots+i] = byte(rand.Uint32())
		}
		f.putSend(0, send{f.refs[2], 4095, 0, 0, 65535})
		return f.push(txSlots)
	}, true},
	{"frames that change under way, and are taken back", func(f *front) error {
		for i := range uint32(5000) {
			f.putSend(i, send{f.refs[2], uint16(i % 64), 0, uint16(i), uint16(14 + i%1500)})
			f.mem[2*pageSize+int(i)%pageSize] = byte(i)
			if i%8 == 0 {
				if err := f.push(i); err != nil {
					return err
				}
			}
			if i%128 == 0 {
				if err := f.answered(i); err != nil {
					return err
				}
			}
		}
		f.end()
		return nil
	}, false},
	{"pages to receive in that are not there", func(f *front) error {
		for i := range uint32(txSlots) {
			binary.LittleEndian.PutUint32(f.mem[rxRing+ringSlots+int(i)*8+4:], 3000+i)
		}
		f.word(rxRing + ringReqProd).Store(txSlots)
		other, err := begin(f.store, &netif, helper)
		if err != nil {
			return err
		}
		copy(other.mem[2*pageSize:], "\xff\xff\xff\xff\xff\xff") // to everybody
		return other.frames(0, 1)
	}, true},
	{"3000 frames", func(f *front) error { return f.frames(0, 3000) }, false},
	{"states in any order", func(f *front) error {
		for range 300 {
			if err := f.set("state", strconv.Itoa(rand.IntN(12))); err != nil {
				return err
			}
		}
		return nil
	}, false},
}

// netif is the network protocol.
var netif = protocol{"vif", func(n int) int { return n }, func(f *front, wrong func(*front) error) error {
	for _, ring := range []int{0, rxRing} {
		f.word(ring + ringReqEvent).Store(1)
		f.word(ring + ringRspEvent).Store(1)
	}
	copy(f.mem[2*pageSize:], "\x02\x00\x00\x00\x00\x77\x02\x00\x00\x00\x00\x66\x88\xb5"+strings.Repeat("flood ", 100))
	num := func(i int) string { return strconv.Itoa(int(f.refs[i])) }
	return f.connect(wrong, [][2]string{{"tx-ring-ref", num(0)}, {"rx-ring-ref", num(1)}, {"event-channel", strconv.Itoa(int(f.port))},
		{"request-rx-copy", "1"}, {"feature-rx-notify", "1"}, {"feature-sg", "1"}})
}}

// frames sends n good ones from number first on, for nobody.
func (f *front) frames(first, n uint32) error {
	for i := first; i != first+n; i++ {
		f.putSend(i, send{f.refs[2], 0, 0, uint16(i), 200})
		if (i+1)%16 == 0 || i+1 == first+n {
			if err := f.push(i + 1); err != nil {
				return err
			}
			if err := f.answered(i + 1); err != nil {
				return fmt.Errorf("frame %d: %w", i, err)
			}
		}
	}
	return nil
}
