package netback_test

import (
	"encoding/binary"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"nidus/drivers/backend"
	"nidus/drivers/backend/backendtest"
	"nidus/drivers/link"
	"nidus/drivers/netback"
	"nidus/mm"
)

var (
	le = binary.LittleEndian
	be = binary.BigEndian
)

// guest is a frontend, of a domain of the real packages, and whoever is on the other side
// of its interface.
type guest struct {
	*backendtest.Guest
	port *netback.Interface
	tx   shared
	rx   shared

	mu   sync.Mutex
	got  [][]byte      // what the host's side was given, in full
	desc []link.Frame  // and how it was described
	keep bool          // frames stay with the receiver
	kept []*link.Frame // those
}

// shared is a ring as its frontend has it.
type shared struct {
	page       mm.Page
	slot       int
	first      int // of the pages to receive in
	port       uint32
	prod, cons uint32
}

// Places of the guest's memory, in frames. Grant reference n gives frame n.
const (
	txRing    = 16
	rxRing    = 17
	readOnly  = 18 // a reference that gives its page for reading
	firstData = 32
	pages     = 400
	slots     = 256
)

func newGuest(t testing.TB) *guest {
	g := &guest{Guest: backendtest.New(t, "vif", 0, pages, txRing)}
	g.Grant(readOnly, 0, readOnly, 4)
	return g
}

// begin starts the backend.
func (g *guest) begin(rate netback.Rate) {
	gb := g.Backend()
	g.port = netback.New(netback.Config{Guest: gb, Memory: g.M.Host.Memory, Name: "vif1.0", MTU: 1500, Rate: rate})
	g.port.Receive(g.take)
	g.Start(gb, g.port)
	g.D.OnDestroy(func() {
		g.letGo()
		g.Dev.Close()
		if err := g.port.Close(); err != nil {
			g.T.Error(err)
		}
	})
}

// take is the other side's link.Receiver.
func (g *guest) take(frames []*link.Frame) {
	g.mu.Lock()
	keep := g.keep
	for _, f := range frames {
		b := append([]byte(nil), f.Head...)
		for _, s := range f.Segments {
			n := len(b)
			b = append(b, make([]byte, s.Len)...)
			g.M.Host.Memory.Page(s.Frame).Read(int(s.Off), b[n:])
		}
		g.got, g.desc = append(g.got, b), append(g.desc, *f)
		if keep {
			g.kept = append(g.kept, f)
		}
	}
	g.mu.Unlock()
	if !keep {
		link.Drop(frames)
	}
}

// letGo ends what was kept.
func (g *guest) letGo() {
	g.mu.Lock()
	all := g.kept
	g.kept, g.keep = nil, false
	g.mu.Unlock()
	link.Drop(all)
}

func (g *guest) lines() string { return strings.Join(g.Lines(), "\n") }

// last returns how many frames the other side has got, and the last one.
func (g *guest) last() (n int, b []byte, f link.Frame) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if n = len(g.got); n > 0 {
		b, f = g.got[n-1], g.desc[n-1]
	}
	return n, b, f
}

// until waits for what goroutines of the backend do.
func (g *guest) until(what string, is func() bool) {
	g.T.Helper()
	for end := time.Now().Add(10 * time.Second); !is(); runtime.Gosched() {
		if time.Now().After(end) {
			g.T.Fatalf("%s: no; the log is %q", what, g.lines())
		}
	}
}

// offer makes the rings and tells the backend of them; nodes replace what it says.
func (g *guest) offer(nodes map[string]string) {
	g.tx = shared{page: g.Page(txRing), slot: 12}
	g.rx = shared{page: g.Page(rxRing), slot: 8, first: firstData}
	all := map[string]string{
		"tx-ring-ref": strconv.Itoa(txRing), "rx-ring-ref": strconv.Itoa(rxRing), "request-rx-copy": "1", "feature-rx-notify": "1", "feature-sg": "1",
		"feature-gso-tcpv4": "1", "feature-gso-tcpv6": "1", "feature-ipv6-csum-offload": "1",
	}
	for _, r := range []*shared{&g.tx, &g.rx} {
		r.page.Clear()
		r.page.Store32(4, 1) // req_event and rsp_event, as io/ring.h begins
		r.page.Store32(12, 1)
		var err error
		if r.port, err = g.D.Events.AllocUnbound(0); err != nil {
			g.T.Fatal(err)
		}
	}
	all["event-channel-tx"], all["event-channel-rx"] = strconv.Itoa(int(g.tx.port)), strconv.Itoa(int(g.rx.port))
	for k, v := range nodes {
		all[k] = v
	}
	for k, v := range all {
		if v != "" {
			g.Set(k, v)
		}
	}
}

func (g *guest) connect(nodes map[string]string) {
	g.T.Helper()
	g.begin(netback.Rate{})
	g.offer(nodes)
	g.Set("state", "4")
	g.Await(backend.Connected)
}

// put writes a request, or an extra info, into the ring's next slot.
func (r *shared) put(b []byte) {
	r.page.Write(64+int(r.prod%slots)*r.slot, b)
	r.prod++
}

// push shows the requests and sends an event, if the backend asks for one.
func (g *guest) push(r *shared) {
	old := r.page.Load32(0)
	r.page.Store32(0, r.prod)
	if r.prod-r.page.Load32(4) < r.prod-old {
		if err := g.D.Events.Send(r.port); err != nil {
			g.T.Fatal(err)
		}
	}
}

// response waits for the next response, of 8 bytes at most.
func (g *guest) response(r *shared) []byte {
	g.T.Helper()
	g.until("a response", func() bool { return r.page.Load32(8) != r.cons })
	b := make([]byte, min(r.slot, 8))
	r.page.Read(64+int(r.cons%slots)*r.slot, b)
	r.cons++
	r.page.Store32(12, r.cons+1)
	return b
}

// request is struct netif_tx_request.
type request struct {
	ref, off, flags, id, size int
}

func (r request) bytes() []byte {
	b := make([]byte, 12)
	le.PutUint32(b, uint32(r.ref))
	for i, v := range []int{r.off, r.flags, r.id, r.size} {
		le.PutUint16(b[4+2*i:], uint16(v))
	}
	return b
}

// status waits for a tx response and returns its status.
func (g *guest) status() (id, status int) {
	g.T.Helper()
	b := g.response(&g.tx)
	return int(le.Uint16(b)), int(int16(le.Uint16(b[2:])))
}

// gso is an extra info.
func gso(mss, kind int) []byte {
	return []byte{0: 1, 2: byte(mss), 3: byte(mss >> 8), 4: byte(kind), 11: 0}
}

// offerPages gives the backend n pages to receive in, and returns the first id.
func (g *guest) offerPages(n int) {
	for range n {
		id := g.rx.prod % slots
		b := make([]byte, 8)
		le.PutUint16(b, uint16(id))
		le.PutUint32(b[4:], uint32(g.rx.first)+id)
		g.rx.put(b)
	}
	g.push(&g.rx)
}

// received is a frame that the guest got.
type received struct {
	data  []byte
	flags int
	gso   []byte // extra info
}

// receive waits for a frame.
func (g *guest) receive() (f received) {
	g.T.Helper()
	for first := true; ; first = false {
		at := g.rx.cons
		b := g.response(&g.rx)
		id, off, flags, status := le.Uint16(b), le.Uint16(b[2:]), le.Uint16(b[4:]), int16(le.Uint16(b[6:]))
		if int(id) != int(at%slots) || off != 0 || status <= 0 {
			g.T.Fatalf("rx response %d: id %d, offset %d, flags %d, status %d", at, id, off, flags, status)
		}
		n := len(f.data)
		f.data = append(f.data, make([]byte, status)...)
		g.Page(g.rx.first+int(id)).Read(0, f.data[n:])
		if first {
			f.flags = int(flags)
			if flags&8 != 0 {
				f.gso = g.response(&g.rx)
			}
		}
		if flags&4 == 0 {
			return f
		}
	}
}

// tcp is a frame of TCP over IPv4 with n bytes of data, whose checksum is blank.
func tcp(n int) []byte {
	b := make([]byte, 54+n)
	copy(b, "\x00\x16\x3e\x00\x00\x02\x00\x16\x3e\x00\x00\x01\x08\x00\x45\x00\x00\x00\x00\x00\x40\x00\x40\x06\x00\x00\x0a\x00\x00\x01\x0a\x00\x00\x02")
	be.PutUint16(b[16:], uint16(40+n))
	copy(b[34:], "\x12\x34\x56\x78\x00\x00\x00\x01\x00\x00\x00\x02\x50\x18\x10\x00\x00\x00\x00\x00")
	for i := range n {
		b[54+i] = byte(i*7 + i>>8)
	}
	return b
}

// send puts a frame into the guest's pages from page firstData on, per bytes in each, and
// its requests into the ring.
func (g *guest) send(frame []byte, flags, per int, extra ...[]byte) {
	left := frame
	for k := 0; len(left) > 0; k++ {
		n := min(per, len(left))
		g.Page(firstData+k).Write(0, left[:n])
		r := request{ref: firstData + k, id: k + 1, size: n}
		if k == 0 {
			r.size, r.flags = len(frame), flags
		}
		if left = left[n:]; len(left) > 0 {
			r.flags |= 4
		}
		if k == 0 && len(extra) > 0 {
			r.flags |= 8
		}
		g.tx.put(r.bytes())
		if k == 0 {
			for i, x := range extra {
				if i < len(extra)-1 {
					x[1] |= 1
				}
				g.tx.put(x)
			}
		}
	}
}
