package regress

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/xtaci/smux"
	"google.golang.org/protobuf/proto"
	"storj.io/drpc"
	"storj.io/drpc/drpcconn"

	"nidus/rpc/api"
	"nidus/rpc/ring"
	"nidus/rpc/wire"
)

// hostile lies to a host through shared memory, in words and in contents.
type hostile struct {
	mem    []byte
	honest int        // the slot that it leaves alone
	words  sync.Mutex // held while a word is false that others depend on

	seeds [liars]uint64
	lies  [kinds]atomic.Int64
}

// Kinds of lies.
const (
	lieWord     = iota // any word of a slot, any value
	lieIndex           // an index that is almost right
	lieState           // offer, claim, hello, dead
	lieHeader          // the region's header, for a moment
	lieBytes           // on a connection
	lieFrames          // of smux
	lieFlood           // streams without end
	lieCalls           // of drpc
	lieMessages        // of protobuf, in right calls
	kinds
)

// Liars that are at work at a time; the others send on connections.
const (
	wordLiars = 1
	liars     = wordLiars + 2
)

func newHostile(file string, honest int, random *rand.Rand) (*hostile, error) {
	mem, err := mapShared(file)
	h := &hostile{mem: mem, honest: honest}
	for i := range h.seeds {
		h.seeds[i] = random.Uint64()
	}
	return h, err
}

func (h *hostile) String() string {
	var n [kinds]int64
	for i := range n {
		n[i] = h.lies[i].Load()
	}
	return fmt.Sprintf("lies: %d words, %d indexes, %d states, %d headers; %d bytes, %d frames, %d floods, %d calls, %d messages",
		n[0], n[1], n[2], n[3], n[4], n[5], n[6], n[7], n[8])
}

// happened says whether there was each kind of lie.
func (h *hostile) happened() error {
	for i := range h.lies {
		if h.lies[i].Load() == 0 {
			return fmt.Errorf("the hostile peer did not come to each kind of lie: %v", h)
		}
	}
	return nil
}

// attack begins; stop ends it, and all of its connections.
func (h *hostile) attack() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for i, seed := range h.seeds {
		r := rand.New(rand.NewPCG(seed, 0))
		wg.Go(func() {
			for ctx.Err() == nil {
				if i < wordLiars {
					h.lieInWords(r)
				} else {
					h.lieOnConnection(ctx, r)
				}
			}
		})
	}
	return func() {
		cancel()
		wg.Wait()
		syscall.Munmap(h.mem)
	}
}

// The layout, as docs/ring.md has it: a client in another language.
const (
	headerSize = 0x1000
	wordOffer  = 0x000
	wordClaim  = 0x200
	wordHello  = 0x208
	wordDead   = 0x210
	wordTail   = 0x240 // of the client
	wordHead   = 0x280
	lastWord   = 0x340
	closedBit  = 1 << 31
	lockClaim  = 0x4b434f4c
)

func (h *hostile) word(at int) uint64      { return binary.LittleEndian.Uint64(h.mem[at:]) }
func (h *hostile) store(at int, v uint64)  { binary.LittleEndian.PutUint64(h.mem[at:], v) }
func pick[T any](r *rand.Rand, all ...T) T { return all[r.IntN(len(all))] }
func bytesOf(r *rand.Rand, n int) (b []byte) {
	for b = make([]byte, 0, n+8); len(b) < n; {
		b = binary.LittleEndian.AppendUint64(b, r.Uint64())
	}
	return b[:n]
}

// lieInWords writes some words that are false, and sometimes makes a connection first,
// or half of one, so that there is somebody to be lied to.
func (h *hostile) lieInWords(r *rand.Rand) {
	h.words.Lock()
	defer h.words.Unlock()
	slots, size := int(h.word(0x20)), int(h.word(0x28))
	slot := r.IntN(slots/2 + 1) // the others are mostly for those who send on connections
	if r.IntN(20) == 0 {
		slot = r.IntN(slots)
	}
	if slot == h.honest {
		return
	}
	at := headerSize + slot*size
	epoch := h.word(at+wordOffer) >> 32 << 32
	if r.IntN(2) == 0 { // a handshake, or half of one
		h.store(at+wordClaim, epoch|uint64(pick(r, lockClaim, r.Uint32())))
		h.store(at+wordTail, epoch)
		h.store(at+wordHead, epoch)
		if r.IntN(4) != 0 {
			h.store(at+wordHello, epoch|uint64(pick(r, 0, 0, 0, r.Uint32())))
			time.Sleep(time.Duration(r.IntN(30)) * time.Millisecond) // the host looks
		}
	}
	off := r.IntN(lastWord/8+1) * 8
	lie := r.IntN(lieHeader + 1)
	h.lies[lie].Add(1)
	switch lie {
	case lieWord:
		h.store(at+off, pick(r, 0, ^uint64(0), r.Uint64(), epoch|r.Uint64()>>32, h.word(at+off)^1<<r.IntN(64)))
	case lieIndex:
		off := pick(r, wordTail, wordHead)
		h.store(at+off, pick(r, h.word(at+off)+uint64(r.IntN(4096)), h.word(at+off)-1, h.word(at+off)+(1<<17)+1,
			h.word(at+off)|closedBit, h.word(at+off)+1<<32, epoch|closedBit|1))
		copy(h.mem[at+headerSize:], bytesOf(r, 4096)) // and what is behind it
	case lieState:
		h.store(at+pick(r, wordOffer, wordClaim, wordHello, wordDead), epoch|pick(r, 0, 1, 2, lockClaim, r.Uint64()>>32))
	case lieHeader:
		off := r.IntN(7) * 8
		was := h.word(off)
		h.store(off, pick(r, 0, ^uint64(0), r.Uint64()))
		time.Sleep(time.Millisecond)
		h.store(off, was)
	}
	time.Sleep(time.Duration(r.IntN(2000)) * time.Microsecond)
}

// lieOnConnection attaches as clients do, and sends what they don't.
func (h *hostile) lieOnConnection(ctx context.Context, r *rand.Rand) {
	dial, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	conn, err := ring.Dial(dial, h.mem, ring.Options{})
	if err != nil {
		return // all slots are taken, or somebody lies in their words
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(3 * time.Second))
	if conn.RemoteAddr().(ring.Addr).Slot == h.honest {
		return
	}
	switch lie := lieBytes + r.IntN(kinds-lieBytes); lie {
	case lieBytes:
		h.say(conn, lie, bytesOf(r, r.IntN(200<<10)))
	case lieFrames:
		for range r.IntN(200) {
			h.say(conn, lie, frame(pick(r, 2, 2, 2, 2, 2, 1, byte(r.Uint32())), byte(r.IntN(6)), uint16(r.Uint32()), pick(r, 3, 5, r.Uint32()), bytesOf(r, r.IntN(100))))
		}
	case lieFlood:
		var b []byte
		for i := range uint32(4000) {
			b = append(b, frame(2, 0, 0, 3+2*i, nil)...)
			b = append(b, frame(2, 2, 1000, 3+2*i, bytesOf(r, 1000))...)
		}
		h.say(conn, lie, b)
	case lieCalls, lieMessages:
		h.lieInCalls(ctx, r, conn, lie)
	}
}

// say writes what the other side may not read to the end.
func (h *hostile) say(conn net.Conn, lie int, b []byte) {
	if _, err := conn.Write(b); err == nil || errors.Is(err, ring.ErrPeerReset) {
		h.lies[lie].Add(1)
	}
}

// frame is one of smux, whose length need not be true.
func frame(version, command byte, length uint16, stream uint32, data []byte) []byte {
	b := binary.LittleEndian.AppendUint16([]byte{version, command}, length)
	return append(binary.LittleEndian.AppendUint32(b, stream), data...)
}

// lieInCalls says Hello in order, and then makes calls that are none.
func (h *hostile) lieInCalls(ctx context.Context, r *rand.Rand, conn net.Conn, lie int) {
	mux, err := smux.Client(wire.Buffered(conn), wire.Mux())
	if err != nil {
		return
	}
	defer mux.Close()
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	hello, err := proto.Marshal(&api.HelloRequest{Major: api.Major, Client: "hostile"})
	if err != nil || !ask(ctx, mux, "/nidus.Session/Hello", hello) {
		return
	}
	for range 1 + r.IntN(30) {
		if lie == lieMessages {
			b := pick(r, bytesOf(r, r.IntN(100)), []byte{0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f}, bytesOf(r, r.IntN(64<<10)))
			ask(ctx, mux, anyCall(r), b)
			h.lies[lie].Add(1)
			continue
		}
		s, err := mux.OpenStream()
		if err != nil {
			return
		}
		// drpc's frames: control, stream, message, length, data; or anything.
		b := []byte{byte(r.IntN(32)), byte(r.IntN(3)), byte(r.IntN(3))}
		b = append(binary.AppendUvarint(b, pick(r, 10, 1<<20, 1<<40, r.Uint64())), bytesOf(r, 10)...)
		s.SetDeadline(time.Now().Add(time.Second))
		if _, err := s.Write(pick(r, b, bytesOf(r, r.IntN(3000)))); err == nil {
			h.lies[lie].Add(1)
		}
		s.Close()
	}
}

// anyCall names a call, of those that a host survives.
func anyCall(r *rand.Rand) string {
	for {
		services := api.File_nidus_proto.Services()
		s := services.Get(r.IntN(services.Len()))
		m := s.Methods().Get(r.IntN(s.Methods().Len()))
		switch name := fmt.Sprintf("/%s/%s", s.FullName(), m.Name()); name {
		case "/nidus.Host/PowerOff", "/nidus.Host/Reboot", "/nidus.Host/DebugKeys":
		default:
			return name
		}
	}
}

// ask makes a call with bytes as its message, and says whether an answer came.
func ask(ctx context.Context, mux *smux.Session, call string, message []byte) bool {
	s, err := mux.OpenStream()
	if err != nil {
		return false
	}
	conn := drpcconn.New(s)
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, time.Second) // some calls are streams, and wait
	defer cancel()
	var answer []byte
	return conn.Invoke(ctx, call, asIs{}, &message, &answer) == nil
}

// asIs is the encoding of *[]byte.
type asIs struct{}

func (asIs) Marshal(m drpc.Message) ([]byte, error) { return *m.(*[]byte), nil }
func (asIs) Unmarshal(b []byte, m drpc.Message) error {
	*m.(*[]byte) = b
	return nil
}
