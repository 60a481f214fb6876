package domain

import (
	"context"
	"fmt"
	"testing"
	"time"

	"nidus/kernel/console"
	"nidus/kernel/xenstore"
	"nidus/mm"
)

// Of xs_wire.h, struct xenstore_domain_interface.
const (
	wireReqCons, wireReqProd, wireRspCons, wireRspProd = 2048, 2052, 2056, 2060
	wireRing                                           = 1024
)

// TestUnsignalled: a guest that takes the server for busy, and doesn't signal, is answered all the same; so is one that
// makes room in a full ring.
func TestUnsignalled(t *testing.T) {
	s := xenstore.New(xenstore.DefaultQuota)
	home := s.Open(0)
	paths := xenstore.DomainPaths{Dom: 3, Name: "g", UUID: "u-1", VCPUs: 1, MaxVCPUs: 1}
	if err := paths.Write(t.Context(), home); err != nil {
		t.Fatal(err)
	}
	if err := home.Write("/local/domain/3/big", string(make([]byte, 900))); err != nil {
		t.Fatal(err)
	}
	if err := home.SetPerms("/local/domain/3/big", xenstore.Perm{Dom: 3}); err != nil {
		t.Fatal(err)
	}
	pg := mm.NewPage()
	ctx, cancel := context.WithCancel(t.Context())
	work, full := make(chan struct{}, 1), make(chan struct{}, 1)
	r, err := s.Introduce(3, pg, func(isFull bool) {
		if isFull {
			poke(full)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	const again = 300 * time.Millisecond
	ended := make(chan struct{})
	begin := time.Now()
	go func() {
		defer close(ended)
		serveStore(ctx, r, work, full, func() {}, console.NewBucket(passRate, passBurst, func() time.Duration { return time.Since(begin) }), again)
	}()
	defer func() { cancel(); <-ended }()
	until := func(what string, done func() bool) {
		t.Helper()
		for end := time.Now().Add(10 * time.Second); !done(); time.Sleep(100 * time.Microsecond) {
			if time.Now().After(end) {
				t.Fatalf("%s: the store waits; request ring %d of %d, reply ring %d of %d", what,
					pg.Load32(wireReqCons), pg.Load32(wireReqProd), pg.Load32(wireRspCons), pg.Load32(wireRspProd))
			}
		}
	}
	prod := uint32(0)
	put := func(b []byte) {
		for _, c := range b {
			pg.Store8(int(prod%wireRing), c)
			prod++
		}
		pg.Store32(wireReqProd, prod)
	}
	body := []byte("big\x00")
	head := xenstore.Header{Type: xenstore.MsgRead, Len: uint32(len(body))}.Append(nil)
	answer := uint32(xenstore.HeaderSize + 900)
	for turn := range uint32(3) {
		put(head)
		poke(work)
		until("the head", func() bool { return pg.Load32(wireReqCons) == prod })
		put(body) // without a signal
		until("the body", func() bool { return pg.Load32(wireRspProd) == min((turn+1)*answer, wireRing+pg.Load32(wireRspCons)) })
		if turn == 1 { // the second answer found no room for all of it
			pg.Store32(wireRspCons, answer) // without a signal
			until("room", func() bool { return pg.Load32(wireRspProd) == 2*answer })
			pg.Store32(wireRspCons, 2*answer)
		}
	}
	// Events, which nobody asked for just then, fill the ring; the guest makes room.
	body = []byte("data\x00tok\x00")
	put(append(xenstore.Header{Type: xenstore.MsgWatch, Len: uint32(len(body))}.Append(nil), body...))
	poke(work)
	until("the watch", func() bool { return pg.Load32(wireReqCons) == prod })
	time.Sleep(3 * again) // the looks after these answers are over
	pg.Store32(wireRspCons, pg.Load32(wireRspProd))
	for i := range 100 {
		if err := home.Write(fmt.Sprintf("/local/domain/3/data/%d", i), ""); err != nil {
			t.Fatal(err)
		}
	}
	end := pg.Load32(wireRspProd)
	if n := end - pg.Load32(wireRspCons); n != wireRing {
		t.Fatalf("%d bytes of events in the ring", n)
	}
	pg.Store32(wireRspCons, end) // without a signal
	until("room for events", func() bool { return pg.Load32(wireRspProd) != end })
}
