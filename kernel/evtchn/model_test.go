package evtchn

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"nidus/kernel/xenabi"
	"nidus/mm"
)

// The model is the simplest thing that does what event_channel.h says: maps, no
// locks, no pages. The test drives it and the package with the same random
// operations, wrong ones too, and compares results, port status, and which
// events the guests take.
type mPort struct {
	status, vcpu uint32
	peerDom      mm.DomID
	peerPort     uint32
	virq         uint32
	pending      bool
	masked       bool
}

type mDomain struct {
	ports map[uint32]*mPort
	masks map[uint32]bool // mask bits outlive ports
	max   int
}

type model map[mm.DomID]*mDomain

func (m model) raise(d mm.DomID, n uint32) { m[d].ports[n].pending = true }

// taken returns what domain d's guest takes now, and takes it.
func (m model) taken(d mm.DomID) (got []uint32) {
	for n, p := range m[d].ports {
		if p.pending && !m[d].masks[n] {
			p.pending = false
			got = append(got, n)
		}
	}
	slices.Sort(got)
	return got
}

func (m model) close(d mm.DomID, n uint32) error {
	p := m[d].ports[n]
	if p == nil {
		return xenabi.EINVAL
	}
	if p.status == xenabi.EvtchnStatInterdomain {
		r := m[p.peerDom].ports[p.peerPort]
		r.status, r.peerPort = xenabi.EvtchnStatUnbound, 0
	}
	delete(m[d].ports, n)
	return nil
}

func (m model) send(d mm.DomID, n uint32) error {
	p := m[d].ports[n]
	if p == nil {
		return xenabi.EINVAL
	}
	switch p.status {
	case xenabi.EvtchnStatInterdomain:
		m.raise(p.peerDom, p.peerPort)
	case xenabi.EvtchnStatIPI:
		m.raise(d, n)
	case xenabi.EvtchnStatUnbound:
	default:
		return xenabi.EINVAL
	}
	return nil
}

func (m model) findVIRQ(d mm.DomID, virq, vcpu uint32) uint32 {
	for n, p := range m[d].ports {
		if p.status == xenabi.EvtchnStatVIRQ && p.virq == virq && (xenabi.VIRQIsGlobal(virq) || p.vcpu == vcpu) {
			return n
		}
	}
	return 0
}

type world struct {
	t      *testing.T
	r      *rand.Rand
	hub    Hub
	m      model
	guests map[mm.DomID]*guest
	fifo   bool
	ids    []mm.DomID
	full   bool // before the step its domain had no free port
}

func (w *world) create(id mm.DomID) {
	const quota = 20
	w.guests[id] = newGuest(w.t, &w.hub, id, func(c *Config) { c.MaxPorts = quota })
	w.m[id] = &mDomain{ports: map[uint32]*mPort{}, masks: map[uint32]bool{}, max: quota}
	if w.fifo {
		w.guests[id].useFIFO(1)
	}
}

// port returns mostly a port that exists, sometimes any number.
func (w *world) port(d mm.DomID) uint32 {
	if w.r.IntN(8) == 0 {
		return []uint32{0, 21, 63, 64, 5000, 1 << 17, ^uint32(0)}[w.r.IntN(7)]
	}
	return 1 + uint32(w.r.IntN(20))
}

func (w *world) vcpu() uint32 {
	if w.r.IntN(10) == 0 {
		return []uint32{testVCPUs, 1 << 31, ^uint32(0)}[w.r.IntN(3)]
	}
	return uint32(w.r.IntN(testVCPUs))
}

// opened checks what an operation that opens a port returned, and adds the port
// to the model.
func (w *world) opened(what string, d mm.DomID, n uint32, err, want error, p mPort) bool {
	w.t.Helper()
	md := w.m[d]
	if want == nil && w.full {
		want = xenabi.ENOSPC
	}
	if err != want {
		w.t.Fatalf("%s in %d: %v, want %v", what, d, err, want)
	}
	if err != nil {
		return false
	}
	if n == 0 || n > uint32(md.max) || md.ports[n] != nil {
		w.t.Fatalf("%s in %d: port %d is not free", what, d, n)
	}
	md.ports[n] = &p
	return true
}

// room tells whether a domain has a free port; what the guest hasn't taken off its list yet is none.
func (w *world) room(d mm.DomID) bool {
	for n := 1; n <= w.m[d].max; n++ {
		g := w.guests[d]
		if w.m[d].ports[uint32(n)] == nil && (!w.fifo || g.words[0].Load32(n*4)&fifoLinked == 0) {
			return true
		}
	}
	return false
}

func (w *world) step() string {
	id := w.ids[w.r.IntN(len(w.ids))]
	other := w.ids[w.r.IntN(len(w.ids))]
	g, d, m := w.guests[id], w.guests[id].d, w.m
	w.full = !w.room(id)
	switch op := w.r.IntN(13); op {
	case 0:
		n, err := d.AllocUnbound(other)
		w.opened("alloc_unbound", id, n, err, nil, mPort{status: xenabi.EvtchnStatUnbound, peerDom: other})
		return fmt.Sprintf("alloc_unbound in %d for %d = %d", id, other, n)
	case 1, 2:
		rn := w.port(other)
		n, err := d.BindInterdomain(other, rn)
		rp := m[other].ports[rn]
		var want error
		if rp == nil || rp.status != xenabi.EvtchnStatUnbound || rp.peerDom != id {
			want = xenabi.EINVAL
			// Which error comes first is not fixed.
			if err == xenabi.ENOSPC {
				want = err
			}
		}
		if w.opened("bind_interdomain", id, n, err, want,
			mPort{status: xenabi.EvtchnStatInterdomain, peerDom: other, peerPort: rn}) {
			rp.status, rp.peerPort = xenabi.EvtchnStatInterdomain, n
			m.raise(id, n)
		}
		return fmt.Sprintf("bind_interdomain in %d to %d:%d = %d", id, other, rn, n)
	case 3:
		v, q := w.vcpu(), uint32(w.r.IntN(xenabi.NrVIRQs+1))
		n, err := d.BindVIRQ(q, v)
		var want error
		switch {
		case q >= xenabi.NrVIRQs, xenabi.VIRQIsGlobal(q) && v != 0:
			want = xenabi.EINVAL
		case v >= testVCPUs:
			want = xenabi.ENOENT
		case m.findVIRQ(id, q, v) != 0:
			want = xenabi.EEXIST
		}
		w.opened("bind_virq", id, n, err, want, mPort{status: xenabi.EvtchnStatVIRQ, virq: q, vcpu: v})
		return fmt.Sprintf("bind_virq %d in %d = %d", q, id, n)
	case 4:
		v := w.vcpu()
		n, err := d.BindIPI(v)
		var want error
		if v >= testVCPUs {
			want = xenabi.ENOENT
		}
		w.opened("bind_ipi", id, n, err, want, mPort{status: xenabi.EvtchnStatIPI, vcpu: v})
		return fmt.Sprintf("bind_ipi in %d = %d", id, n)
	case 5:
		n := w.port(id)
		w.same("close", d.Close(n), m.close(id, n))
		return fmt.Sprintf("close %d:%d", id, n)
	case 6, 7, 8:
		n := w.port(id)
		if v := w.vcpu(); w.quick(g, n, v) {
			return fmt.Sprintf("quick %d:%d on %d", id, n, v)
		}
		w.same("send", d.Send(n), m.send(id, n))
		return fmt.Sprintf("send %d:%d", id, n)
	case 9:
		v, q := w.r.IntN(testVCPUs), uint32(w.r.IntN(xenabi.NrVIRQs))
		d.RaiseVIRQ(v, q)
		if n := m.findVIRQ(id, q, uint32(v)); n != 0 {
			m.raise(id, n)
		}
		return fmt.Sprintf("raise virq %d in %d", q, id)
	case 10:
		n, v := w.port(id), w.vcpu()
		p := m[id].ports[n]
		var want error
		switch {
		case v >= testVCPUs:
			want = xenabi.ENOENT
		case p == nil || p.status == xenabi.EvtchnStatIPI ||
			p.status == xenabi.EvtchnStatVIRQ && !xenabi.VIRQIsGlobal(p.virq):
			want = xenabi.EINVAL
		default:
			p.vcpu = v
		}
		w.same("bind_vcpu", d.BindVCPU(n, v), want)
		if w.fifo {
			d.SetPriority(n, uint32(w.r.IntN(17)))
		}
		return fmt.Sprintf("bind_vcpu %d:%d to %d", id, n, v)
	case 11:
		n := w.port(id)
		if n == 0 || n > 20 {
			w.same("unmask", d.Unmask(n), map[bool]error{true: xenabi.EINVAL}[n == 0 || n > 20])
			return "unmask of nothing"
		}
		if w.r.IntN(2) == 0 {
			g.mask(n)
			m[id].masks[n] = true
			return fmt.Sprintf("mask %d:%d", id, n)
		}
		w.same("unmask", d.Unmask(n), nil)
		if m[id].ports[n] != nil {
			delete(m[id].masks, n)
		}
		return fmt.Sprintf("unmask %d:%d", id, n)
	}
	switch w.r.IntN(30) {
	case 0: // a domain ends, and another one gets its number
		for n := range m[id].ports {
			if m[id].ports[n] != nil {
				m.close(id, n)
			}
		}
		d.Destroy()
		if n := g.mem.pinned(); n != 0 || d.PortsInUse() != 0 {
			w.t.Fatalf("domain %d left %d pages and %d ports", id, n, d.PortsInUse())
		}
		w.create(id)
		return fmt.Sprintf("destroy %d", id)
	case 1:
		if w.fifo {
			return "nothing"
		}
		for n := range m[id].ports {
			m.close(id, n)
		}
		w.same("reset", d.Reset(), nil)
		return fmt.Sprintf("reset %d", id)
	}
	return "nothing"
}

// quick sends by Quick as vcpu v, which has to do what raises a port of v's own, and nothing else.
func (w *world) quick(g *guest, n, v uint32) bool {
	w.t.Helper()
	id := g.d.ID()
	p, want := w.m[id].ports[n], false
	if p != nil && p.status == xenabi.EvtchnStatInterdomain && p.peerDom == id {
		p = w.m[id].ports[p.peerPort]
		want = p.vcpu == v
	} else if p != nil && p.status == xenabi.EvtchnStatIPI {
		want = p.vcpu == v
	}
	done, poll := g.d.Quick(n, int32(v))
	if done != want || poll != 0 {
		w.t.Fatalf("quick %d:%d on %d: %v, %d; want %v", id, n, v, done, poll, want)
	}
	if done {
		w.same("quick", nil, w.m.send(id, n))
		g.calls[v].Add(1) // it looks for itself
	}
	return done
}

func (w *world) same(what string, got, want error) {
	w.t.Helper()
	if got != want {
		w.t.Fatalf("%s: %v, want %v", what, got, want)
	}
}

func (w *world) check(log []string) {
	w.t.Helper()
	for id, g := range w.guests {
		want := w.m.taken(id)
		if got := g.takeAll(); !slices.Equal(got, want) {
			w.t.Fatalf("domain %d took %v, want %v\nafter %v", id, got, want, log)
		}
		if got := g.d.PortsInUse(); got != len(w.m[id].ports) {
			w.t.Fatalf("domain %d has %d ports, want %d", id, got, len(w.m[id].ports))
		}
		for n := uint32(1); n <= 20; n++ {
			s, err := g.d.Status(n)
			var want Status
			if p := w.m[id].ports[n]; p != nil {
				want = Status{Status: p.status, VCPU: p.vcpu, PeerDom: p.peerDom, PeerPort: p.peerPort, VIRQ: p.virq}
			}
			if err != nil || s != want {
				w.t.Fatalf("status of %d:%d: %+v, %v, want %+v\nafter %v", id, n, s, err, want, log)
			}
		}
	}
}

func TestModel(t *testing.T) {
	for _, fifo := range []bool{false, true} {
		for seed := range uint64(30) {
			t.Run(fmt.Sprintf("fifo=%v/%d", fifo, seed), func(t *testing.T) {
				w := &world{t: t, r: rand.New(rand.NewPCG(seed, 1)), m: model{}, guests: map[mm.DomID]*guest{},
					fifo: fifo, ids: []mm.DomID{1, 2, 3}}
				for _, id := range w.ids {
					w.create(id)
				}
				var log []string
				for range 2000 {
					log = append(log, w.step())
					if len(log) > 20 {
						log = log[1:]
					}
					if w.r.IntN(4) == 0 { // let some events gather
						w.check(log)
					}
				}
				w.check(log)
				for _, g := range w.guests {
					g.d.Destroy()
					if g.mem.pinned() != 0 || g.d.PortsInUse() != 0 {
						t.Error("something is left")
					}
				}
			})
		}
	}
}

// FuzzEventChannelOp feeds hypercalls of two guests with any bytes: 1 byte of
// domain and operation, 24 of argument. Whatever comes, nothing panics, the
// peers stay symmetric, and everything is given back at the end.
func FuzzEventChannelOp(f *testing.F) {
	op := func(dom, cmd byte, args ...uint32) []byte {
		b := make([]byte, 25)
		b[0] = dom<<7 | cmd
		for i, a := range args {
			binary.LittleEndian.PutUint32(b[1+i*4:], a)
		}
		return b
	}
	const self = uint32(mm.DomIDSelf)
	f.Add(slices.Concat(op(0, xenabi.EvtchnOpAllocUnbound, self|1<<16), op(0, xenabi.EvtchnOpBindInterdomain, self, 1),
		op(0, xenabi.EvtchnOpSend, 1), op(0, xenabi.EvtchnOpStatus, self, 1), op(0, xenabi.EvtchnOpClose, 1)))
	f.Add(slices.Concat(op(0, xenabi.EvtchnOpAllocUnbound, self|2<<16), op(1, xenabi.EvtchnOpBindInterdomain, 1, 1),
		op(1, xenabi.EvtchnOpSend, 1), op(0, xenabi.EvtchnOpReset, self)))
	f.Add(slices.Concat(op(0, xenabi.EvtchnOpInitControl, 3, 0, 8, 1), op(0, xenabi.EvtchnOpExpandArray, 4),
		op(0, xenabi.EvtchnOpBindIPI, 1), op(0, xenabi.EvtchnOpSetPriority, 1, 3), op(0, xenabi.EvtchnOpSend, 1),
		op(0, xenabi.EvtchnOpBindVIRQ, 0, 2), op(0, xenabi.EvtchnOpUnmask, 1), op(0, xenabi.EvtchnOpBindVCPU, 1, 2)))
	f.Fuzz(func(t *testing.T, b []byte) {
		var h Hub
		gs := [2]*guest{newGuest(t, &h, 1, nil), newGuest(t, &h, 2, func(c *Config) { c.Privileged = true })}
		for n := 0; len(b) > 0 && n < 200; n++ {
			g, cmd := gs[b[0]>>7], uint32(b[0]&0x1f)
			arg := make([]byte, min(len(b)-1, MaxArgSize))
			b = b[1+copy(arg, b[1:]):]
			g.d.Hypercall(cmd, arg)
			if len(arg) > 0 { // the guest scribbles over what it shares
				g.mem.pages[arg[0]%64].Or32(int(arg[0])*4, uint32(cmd)<<27|uint32(arg[0]))
			}
		}
		for i, g := range gs {
			for n := uint32(1); n <= DefaultMaxPorts; n++ {
				p := g.d.lookup(n)
				if p != nil && p.status == xenabi.EvtchnStatInterdomain {
					if q := p.peer.lookup(p.peerPort); q.status != p.status || q.peer != g.d || q.peerPort != n {
						t.Fatalf("domain %d port %d: peer does not know it", i+1, n)
					}
				}
			}
		}
		for _, g := range gs {
			g.d.Destroy()
			if g.mem.pinned() != 0 || g.d.PortsInUse() != 0 {
				t.Fatal("something is left")
			}
		}
	})
}
