package xenstore

import (
	"bytes"
	"fmt"

	"nidus/mm"
)

// The shared page (xs_wire.h, struct xenstore_domain_interface).
const (
	ringSize      = 1024 // XENSTORE_RING_SIZE
	offReq        = 0
	offRsp        = 1024
	offReqCons    = 2048
	offReqProd    = 2052
	offRspCons    = 2056
	offRspProd    = 2060
	offFeatures   = 2064
	offConnection = 2068
	offError      = 2072
	featReconnect = 1 // XENSTORE_SERVER_FEATURE_RECONNECTION
	featError     = 2 // XENSTORE_SERVER_FEATURE_ERROR
	// XENSTORE_SERVER_FEATURE_WATCHDEPTH, bit 2 of xenstore-ring.txt, in headers newer
	// than ours: WATCH can take a depth.
	featWatchDepth = 4
	connected      = 0 // XENSTORE_CONNECTED
	reconnect      = 1 // XENSTORE_RECONNECT
	errorNone      = 0 // XENSTORE_ERROR_NONE
	errorRingIndex = 2 // XENSTORE_ERROR_RINGIDX
	errorProtocol  = 3 // XENSTORE_ERROR_PROTO
)

// pollBatch is how many requests one Poll takes, so that a guest that never
// stops asking holds the store only for that long.
const pollBatch = 16

// Ring is a guest's door to the store. The guest can write its page at any
// time; the server's own indexes are kept here and only published there.
type Ring struct {
	s      *Store
	c      client
	page   mm.Page // zero once released, or before it is attached
	notify func(full bool)
	dirty  bool
	fault  uint32 // errorNone, or why the connection is dead

	reqCons, rspProd uint32
	in               [HeaderSize + PayloadMax]byte // the request that is coming in
	inLen            int
	out              []byte // whole messages, of which sent bytes are gone
	sent             int
	first            int // start of the first message not wholly sent
	msgs             int // messages not wholly sent
	lost             uint64
	newest           *watch
}

// Introduce connects a domain by its page and tells @introduceDomain. notify
// signals the guest's event channel; it is called without locks, whenever the
// server has something to say by itself, and full says that there was no room for all
// of it: see Poll. The page stays in use until Release.
func (s *Store) Introduce(dom mm.DomID, page mm.Page, notify func(full bool)) (*Ring, error) {
	if dom >= mm.DomIDFirstReserved || page.IsZero() {
		return nil, fmt.Errorf("xenstore: introduce domain %d: reserved number or no page: %w", dom, EINVAL)
	}
	s.lock()
	defer s.unlock()
	if s.rings[dom] != nil {
		return nil, fmt.Errorf("xenstore: introduce domain %d: it is already there, release it first: %w", dom, EEXIST)
	}
	r := s.newRing(dom)
	r.reqCons, r.rspProd = page.Load32(offReqCons), page.Load32(offRspProd)
	r.attach(page, notify)
	s.fireSpecial(IntroduceDomain, dom)
	return r, nil
}

func (s *Store) newRing(dom mm.DomID) *Ring {
	r := &Ring{s: s, c: newClient(s, dom)}
	s.rings[dom] = r
	return r
}

func (r *Ring) attach(page mm.Page, notify func(full bool)) {
	r.page, r.notify = page, notify
	page.Store32(offFeatures, featReconnect|featError|featWatchDepth)
	page.Store32(offReqCons, r.reqCons)
	page.Store32(offRspProd, r.rspProd)
	page.Store32(offError, r.fault)
	r.mark()
}

// Release disconnects a domain: its watches and transactions go, its page is
// not touched any more once Release returns, and @releaseDomain is told. Its
// nodes stay. A domain that is not there is no error.
func (s *Store) Release(dom mm.DomID) {
	s.lock()
	defer s.unlock()
	if r := s.rings[dom]; r != nil {
		s.release(r)
	}
}

func (s *Store) release(r *Ring) {
	r.c.reset()
	r.page, r.notify = mm.Page{}, nil
	r.drop()
	delete(s.rings, r.c.dom)
	s.fireSpecial(ReleaseDomain, r.c.dom)
}

// Lost returns how many watch events the domain lost because it read too
// slowly.
func (r *Ring) Lost() uint64 {
	r.s.lock()
	defer r.s.unlock()
	return r.lost
}

// Poll does what the guest asks for; call it when the event channel fires. It
// tells whether the guest must be signalled now, and whether there is more to
// do, so that Poll has to be called again without waiting for the guest.
//
// Poll has to be called once more, a moment later, when it told to signal the guest or
// Introduce's notify said full, whether the guest signals or not. A guest decides whether
// to signal by an index of ours that it reads after it wrote its own. Linux has no barrier between the two
// (drivers/xen/xenbus/xenbus_comms.c, xb_write and xb_read), so that a processor may read
// first: then it saw ours before, and we its own, and both would wait for ever.
func (r *Ring) Poll() (notify, more bool) {
	r.s.lock()
	defer r.s.unlock()
	if r.page.IsZero() {
		return false, false
	}
	if r.page.Load32(offConnection) == reconnect {
		r.reconnect()
		return true, false
	}
	if r.fault != errorNone {
		return false, false
	}
	notify = r.flush()
	for range pollBatch {
		if r.msgs >= r.s.quota.Outstanding || r.fault != errorNone {
			return notify, false
		}
		took, whole := r.fill()
		notify = notify || took
		if !whole {
			return notify, false
		}
		h := DecodeHeader(r.in[:])
		r.inLen = 0
		r.serve(h, r.in[HeaderSize:HeaderSize+h.Len])
		notify = r.flush() || notify
	}
	return notify, true
}

// fill takes bytes of the request ring until a request is whole or there are
// no more. A published index is always checked again afterwards: guests don't
// signal while they see the server busy.
func (r *Ring) fill() (took, whole bool) {
	for {
		need := HeaderSize
		if r.inLen >= HeaderSize {
			n := DecodeHeader(r.in[:]).Len
			if n > PayloadMax {
				r.fail(errorProtocol)
				return true, false
			}
			need += int(n)
			if r.inLen == need {
				return took, true
			}
		}
		avail := r.page.Load32(offReqProd) - r.reqCons
		if avail > ringSize {
			r.fail(errorRingIndex)
			return true, false
		}
		if avail == 0 {
			return took, false
		}
		at := int(r.reqCons % ringSize)
		n := min(need-r.inLen, int(avail), ringSize-at)
		r.page.Read(offReq+at, r.in[r.inLen:r.inLen+n])
		r.inLen += n
		r.reqCons += uint32(n)
		r.page.Store32(offReqCons, r.reqCons)
		took = true
	}
}

// flush moves queued messages into the reply ring and tells whether the guest
// must be signalled.
func (r *Ring) flush() (notify bool) {
	if r.page.IsZero() {
		return false
	}
	for r.sent < len(r.out) {
		used := r.rspProd - r.page.Load32(offRspCons)
		if used > ringSize {
			r.fail(errorRingIndex)
			return true
		}
		at := int(r.rspProd % ringSize)
		n := min(len(r.out)-r.sent, ringSize-int(used), ringSize-at)
		if n == 0 {
			break
		}
		r.page.Write(offRsp+at, r.out[r.sent:r.sent+n])
		r.sent += n
		r.rspProd += uint32(n)
		r.page.Store32(offRspProd, r.rspProd)
		notify = true
	}
	r.settle()
	return notify
}

// settle counts off the messages that are sent and reuses their space.
func (r *Ring) settle() {
	for r.first < r.sent {
		end := r.first + HeaderSize + int(DecodeHeader(r.out[r.first:]).Len)
		if end > r.sent {
			break
		}
		r.first = end
		r.msgs--
	}
	if r.first == len(r.out) || r.first > 16<<10 {
		n := copy(r.out, r.out[r.first:])
		r.out, r.sent, r.first = r.out[:n], r.sent-r.first, 0
	}
}

// send queues one message.
func (r *Ring) send(h Header, body []byte) {
	h.Len = uint32(len(body))
	r.out = append(h.Append(r.out), body...)
	r.msgs++
	r.mark()
}

// event queues a watch event, unless the same one is still to be sent whole or
// the guest has let too much pile up.
func (r *Ring) event(w *watch, path string) {
	if r.fault != errorNone {
		return
	}
	var few [256]byte
	m := Header{Type: MsgWatchEvent, Len: uint32(len(path) + len(w.token) + 2)}.Append(few[:0])
	m = append(append(m, path...), 0)
	m = append(append(m, w.token...), 0)
	if len(r.out)-r.sent+len(m) > r.s.quota.EventBytes {
		r.lost++
		return
	}
	for at := r.first; at < len(r.out); {
		end := at + HeaderSize + int(DecodeHeader(r.out[at:]).Len)
		if at >= r.sent && bytes.Equal(r.out[at:end], m) {
			return
		}
		at = end
	}
	r.out = append(r.out, m...)
	r.msgs++
	r.mark()
}

// mark makes unlock send what is queued.
func (r *Ring) mark() {
	if !r.dirty {
		r.dirty = true
		r.s.dirty = append(r.s.dirty, r)
	}
}

func (r *Ring) drop() {
	r.inLen, r.out, r.sent, r.first, r.msgs, r.newest = 0, nil, 0, 0, 0, nil
}

// fail ends the conversation with a guest that broke the protocol, until it
// reconnects (xenstore-ring.txt, "The connection error feature").
func (r *Ring) fail(why uint32) {
	r.fault = why
	r.c.reset()
	r.drop()
	r.page.Store32(offError, why)
}

// reconnect starts the conversation anew (xenstore-ring.txt, "The ring
// reconnection feature"). The connection field is written last: until then the
// guest looks at nothing else.
func (r *Ring) reconnect() {
	r.c.reset()
	r.drop()
	r.fault, r.reqCons, r.rspProd = errorNone, 0, 0
	for _, off := range [...]int{offReqCons, offReqProd, offRspCons, offRspProd, offError} {
		r.page.Store32(off, 0)
	}
	r.page.Store32(offConnection, connected)
}
