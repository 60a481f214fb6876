package blkback_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"nidus/drivers/backend"
	"nidus/drivers/blkback"
	"nidus/drivers/block"
	"nidus/drivers/block/ram"
	"nidus/kernel/domain"
	"nidus/kernel/domain/domaintest"
	"nidus/kernel/xenstore"
	"nidus/mm"
)

var le = binary.LittleEndian

// guest is a frontend, of a domain of the real packages.
type guest struct {
	t     *testing.T
	m     *domaintest.Machine
	d     *domain.Domain
	store *xenstore.Conn // as the guest
	table mm.Page        // of grants
	disk  *ram.Disk
	dev   *backend.Device

	*journal

	abi  string
	ring []mm.Page
	size uint32
	port uint32
	prod uint32
	cons uint32
}

// journal is what the backend logged.
type journal struct {
	mu  sync.Mutex
	log []string
}

// Places of the guest's memory, in frames. Grant reference n gives frame n.
const (
	firstRing = 16
	firstData = 32
	pages     = 256
)

func newGuest(t *testing.T, cfg ram.Config) *guest {
	g := &guest{t: t, m: domaintest.New(t, 4096), abi: "x86_64-abi", journal: &journal{}}
	t.Cleanup(func() { g.m.CheckFree(t) }) // after the domain is destroyed
	g.d = g.m.Domain(t, domaintest.Options{Pages: pages})
	cfg.Memory = g.m.Host.Memory
	var err error
	if g.disk, err = ram.New(cfg); err != nil {
		t.Fatal(err)
	}
	g.store = g.m.Host.Store.Open(g.d.ID)
	mfn, err := g.d.Grants.FrameForIndex(0)
	if err != nil {
		t.Fatal(err)
	}
	g.table = g.m.Host.Memory.Page(mfn)
	for ref := firstRing; ref < pages; ref++ {
		g.grant(ref, 0, uint32(ref), 0)
	}
	return g
}

// grant fills entry ref: grant_entry_v1.
func (g *guest) grant(ref int, dom uint16, frame uint32, flags uint16) {
	g.table.Store64(ref*8, uint64(frame)<<32|uint64(dom)<<16|uint64(flags|1))
}

func (g *guest) page(gfn int) mm.Page {
	m, err := g.d.Space.Hold(mm.GFN(gfn), true)
	if err != nil {
		g.t.Fatal(err)
	}
	g.d.Space.Drop(m)
	return g.d.Space.Page(m)
}

// begin starts the backend.
func (g *guest) begin(dev block.Device, persistent bool) {
	log := func(f string, a ...any) {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.log = append(g.log, fmt.Sprintf(f, a...))
	}
	gb := &backend.Guest{ID: g.d.ID, Grants: g.d.Grants, Space: g.d.Space, Local: g.m.Host.Dom0}
	var err error
	if g.dev, err = backend.New(backend.Config{Guest: gb, Store: g.m.Host.Store, Kind: "vbd", ID: 51712, Log: log,
		Driver: &blkback.Disk{Guest: gb, Device: dev, Persistent: persistent, Log: log}}); err != nil {
		g.t.Fatal(err)
	}
	g.d.OnDestroy(g.end)
}

func (g *guest) end() {
	g.dev.Close()
	g.disk.Close()
}

func (g *guest) lines() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.log
}

const front = "device/vbd/51712/"

func (g *guest) set(name, value string) {
	if err := g.store.Write(front+name, value); err != nil {
		g.t.Fatal(err)
	}
}

// await waits for a state of the backend.
func (g *guest) await(want backend.State) {
	g.t.Helper()
	w, err := g.store.Watch("/local/domain/0/backend/vbd/1/51712/state")
	if err != nil {
		g.t.Fatal(err)
	}
	defer w.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for g.dev.State() != want {
		if _, err := w.Next(ctx); err != nil {
			g.t.Fatalf("the backend is in state %d, not %d; log %q", g.dev.State(), want, g.lines())
		}
	}
}

// offer makes a ring of 1<<order pages and tells the backend of it.
func (g *guest) offer(order int) {
	g.ring, g.prod, g.cons = nil, 0, 0
	for i := range 1 << order {
		p := g.page(firstRing + i)
		p.Clear()
		g.ring = append(g.ring, p)
		g.set(fmt.Sprintf("ring-ref%d", i), strconv.Itoa(firstRing+i))
	}
	if order > 0 {
		g.set("ring-page-order", strconv.Itoa(order))
	} else {
		g.set("ring-ref", strconv.Itoa(firstRing))
	}
	g.size = map[int]uint32{0: 32, 1: 64, 2: 128, 3: 256}[order]
	var err error
	if g.port, err = g.d.Events.AllocUnbound(0); err != nil {
		g.t.Fatal(err)
	}
	g.set("event-channel", strconv.Itoa(int(g.port)))
	g.set("protocol", g.abi)
}

func (g *guest) connect(order int) {
	g.offer(order)
	g.set("state", "3")
	g.await(backend.Connected)
	g.set("state", "4")
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
			g.page(r.indirect).Write(0, list)
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
	if err := g.d.Events.Send(g.port); err != nil {
		g.t.Fatal(err)
	}
}

type rsp struct {
	id     uint64
	op     uint8
	status int16
}

// get waits for a response.
func (g *guest) get() rsp {
	g.t.Helper()
	for end := time.Now().Add(10 * time.Second); g.ring[0].Load32(8) == g.cons; runtime.Gosched() {
		if time.Now().After(end) {
			g.t.Fatalf("no response; the log is %s", strings.Join(g.lines(), "\n"))
		}
	}
	b := make([]byte, 12)
	g.bytes(g.cons, b, false)
	g.cons++
	return rsp{le.Uint64(b), b[8], int16(le.Uint16(b[10:]))}
}

// do does one request.
func (g *guest) do(r req) rsp {
	g.t.Helper()
	g.put(r)
	g.push()
	return g.get()
}
