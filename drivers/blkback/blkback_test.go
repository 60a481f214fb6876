package blkback_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand"
	"strings"
	"testing"
	"time"

	"nidus/drivers/backend"
	"nidus/drivers/block"
	"nidus/drivers/block/ram"
	"nidus/mm"
)

// limited is a device that takes small requests, has a cache to flush, and fails writes
// of its last sector.
type limited struct {
	*ram.Disk
	flushes int
}

func (l *limited) Info() block.Info {
	i := l.Disk.Info()
	i.MaxSegments, i.MaxBytes, i.CanFlush, i.Prompt = 3, 3*mm.PageSize, true, false
	return i
}

var errMedium = errors.New("the medium is worn")

func (l *limited) Submit(r *block.Request) {
	info := l.Info()
	if _, err := info.Check(r); err != nil {
		r.Done(r, err)
		return
	}
	switch {
	case r.Op == block.Flush:
		l.flushes++
		r.Done(r, nil)
	case r.Op == block.Write && r.Sector == info.Sectors-1:
		r.Done(r, errMedium)
	default:
		l.Disk.Submit(r)
	}
}

// TestModel: random requests, one at a time and many at once, do to the disk and the
// guest's pages what they do to a slice of bytes.
func TestModel(t *testing.T) {
	for _, c := range []struct {
		abi        string
		order      int
		persistent bool
		small      bool
	}{
		{"x86_64-abi", 0, false, false}, {"x86_32-abi", 0, false, true}, {"x86_64-abi", 3, true, false}, {"x86_32-abi", 2, true, true}, {"", 1, false, true},
	} {
		t.Run(fmt.Sprintf("%+v", c), func(t *testing.T) {
			const sectors = 2048
			rnd := rand.New(rand.NewSource(7))
			model := make([]byte, sectors*512)
			rnd.Read(model)
			g := newGuest(t, ram.Config{Base: bytes.Clone(model)})
			g.abi = c.abi
			dev := &limited{Disk: g.disk}
			if c.small {
				g.begin(dev, c.persistent)
			} else {
				g.begin(g.disk, c.persistent)
			}
			if c.persistent {
				g.Set("feature-persistent", "1")
			}
			g.connect(c.order)
			for i := range 1000 {
				r := req{op: uint8(rnd.Intn(2)), id: rnd.Uint64()}
				n := 1 + rnd.Intn(11)
				if rnd.Intn(3) == 0 {
					r.indOp, r.op, r.indirect = r.op, 6, firstData
					n = 1 + rnd.Intn(128)
				}
				all := 0
				for k := range n {
					first := rnd.Intn(8)
					last := first + rnd.Intn(8-first)
					r.segs = append(r.segs, seg{firstData + 1 + k, uint8(first), uint8(last)})
					all += last - first + 1
				}
				r.sector = uint64(rnd.Intn(sectors - all))
				write := r.op == 1 || r.op == 6 && r.indOp == 1
				if r.op == 1 && rnd.Intn(8) == 0 {
					r.op = 2 // a barrier is a write
				}
				var data []byte
				for _, s := range r.segs {
					b := make([]byte, (int(s.last)-int(s.first)+1)*512)
					rnd.Read(b)
					g.Page(s.ref).Write(int(s.first)*512, b)
					data = append(data, b...)
				}
				op := r.op
				if op == 6 {
					op = r.indOp
				}
				if a := g.do(r); a != (rsp{r.id, op, 0}) {
					t.Fatalf("request %d, %+v: %+v; log %q", i, r, a, g.Lines())
				}
				at := model[r.sector*512:][:all*512]
				if write {
					copy(at, data)
					continue
				}
				for _, s := range r.segs {
					b := make([]byte, (int(s.last)-int(s.first)+1)*512)
					g.Page(s.ref).Read(int(s.first)*512, b)
					if !bytes.Equal(b, at[:len(b)]) {
						t.Fatalf("request %d, %+v: page %d is not the disk's", i, r, s.ref)
					}
					at = at[len(b):]
				}
			}
			if c.small && dev.flushes == 0 {
				t.Error("no barrier flushed")
			}
			// A ring full of them, twice.
			for range 2 {
				seen := map[uint64]bool{}
				for i := range g.size {
					g.put(req{op: 0, id: uint64(i), sector: uint64(i), segs: []seg{{firstData + int(i)%64, 0, 0}}})
				}
				g.push()
				for range g.size {
					if a := g.get(); a.status != 0 || a.op != 0 || seen[a.id] {
						t.Fatalf("%+v", a)
					} else {
						seen[a.id] = true
					}
				}
			}
			if len(g.Lines()) != 0 {
				t.Errorf("log: %q", g.Lines())
			}
			if n := g.D.Grants.Pins(); !c.persistent && n != 1<<c.order {
				t.Errorf("%d grants are in use", n)
			}
		})
	}
}

// TestStatus: what the device refuses or fails is an answer, and the log has a medium's
// error once.
func TestStatus(t *testing.T) {
	g := newGuest(t, ram.Config{Bytes: 1 << 20})
	g.begin(&limited{Disk: g.disk}, false)
	g.connect(0)
	one := []seg{{firstData, 0, 0}}
	for _, c := range []struct {
		r    req
		want int16
	}{
		{req{op: 1, sector: 1, segs: one}, 0},
		{req{op: 1, sector: 2048, segs: one}, -1},
		{req{op: 0, sector: 1<<64 - 1, segs: one}, -1},
		{req{op: 1, sector: 2047, segs: one}, -1},
		{req{op: 1, sector: 2047, segs: one}, -1},
		{req{op: 3}, 0},
		{req{op: 2}, 0},
		{req{op: 4}, -2},
		{req{op: 255}, -2},
		{req{op: 5, sector: 0, sectors: 2048}, 0},
		{req{op: 5, sector: 1, sectors: 2048}, -1},
		{req{op: 5, sector: 1, sectors: 1<<64 - 1}, -1},
		{req{op: 5}, -1},
	} {
		if a := g.do(c.r); a.status != c.want || a.op != c.r.op {
			t.Errorf("%+v: %+v, want %d", c.r, a, c.want)
		}
	}
	if l := g.Lines(); len(l) != 1 || !strings.Contains(l[0], errMedium.Error()) {
		t.Errorf("log: %q", l)
	}
	if n := g.disk.Used(); n != 0 {
		t.Errorf("%d frames after all was discarded", n)
	}
}

// TestHostile: each breach of the protocol closes the device, with one line, and what it
// held is given back.
func TestHostile(t *testing.T) {
	ok := []seg{{firstData, 0, 7}}
	with := func(r req) func(*guest) { return func(g *guest) { g.put(r); g.push() } }
	for name, c := range map[string]struct {
		do   func(g *guest)
		want string
	}{
		"index ahead": {func(g *guest) { g.prod = 33; g.push() }, "requests up to 33"},
		"index far":   {func(g *guest) { g.prod = 1 << 31; g.push() }, "requests up to"},
		"index back":  {func(g *guest) { g.do(req{op: 0, segs: ok}); g.prod = 0; g.push() }, "requests up to 0"},
		"no segment":  {with(req{op: 0}), "0 segments"},
		"12 segments": {with(req{op: 1, nr: 12, segs: ok}), "12 segments"},
		"beyond page": {with(req{op: 0, segs: []seg{{firstData, 0, 8}}}), "sectors 0 to 8"},
		"backwards":   {with(req{op: 0, segs: []seg{{firstData, 3, 2}}}), "sectors 3 to 2"},
		"no grant":    {with(req{op: 0, segs: []seg{{firstData, 0, 7}, {400, 0, 7}}}), "segment 1: grant 400"},
		"far grant":   {with(req{op: 0, segs: []seg{{1 << 30, 0, 7}}}), "grant 1073741824"},
		"another's":   {func(g *guest) { g.Grant(firstData, 5, firstData, 0); with(req{op: 0, segs: ok})(g) }, "grant 32"},
		"read-only":   {func(g *guest) { g.Grant(firstData, 0, firstData, 4); with(req{op: 0, segs: ok})(g) }, "grant 32"},
		"no memory":   {func(g *guest) { g.Grant(firstData, 0, 1<<20, 0); with(req{op: 1, segs: ok})(g) }, "no memory"},
		"flush":       {with(req{op: 3, segs: ok}), "a flush with 1"},
		"indirect op": {with(req{op: 6, indOp: 6, indirect: 40, segs: ok}), "indirect operation 6"},
		"indirect 0":  {with(req{op: 6, indirect: 40}), "of 0 segments"},
		"indirect n":  {with(req{op: 6, nr: 129, indirect: 40}), "of 129 segments"},
		"indirect":    {with(req{op: 6, indirect: 500, segs: ok}), "grant 500"},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGuest(t, ram.Config{Bytes: 1 << 20})
			g.begin(g.disk, false)
			g.connect(0)
			c.do(g)
			g.Await(backend.Closed)
			if l := g.Lines(); len(l) != 1 || !strings.Contains(l[0], c.want) {
				t.Errorf("log %q, want one line with %q", l, c.want)
			}
			if n, p := g.D.Grants.Pins(), g.M.Host.Dom0.PortsInUse(); n != 0 || p != 0 {
				t.Errorf("%d grants and %d ports in use", n, p)
			}
			g.Set("state", "1") // it stays closed
			g.Set("state", "3")
			if s := g.Dev.State(); s != backend.Closed {
				t.Errorf("state %d", s)
			}
		})
	}
}

// TestBadNodes: what a frontend must not say when it connects.
func TestBadNodes(t *testing.T) {
	for _, c := range [][3]string{
		{"protocol", "mips-abi", "protocol"}, {"ring-page-order", "4", "ring-page-order"}, {"ring-page-order", "-1", "ring-page-order"},
		{"multi-queue-num-queues", "0", "queues"}, {"multi-queue-num-queues", "5", "queues"}, {"multi-queue-num-queues", "2", "queue-0/ring-ref0 is missing"},
		{"event-channel", "", "event-channel is missing"}, {"event-channel", "99", "event channel 99"}, {"event-channel", "x", "event-channel"},
		{"ring-ref", "400", "grant 400"}, {"ring-ref", strings.Repeat("1", 100), "100 bytes"}, {"feature-persistent", "2", "persistent"},
	} {
		t.Run(c[0]+"="+c[1], func(t *testing.T) {
			g := newGuest(t, ram.Config{Bytes: 1 << 20})
			g.begin(g.disk, false)
			g.offer(0)
			g.Set(c[0], c[1])
			g.Set("state", "3")
			g.Await(backend.Closed)
			if l := g.Lines(); len(l) != 1 || !strings.Contains(l[0], c[2]) {
				t.Errorf("log %q, want one line with %q", l, c[2])
			}
			if n, p := g.D.Grants.Pins(), g.M.Host.Dom0.PortsInUse(); n != 0 || p != 0 {
				t.Errorf("%d grants and %d ports in use", n, p)
			}
		})
	}
}

// TestQueues: two rings, with a page each, serve one disk.
func TestQueues(t *testing.T) {
	g := newGuest(t, ram.Config{Bytes: 1 << 20})
	g.begin(g.disk, false)
	g.Set("multi-queue-num-queues", "2")
	var qs []*guest
	for i := range 2 {
		q := *g
		page := q.Page(firstRing + i)
		page.Clear()
		q.ring, q.size = []mm.Page{page}, 32
		var err error
		if q.port, err = g.D.Events.AllocUnbound(0); err != nil {
			t.Fatal(err)
		}
		g.Set(fmt.Sprintf("queue-%d/ring-ref", i), fmt.Sprint(firstRing+i))
		g.Set(fmt.Sprintf("queue-%d/event-channel", i), fmt.Sprint(q.port))
		qs = append(qs, &q)
	}
	g.Set("state", "3")
	g.Await(backend.Connected)
	g.Page(firstData).Store32(0, 42)
	if a := qs[0].do(req{op: 1, sector: 9, segs: []seg{{firstData, 0, 0}}}); a.status != 0 {
		t.Error(a)
	}
	if a := qs[1].do(req{op: 0, sector: 9, segs: []seg{{firstData + 1, 1, 1}}}); a.status != 0 || g.Page(firstData+1).Load32(512) != 42 {
		t.Error(a)
	}
}

// TestLife: close and connect again, be destroyed in any state, be detached.
func TestLife(t *testing.T) {
	g := newGuest(t, ram.Config{Bytes: 1 << 20})
	g.begin(g.disk, false)
	for range 3 {
		g.connect(1)
		if a := g.do(req{op: 0, segs: []seg{{firstData, 0, 7}}}); a.status != 0 {
			t.Fatal(a)
		}
		g.Set("state", "5")
		g.Await(backend.Closing)
		g.Set("state", "6")
		g.Await(backend.Closed)
		if n, p := g.D.Grants.Pins(), g.M.Host.Dom0.PortsInUse(); n != 0 || p != 0 {
			t.Errorf("%d grants and %d ports in use", n, p)
		}
		g.Set("state", "1")
		g.Await(backend.InitWait)
	}
	g.connect(0)
	done := make(chan error, 1)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	go func() { done <- g.Dev.Detach(ctx) }()
	g.Await(backend.Closing)
	g.Set("state", "6")
	if err := <-done; err != nil {
		t.Error(err)
	}
	if len(g.Lines()) != 0 {
		t.Errorf("log: %q", g.Lines())
	}
}

// TestRevoked: a grant that is taken back while it is in use keeps its frame the guest's,
// which can't give it away meanwhile.
func TestRevoked(t *testing.T) {
	g := newGuest(t, ram.Config{Bytes: 1 << 20})
	hold := &slow{Disk: g.disk, got: make(chan *block.Request, 1)}
	g.begin(hold, false)
	g.connect(0)
	g.put(req{op: 0, id: 3, segs: []seg{{firstData, 0, 7}}})
	g.push()
	r := <-hold.got
	g.Revoke(firstData)
	if _, err := g.D.Space.DecreaseReservation([]mm.GFN{firstData}, 0); !errors.Is(err, mm.ErrBusy) {
		t.Errorf("the frame is given away in mid-transfer: %v", err)
	}
	g.disk.Submit(r)
	if a := g.get(); a != (rsp{3, 0, 0}) {
		t.Error(a)
	}
	if _, err := g.D.Space.DecreaseReservation([]mm.GFN{firstData}, 0); err != nil {
		t.Error(err)
	}
}

// slow is a device whose requests the test ends.
type slow struct {
	*ram.Disk
	got chan *block.Request
}

func (s *slow) Submit(r *block.Request) { s.got <- r }
