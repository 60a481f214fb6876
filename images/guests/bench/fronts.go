//go:build linux

package main

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
)

// States of a device (io/xenbus.h, enum xenbus_state).
const (
	stateInitWait  = 2
	stateConnected = 4
	stateClosed    = 6
)

// A shared ring and its block requests, those of x86_64 (io/ring.h, io/blkif.h).
const (
	ringReqProd, ringReqEvent, ringRspProd, ringRspEvent = 0, 4, 8, 12
	ringSlots, blkSlot, blkSlots                         = 64, 112, 32

	blkRead, blkWrite, blkIndirect = 0, 1, 6
)

// protocol is that of a kind of devices.
type protocol struct {
	kind string
	// number is that of the n-th device of a guest.
	number func(n int) int
	// connect says what a frontend says, and what is wrong of it.
	connect func(f *front, wrong func(*front) error) error
}

// breach is what a frontend does wrong.
type breach struct {
	name string
	do   func(f *front) error
	// closes tells that the backend has to close the device for it.
	closes bool
}

// segment is struct blkif_request_segment.
type segment struct {
	ref         uint32
	first, last byte
}

// put writes a request into slot i: count segments are claimed.
func (f *front) put(i uint32, op, count byte, sector uint64, segs ...segment) {
	b := f.mem[ringSlots+int(i%blkSlots)*blkSlot:][:blkSlot]
	clear(b)
	b[0], b[1] = op, count
	binary.LittleEndian.PutUint64(b[8:], uint64(i))
	binary.LittleEndian.PutUint64(b[16:], sector)
	putSegments(b[24:], segs)
}

func putSegments(b []byte, segs []segment) {
	for k, s := range segs {
		binary.LittleEndian.PutUint32(b[k*8:], s.ref)
		b[k*8+4], b[k*8+5] = s.first, s.last
	}
}

// push tells the backend of the requests up to prod.
func (f *front) push(prod uint32) error {
	f.word(ringReqProd).Store(prod)
	return f.notify()
}

// one sends one request.
func one(op, count byte, sector uint64, segs ...segment) func(*front) error {
	return func(f *front) error {
		f.put(0, op, count, sector, segs...)
		return f.push(1)
	}
}

// page is the data page of a frontend, whole.
func (f *front) page() segment { return segment{f.refs[1], 0, 7} }

// node makes a breach of one node: the device never connects.
func node(name, value string) breach {
	return breach{fmt.Sprintf("%s=%.20s", name, value), func(f *front) error { return f.set(name, value) }, true}
}

// blkBreaches are what a block frontend does wrong; nodes are wrong before it connects.
var blkNodes = []breach{
	node("ring-ref", "4000000000"), node("ring-ref", strings.Repeat("1", 1500)), node("event-channel", "1023"),
	node("protocol", "vax-abi"), node("ring-page-order", "31"), node("multi-queue-num-queues", "4000000000"),
}

var blkBreaches = []breach{
	{"requests that no ring holds", func(f *front) error { return f.push(blkSlots + 1) }, true},
	{"a million requests", func(f *front) error { return f.push(1_000_000) }, true},
	{"requests taken back", func(f *front) error {
		if err := f.requests(0, 40, 1); err != nil {
			return err
		}
		return f.push(3)
	}, true},
	{"no such grant", one(blkRead, 1, 0, segment{3000, 0, 7}), true},
	{"grant far away", one(blkWrite, 1, 0, segment{1 << 31, 0, 7}), true},
	{"segment beyond the page", func(f *front) error { return one(blkRead, 1, 0, segment{f.refs[1], 0, 255})(f) }, true},
	{"255 segments", one(blkRead, 255, 0), true},
	{"indirect: 60000 segments", func(f *front) error {
		f.put(0, blkIndirect, blkRead, 0)
		b := f.mem[ringSlots:]
		binary.LittleEndian.PutUint16(b[2:], 60000)
		binary.LittleEndian.PutUint32(b[28:], f.refs[2])
		return f.push(1)
	}, true},
	{"noise", func(f *front) error {
		for i := range blkSlots * blkSlot {
			f.mem[ringSlots+i] = byte(rand.Uint32())
		}
		f.mem[ringSlots], f.mem[ringSlots+1] = blkRead, 99 // one of them is wrong for sure
		return f.push(blkSlots)
	}, true},
	{"a grant taken back in mid-transfer", func(f *front) error {
		for i := range uint32(blkSlots) {
			f.put(i, blkRead, 1, 0, f.page())
		}
		err := f.push(blkSlots)
		f.end()
		return err
	}, false},
	{"requests that change under way", func(f *front) error {
		for i := range uint32(20000) {
			f.put(i, blkRead, byte(1+i%11), uint64(i%64), f.page(), f.page())
			f.put(i+7, byte(i), byte(i>>3), uint64(i)<<i, segment{i % 40, byte(i), 7})
			if i%8 == 0 {
				if err := f.push(i); err != nil {
					return err
				}
			}
		}
		return nil
	}, true},
	{"all sectors there are not", func(f *front) error {
		for i, sector := range []uint64{2047, 2048, 1<<64 - 1, 1<<63 - 1, 1 << 55} { // of 1 MiB; a page has 8
			if status, err := f.request(uint32(i), blkWrite, sector); err != nil || status != -1 {
				return fmt.Errorf("sector %d: status %d, %v", sector, status, err)
			}
		}
		return nil
	}, false},
	{"10000 requests", func(f *front) error { return f.requests(0, 10_016, blkSlots) }, false},
	{"10000 events", func(f *front) error {
		for range 10000 {
			if err := f.notify(); err != nil {
				return err
			}
		}
		return nil
	}, false},
	{"states in any order", func(f *front) error {
		for range 300 {
			if err := f.set("state", strconv.Itoa(rand.IntN(12))); err != nil {
				return err
			}
		}
		return nil
	}, false},
	{"its own nodes removed", func(f *front) error {
		_, err := f.store.ask(xsRm, 0, f.dir, "")
		return err
	}, true},
}

// request sends request i and returns its status.
func (f *front) request(i uint32, op byte, sector uint64) (int16, error) {
	f.put(i, op, 1, sector, f.page())
	if err := f.push(i + 1); err != nil {
		return 0, err
	}
	if err := f.answered(i + 1); err != nil {
		return 0, err
	}
	return int16(binary.LittleEndian.Uint16(f.mem[ringSlots+int(i%blkSlots)*blkSlot+10:])), nil
}

// requests sends n good ones from number first on, so many at a time.
func (f *front) requests(first, n, atOnce uint32) error {
	for i := first; i != first+n; i += atOnce {
		for k := range atOnce {
			f.put(i+k, blkRead, 1, uint64(i+k)%2000, f.page())
		}
		if err := f.push(i + atOnce); err != nil {
			return err
		}
		if err := f.answered(i + atOnce); err != nil {
			return err
		}
	}
	return nil
}

// answered waits for the answers up to prod.
func (f *front) answered(prod uint32) error {
	for n := 0; f.word(ringRspProd).Load() != prod; n++ {
		if n&0xffff == 0xffff {
			if s, err := f.state(); err != nil || s != stateConnected {
				return fmt.Errorf("answers up to %d of %d; the backend is in state %d, %v", f.word(ringRspProd).Load(), prod, s, err)
			}
		}
	}
	return nil
}

// blk is the block protocol.
var blk = protocol{"vbd", vbd, func(f *front, wrong func(*front) error) error {
	f.word(ringReqEvent).Store(1)
	f.word(ringRspEvent).Store(1)
	return f.connect(wrong, [][2]string{{"ring-ref", strconv.Itoa(int(f.refs[0]))}, {"event-channel", strconv.Itoa(int(f.port))}, {"protocol", "x86_64-abi"}})
}}

// connect writes nodes, what is wrong of them, and the state.
func (f *front) connect(wrong func(f *front) error, nodes [][2]string) error {
	for _, n := range nodes {
		if err := f.set(n[0], n[1]); err != nil {
			return err
		}
	}
	if wrong != nil {
		if err := wrong(f); err != nil {
			return err
		}
	}
	return f.set("state", "3")
}

// vbd is the number of xvda and the disks after it (xen-vbd-interface(7)).
func vbd(n int) int {
	if n < 16 {
		return 202<<8 | n<<4
	}
	return 1<<28 | n<<8
}

// fronts does all breaches, each with a device of its own: disks of 1 MiB from xvda on, and
// interfaces from 0 on. It says what a regression waits for in lines that begin with FRONT.
// Then it floods the next disk and the next interface for ever.
func fronts() error {
	fd, err := device("xenbus")
	if err != nil {
		return err
	}
	s := &store{fd: fd}
	for _, p := range []struct {
		protocol
		nodes, breaches []breach
	}{{blk, blkNodes, blkBreaches}, {netif, netNodes, netBreaches}} {
		for i, b := range append(p.nodes, p.breaches...) {
			if err := b.with(s, &p.protocol, i, i >= len(p.nodes)); err != nil {
				return fmt.Errorf("%s: %s: %w", p.kind, b.name, err)
			}
			fmt.Println("FRONT did", p.kind, b.name)
		}
	}
	disk, err := begin(s, &blk, len(blkNodes)+len(blkBreaches))
	if err != nil {
		return err
	}
	net, err := begin(s, &netif, len(netNodes)+len(netBreaches))
	if err != nil {
		return err
	}
	fmt.Println("FRONT floods")
	for i := uint32(0); ; i += blkSlots { // in turns: there is one CPU
		if err := disk.requests(i, blkSlots, blkSlots); err != nil {
			return err
		}
		if err := net.frames(i, blkSlots); err != nil {
			return err
		}
	}
}

// begin makes a frontend that is connected.
func begin(s *store, p *protocol, n int) (*front, error) {
	f, err := newFront(s, p.kind, p.number(n), 3)
	if err != nil {
		return nil, err
	}
	if err := f.await(stateInitWait); err != nil {
		return nil, err
	}
	if err := p.connect(f, nil); err != nil {
		return nil, err
	}
	return f, f.await(stateConnected)
}

// with does the breach with the n-th device: before it connects, or after.
func (b *breach) with(s *store, p *protocol, n int, connects bool) error {
	if !connects {
		f, err := newFront(s, p.kind, p.number(n), 3)
		if err != nil {
			return err
		}
		if err := f.await(stateInitWait); err != nil {
			return err
		}
		if err := p.connect(f, b.do); err != nil {
			return err
		}
		return f.await(stateClosed)
	}
	f, err := begin(s, p, n)
	if err != nil {
		return err
	}
	if err := b.do(f); err != nil || !b.closes {
		return err
	}
	return f.await(stateClosed)
}
