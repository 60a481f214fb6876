package blkback_test

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"nidus/drivers/backend"
	"nidus/drivers/backend/backendtest"
	"nidus/drivers/blkback"
	"nidus/drivers/block"
	"nidus/drivers/block/ram"
	"nidus/mm"
)

var le = binary.LittleEndian

// guest is a frontend, of a domain of the real packages.
type guest struct {
	*backendtest.Guest
	disk *ram.Disk

	linger time.Duration // blkback.Disk's

	abi  string
	ring []mm.Page
	size uint32
	port uint32
	prod uint32
	cons uint32
}

// Places of the guest's memory, in frames. Grant reference n gives frame n.
const (
	firstRing = 16
	firstData = 32
	pages     = 256
)

func newGuest(t *testing.T, cfg ram.Config) *guest {
	g := &guest{Guest: backendtest.New(t, "vbd", 51712, pages, firstRing), abi: "x86_64-abi"}
	cfg.Memory = g.M.Host.Memory
	var err error
	if g.disk, err = ram.New(cfg); err != nil {
		t.Fatal(err)
	}
	return g
}

// begin starts the backend.
func (g *guest) begin(dev block.Device, persistent bool) {
	gb := g.Backend()
	g.Start(gb, &blkback.Disk{Guest: gb, Device: dev, Persistent: persistent, Linger: g.linger, Log: g.Logf})
	g.D.OnDestroy(g.end)
}

func (g *guest) end() {
	g.Dev.Close()
	g.disk.Close()
}

// offer makes a ring of 1<<order pages and tells the backend of it.
func (g *guest) offer(order int) {
	g.ring, g.prod, g.cons = nil, 0, 0
	for i := range 1 << order {
		p := g.Page(firstRing + i)
		p.Clear()
		g.ring = append(g.ring, p)
		g.Set(fmt.Sprintf("ring-ref%d", i), strconv.Itoa(firstRing+i))
	}
	if order > 0 {
		g.Set("ring-page-order", strconv.Itoa(order))
	} else {
		g.Set("ring-ref", strconv.Itoa(firstRing))
	}
	g.size = map[int]uint32{0: 32, 1: 64, 2: 128, 3: 256}[order]
	var err error
	if g.port, err = g.D.Events.AllocUnbound(0); err != nil {
		g.T.Fatal(err)
	}
	g.Set("event-channel", strconv.Itoa(int(g.port)))
	g.Set("protocol", g.abi)
}

func (g *guest) connect(order int) {
	g.offer(order)
	g.Set("state", "3")
	g.Await(backend.Connected)
	g.Set("state", "4")
}

// slot is the size of one.
func (g *guest) slot() int {
	if g.abi == "x86_32-abi" {
		return 108
	}
	return 112
}

// bytes copies the ring's bytes in slot i: into it if write is set.
func (g *guest) bytes(i uint32, b []byte, write bool) {
	at := 64 + int(i&(g.size-1))*g.slot()
	for k := range b {
		if p := g.ring[(at+k)/mm.PageSize]; write {
			p.Store8((at+k)%mm.PageSize, b[k])
		} else {
			b[k] = p.Load8((at + k) % mm.PageSize)
		}
	}
}

// seg is a segment of a request.
type seg struct {
	ref         int
	first, last uint8
}

// req is a request as a frontend fills it in.
type req struct {
	op       uint8
	nr       int // instead of len(segs), if not 0
	id       uint64
	sector   uint64
	sectors  uint64 // discard
	segs     []seg
	indirect int // the reference of the page of segments; 0: direct
	indOp    uint8
}

func (g *guest) put(r req) {
	b := make([]byte, g.slot())
	pad := 0 // in front of id
	if g.abi != "x86_32-abi" {
		pad = 4
	}
	nr := r.nr
	if nr == 0 {
		nr = len(r.segs)
	}
	b[0], b[1] = r.op, uint8(nr)
	le.PutUint64(b[4+pad:], r.id)
	le.PutUint64(b[12+pad:], r.sector)
	at := b[20+pad:]
	switch {
	case r.indirect != 0:
		b[1] = r.indOp
		le.PutUint16(b[2:], uint16(nr))
		le.PutUint32(b[24+pad:], uint32(r.indirect))
		list := make([]byte, mm.PageSize)
		for i, s := range r.segs {
			le.PutUint32(list[8*i:], uint32(s.ref))
			list[8*i+4], list[8*i+5] = s.first, s.last
		}
		if r.indirect < pages {
			g.Page(r.indirect).Write(0, list)
		}
	case r.op == 5:
		b[1] = 0
		le.PutUint64(at, r.sectors)
	default:
		for i, s := range r.segs {
			le.PutUint32(at[8*i:], uint32(s.ref))
			at[8*i+4], at[8*i+5] = s.first, s.last
		}
	}
	g.bytes(g.prod, b, true)
	g.prod++
}

// push shows what was put and sends an event.
func (g *guest) push() {
	g.ring[0].Store32(0, g.prod)
	if err := g.D.Events.Send(g.port); err != nil {
		g.T.Fatal(err)
	}
}

type rsp struct {
	id     uint64
	op     uint8
	status int16
}

// get waits for a response.
func (g *guest) get() rsp {
	g.T.Helper()
	for end := time.Now().Add(10 * time.Second); g.ring[0].Load32(8) == g.cons; runtime.Gosched() {
		if time.Now().After(end) {
			g.T.Fatalf("no response; the log is %s", strings.Join(g.Lines(), "\n"))
		}
	}
	b := make([]byte, 12)
	g.bytes(g.cons, b, false)
	g.cons++
	return rsp{le.Uint64(b), b[8], int16(le.Uint16(b[10:]))}
}

// do does one request.
func (g *guest) do(r req) rsp {
	g.T.Helper()
	g.put(r)
	g.push()
	return g.get()
}
