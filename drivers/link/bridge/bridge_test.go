package bridge

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"nidus/drivers/link"
	"nidus/kernel/domain/domaintest"
	"nidus/mm"
)

// port is one whose frames a test sees.
type port struct {
	name    string
	mtu     int
	receive link.Receiver
	got     []string
	keep    bool
	kept    []*link.Frame
}

func (p *port) Info() link.Info {
	mtu := p.mtu
	if mtu == 0 {
		mtu = 1500
	}
	return link.Info{Name: p.name, MTU: mtu, Take: link.Offloads{Checksum: true, TCPv4: true, TCPv6: true, Gather: link.MaxSegments}}
}

func (p *port) Send(frames []*link.Frame) {
	for _, f := range frames {
		p.got = append(p.got, describe(f))
		if p.keep {
			p.kept = append(p.kept, f)
		} else {
			f.Done(f)
		}
	}
}

func (p *port) Receive(r link.Receiver)     { p.receive = r }
func (p *port) Up() (bool, <-chan struct{}) { return true, nil }
func (p *port) Stats() link.Stats           { return link.Stats{} }
func (p *port) Close() error                { return nil }
func (p *port) take() (out []string)        { out, p.got = p.got, nil; return out }
func (p *port) letGo()                      { link.Drop(p.kept); p.kept = nil }

// describe writes a frame as "7: data", or "data" if it has no tag.
func describe(f *link.Frame) string {
	h := f.Head
	if h[12] == 0x81 && h[13] == 0 {
		return fmt.Sprintf("%d: %s", int(h[14])<<8|int(h[15]), h[18:])
	}
	return string(h[14:])
}

// net is a bridge under test.
type net struct {
	t    *testing.T
	m    *domaintest.Machine
	b    *Bridge
	done int
}

func newNet(t *testing.T) *net {
	n := &net{t: t, m: domaintest.New(t, 1024)}
	n.b = New("br", n.m.Host.Memory)
	t.Cleanup(func() {
		for _, m := range *n.b.members.Load() {
			m.Leave()
		}
		n.m.CheckFree(t)
	})
	return n
}

func (n *net) join(name string, c Config) (*port, *Member) {
	n.t.Helper()
	p := &port{name: name}
	m, err := n.b.Join(p, c)
	if err != nil {
		n.t.Fatal(err)
	}
	return p, m
}

func mac(i byte) link.MAC { return link.MAC{2, 0, 0, 0, 0, i} }

// frame makes one; tag 0 is none.
func (n *net) frame(dst, src link.MAC, tag int, text string) *link.Frame {
	b := append(append([]byte{}, dst[:]...), src[:]...)
	if tag != 0 {
		b = append(b, 0x81, 0, byte(tag>>8), byte(tag))
	}
	b = append(append(b, 0x88, 0xb5), text...) // IEEE 802's for experiments
	return &link.Frame{Head: b, Done: func(*link.Frame) { n.done++ }}
}

func (n *net) send(p *port, dst, src link.MAC, tag int, text string) {
	p.receive([]*link.Frame{n.frame(dst, src, tag, text)})
}

// want checks what ports got since the last time: "name=what" for each that got something.
func (n *net) want(what string, ports []*port, want ...string) {
	n.t.Helper()
	var got []string
	for _, p := range ports {
		for _, s := range p.take() {
			got = append(got, p.name+"="+strings.ReplaceAll(s, "\x88\xb5", ""))
		}
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		n.t.Errorf("%s: %q, want %q", what, got, want)
	}
}

// TestLearning: a frame for somebody unknown goes to all others, one for somebody known to
// its port alone; an address moves, ages and is forgotten with its port.
func TestLearning(t *testing.T) {
	n := newNet(t)
	a, _ := n.join("a", Config{})
	b, mb := n.join("b", Config{})
	c, _ := n.join("c", Config{})
	all := []*port{a, b, c}
	n.send(a, mac(2), mac(1), 0, "1")
	n.want("unknown", all, "b=1", "c=1")
	n.send(b, mac(1), mac(2), 0, "2")
	n.want("known", all, "a=2")
	n.send(a, mac(2), mac(1), 0, "3")
	n.want("known now", all, "b=3")
	n.send(a, link.Broadcast, mac(1), 0, "4")
	n.want("broadcast", all, "b=4", "c=4")
	n.send(a, mac(1), mac(1), 0, "5")
	n.want("its own port", all)
	n.send(c, mac(9), mac(2), 0, "6")
	n.want("moves", all, "a=6", "b=6")
	n.send(a, mac(2), mac(1), 0, "7")
	n.want("has moved", all, "c=7")
	n.send(b, mac(9), mac(3), 0, "8")
	n.want("another one", all, "a=8", "c=8")
	mb.Leave()
	n.send(a, mac(3), mac(1), 0, "9")
	n.want("whose port is gone", all, "c=9")
	n.b.begin = n.b.begin.Add(-ageing - 2*time.Second)
	n.send(a, mac(2), mac(1), 0, "0")
	n.want("old", all, "c=0")
	for _, dst := range []link.MAC{{1, 0x80, 0xc2}, {1, 0x80, 0xc2, 0, 0, 15}} {
		n.send(a, dst, mac(1), 0, "x")
	}
	n.send(a, mac(2), link.MAC{3}, 0, "x")
	n.want("reserved, and from a group", all)
	if n.done != 13 {
		t.Errorf("%d frames are done", n.done)
	}
}

// TestQuota: a port that makes up addresses fills its own quota alone.
func TestQuota(t *testing.T) {
	n := newNet(t)
	a, ma := n.join("a", Config{Addresses: 4})
	b, _ := n.join("b", Config{})
	c, _ := n.join("c", Config{})
	all := []*port{a, b, c}
	for i := range byte(200) {
		n.send(a, mac(250), mac(i), 0, "")
		all[1].take()
		all[2].take()
	}
	if l := ma.learned.Load(); l != 4 {
		t.Errorf("%d addresses are learned", l)
	}
	n.send(b, mac(250), mac(251), 0, "")
	n.want("to all", all, "a=", "c=")
	n.send(c, mac(251), mac(252), 0, "")
	n.want("another port's is learned", all, "b=")
	n.send(c, mac(3), mac(252), 0, "")
	n.want("what was there stays", all, "a=")
	n.b.begin = n.b.begin.Add(-ageing - 2*time.Second)
	n.send(a, mac(250), mac(100), 0, "")
	n.want("", all, "b=", "c=")
	n.send(c, mac(100), mac(252), 0, "")
	n.want("old ones make room", all, "a=")
}

// TestPinned: nobody takes over an address that a configuration gives to a port.
func TestPinned(t *testing.T) {
	n := newNet(t)
	a, ma := n.join("a", Config{MAC: mac(1)})
	b, _ := n.join("b", Config{})
	c, _ := n.join("c", Config{MAC: mac(1)})
	all := []*port{a, b, c}
	n.send(b, mac(9), mac(1), 0, "x")
	n.want("", all, "a=x", "c=x")
	n.send(c, mac(1), mac(3), 0, "y")
	n.want("the first one has it", all, "a=y")
	ma.Leave()
	n.send(b, mac(1), mac(2), 0, "z")
	n.want("its port is gone", all, "c=z")
}

// TestVLANs: who hears what, with which tag.
func TestVLANs(t *testing.T) {
	set := func(v ...int) *Set {
		s := new(Set)
		for _, x := range v {
			s.Add(x)
		}
		return s
	}
	n := newNet(t)
	u, _ := n.join("u", Config{})                                                   // the untagged network
	s, _ := n.join("s", Config{VLANs: VLANs{PVID: 7}})                              // 7
	m, _ := n.join("m", Config{VLANs: VLANs{PVID: 8, Tagged: set(7)}})              // 8, and 7 with a tag
	x, _ := n.join("x", Config{VLANs: VLANs{NoPVID: true, Untagged: set(7, 4094)}}) // hears 7, but can't speak without a tag
	tr, _ := n.join("t", Config{VLANs: Trunk()})
	all := []*port{u, s, m, x, tr}
	n.send(u, link.Broadcast, mac(1), 0, "u")
	n.want("untagged", all, "t=u")
	n.send(s, link.Broadcast, mac(2), 0, "s")
	n.want("7", all, "m=7: s", "t=7: s", "x=s")
	n.send(m, link.Broadcast, mac(3), 0, "8")
	n.want("8", all, "t=8: 8")
	n.send(m, link.Broadcast, mac(3), 7, "7")
	n.want("7 with a tag", all, "s=7", "t=7: 7", "x=7")
	n.send(tr, mac(2), mac(9), 7, "to s")
	n.want("one receiver, another tag", all, "s=to s")
	n.send(s, mac(9), mac(2), 0, "to t")
	n.want("and back", all, "t=7: to t")
	n.send(tr, mac(9), mac(2), 9, "9")
	n.want("the same address in another network", all)
	n.send(s, mac(9), mac(2), 0, "to t")
	n.want("is another address", all, "t=7: to t")
	for _, c := range []struct {
		p   *port
		tag int
	}{{u, 7}, {s, 8}, {m, 9}, {x, 0}, {x, 8}, {tr, 4095}, {u, 4095}} {
		n.send(c.p, link.Broadcast, mac(4), c.tag, "x")
		n.want(fmt.Sprint(c.p.name, " must not speak in ", c.tag), all)
	}
	n.send(s, link.Broadcast, mac(2), 7, "own tag")
	n.want("its own network's tag", all, "m=7: own tag", "t=7: own tag", "x=own tag")
	n.send(x, link.Broadcast, mac(5), 4094, "last")
	n.want("the last VLAN", all, "t=4094: last")
	cut := n.frame(link.Broadcast, mac(2), 7, "")
	cut.Head = cut.Head[:16]
	s.receive([]*link.Frame{cut})
	n.want("a tag that is cut off", all)
}

// TestMTU: what is too long for a port doesn't go there.
func TestMTU(t *testing.T) {
	n := newNet(t)
	a, m := n.join("a", Config{})
	small := &port{name: "s", mtu: 100}
	if _, err := n.b.Join(small, Config{}); err != nil {
		t.Fatal(err)
	}
	big, _ := n.join("b", Config{})
	all := []*port{a, small, big}
	n.send(small, mac(9), mac(2), 0, "")
	n.want("", all, "a=", "b=")
	text := strings.Repeat("x", 100)
	n.send(a, mac(2), mac(1), 0, text)
	n.want("as long as can be", all, "s="+text)
	n.send(a, mac(2), mac(1), 0, text+"x")
	n.send(a, link.Broadcast, mac(1), 0, text+"x")
	n.want("too long", all, "b="+text+"x")
	if m.TooBig.Load() != 1 {
		t.Errorf("%d too big", m.TooBig.Load())
	}
}

// TestCopies: a frame for several is done when all are done with it, and a port whose
// copies are all in use loses frames, not others'.
func TestCopies(t *testing.T) {
	n := newNet(t)
	a, m := n.join("a", Config{})
	b, _ := n.join("b", Config{})
	c, _ := n.join("c", Config{VLANs: VLANs{Tagged: Trunk().Tagged}})
	b.keep, c.keep = true, true
	n.send(a, link.Broadcast, mac(1), 0, "x")
	b.letGo()
	if n.done != 0 {
		t.Error("done while c has it")
	}
	c.letGo()
	if n.done != 1 {
		t.Error("not done")
	}
	for range copies + 5 {
		n.send(a, link.Broadcast, mac(1), 0, "x")
	}
	if n.done != 1+5 || m.Storms.Load() != 5 || len(b.kept) != copies {
		t.Errorf("%d done, %d dropped", n.done, m.Storms.Load())
	}
	if f := b.kept[0]; f.Buffers != 1 || !f.Lender.Keep(0, copies/4) || f.Lender.Keep(0, copies/4) {
		t.Errorf("%d buffers of %+v", f.Buffers, f.Lender)
	}
	n.send(c, link.Broadcast, mac(3), 0, "y")
	if s := a.take(); !slices.Equal(s, []string{"y"}) {
		t.Errorf("another port's: %q", s)
	}
	b.letGo()
	c.letGo()
	if n.done != 1+5+copies+1 {
		t.Errorf("%d done", n.done)
	}
}

// TestStorm: what goes to all is limited for each port.
func TestStorm(t *testing.T) {
	b := bucket{rate: 10, most: 4}
	now := time.Now()
	for i, c := range []struct {
		n     int
		after time.Duration
		want  bool
	}{{4, 0, true}, {1, 0, false}, {1, 100 * time.Millisecond, true}, {1, 0, false}, {5, time.Hour, false}, {4, 0, true}, {1, -time.Hour, false}} {
		now = now.Add(c.after)
		if got := b.take(c.n, now); got != c.want {
			t.Errorf("%d: %v", i, got)
		}
	}
	n := newNet(t)
	a, m := n.join("a", Config{})
	p, _ := n.join("p", Config{})
	for range 2 * stormBurst {
		n.send(a, link.Broadcast, mac(1), 0, "")
	}
	if got := len(p.got); got < stormBurst || got > stormBurst+storm/2 || int(m.Storms.Load())+got != 2*stormBurst {
		t.Errorf("%d go through, %d do not", got, m.Storms.Load())
	}
}

// TestNoMemory: a machine without memory says so.
func TestNoMemory(t *testing.T) {
	mem := domaintest.New(t, 64).Host.Memory
	for ok := true; ok; {
		_, ok = mem.AllocFrames(0, mm.FrameKernel, mm.DomIDXen, mm.ZoneAny)
	}
	if _, err := New("br", mem).Join(&port{name: "p"}, Config{}); !errors.Is(err, mm.ErrNoMemory) || !strings.Contains(err.Error(), "bridge br") {
		t.Error(err)
	}
}

// TestTwoTags: a frame with a tag behind its tag goes nowhere: who takes the first one away
// would send it into the network of the second one, which its sender is not in.
func TestTwoTags(t *testing.T) {
	n := newNet(t)
	seven := new(Set)
	seven.Add(7)
	a, ma := n.join("a", Config{})
	b, _ := n.join("b", Config{VLANs: VLANs{Tagged: seven}})
	c, _ := n.join("c", Config{VLANs: VLANs{PVID: 9}})
	d, _ := n.join("d", Config{VLANs: VLANs{PVID: 9, Tagged: seven}})
	all := []*port{a, b, c, d}
	for _, x := range []struct {
		from  *port
		outer byte
	}{{a, 0}, {c, 0}, {c, 9}} {
		for _, dst := range []link.MAC{link.Broadcast, mac(2)} {
			f := n.frame(dst, mac(1), 7, "hop")
			f.Head = append(append(append([]byte{}, f.Head[:12]...), 0x81, 0, 0, x.outer), f.Head[12:]...)
			x.from.receive([]*link.Frame{f})
			n.want(fmt.Sprintf("%s, tag %d before tag 7", x.from.name, x.outer), all)
		}
	}
	if got := ma.Filtered.Load(); got != 2 || n.done != 6 {
		t.Errorf("%d are counted, %d done", got, n.done)
	}
}
