package netback

import (
	"context"
	"fmt"
	"runtime"
	"slices"

	"nidus/drivers/backend"
	"nidus/mm"
)

// Requests of the control ring (XEN_NETIF_CTRL_TYPE_*) and their results
// (XEN_NETIF_CTRL_STATUS_*).
const (
	ctrlGetTypes       = 1
	ctrlSetTypes       = 2
	ctrlSetKey         = 3
	ctrlGetMappingSize = 4
	ctrlSetMappingSize = 5
	ctrlSetMapping     = 6
	ctrlSetAlgorithm   = 7

	ctrlSuccess      = 0
	ctrlNotSupported = 1
	ctrlInvalid      = 2
	ctrlOverflow     = 3
)

// controlQueue is the ring by which a guest says how its frames are to be hashed.
type controlQueue struct {
	end
	cons uint32 // next request, and response
}

// addControl makes the control ring, if the guest has one.
func (c *conn) addControl(f backend.Frontend) error {
	text, err := f.Text("ctrl-ring-ref")
	if err != nil || text == "" {
		return err
	}
	ref, err := f.Must("ctrl-ring-ref")
	if err != nil {
		return err
	}
	port, err := f.Must("event-channel-ctrl")
	if err != nil {
		return err
	}
	q := &controlQueue{end: newEnd(c, ctrlSlot, ctrlSlots)}
	if q.grant, err = c.cfg.Guest.Acquire(ref, true); err != nil {
		return fmt.Errorf("ctrl-ring-ref: %w", err)
	}
	c.control = q
	q.ring.page = c.page(q.grant)
	q.cons = q.load(ringRspProd)
	q.shown = q.cons
	q.port, err = c.cfg.Guest.Bind(port, q.poke)
	return err
}

// close gives the guest's page and port back.
func (q *controlQueue) close() {
	if q.port != 0 {
		q.c.cfg.Guest.Unbind(q.port)
	}
	q.c.cfg.Guest.Release(q.grant)
}

// serve answers requests until ctx ends, or the guest breaks the protocol.
func (q *controlQueue) serve(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-q.wake:
		}
		for more := true; more && ctx.Err() == nil; {
			var err error
			if more, err = q.answer(); err != nil {
				q.c.fail(err)
				return
			}
			runtime.Gosched()
		}
	}
}

// answer answers what there is. more is set if there may be others at once.
func (q *controlQueue) answer() (more bool, err error) {
	prod := q.load(ringReqProd)
	if prod == q.cons {
		q.store(ringReqEvent, q.cons+1)
		return q.load(ringReqProd) != q.cons, nil
	}
	if prod-q.cons > q.size {
		return false, fmt.Errorf("the control ring of %d slots has requests up to %d, and answers up to %d", q.size, prod, q.cons)
	}
	for q.cons != prod {
		var b [ctrlSlot]byte
		q.read(q.cons, b[:])
		status, data := q.do(le.Uint16(b[2:]), [3]uint32{le.Uint32(b[4:]), le.Uint32(b[8:]), le.Uint32(b[12:])})
		le.PutUint32(b[4:], status) // id and type are the request's
		le.PutUint32(b[8:], data)
		q.write(q.cons, b[:12])
		q.cons++
	}
	q.tell(q.cons)
	return true, nil
}

// do does one request.
func (q *controlQueue) do(kind uint16, arg [3]uint32) (status, data uint32) {
	var h hashing
	if old := q.c.hash.Load(); old != nil {
		h = *old
	}
	switch kind {
	case ctrlSetAlgorithm:
		if arg[0] > hashToeplitz {
			return ctrlInvalid, 0
		}
		h.algorithm = arg[0]
	case ctrlGetTypes:
		if h.algorithm == 0 {
			return ctrlNotSupported, 0
		}
		return ctrlSuccess, hashAll
	case ctrlSetTypes:
		switch {
		case h.algorithm == 0:
			return ctrlNotSupported, 0
		case arg[0]&^hashAll != 0:
			return ctrlInvalid, 0
		}
		h.types = arg[0]
	case ctrlSetKey:
		if arg[1] > maxKey {
			return ctrlOverflow, 0
		}
		h.key = [maxKey]byte{}
		if !q.fetch(arg[0], h.key[:arg[1]]) {
			return ctrlInvalid, 0
		}
	case ctrlGetMappingSize:
		return ctrlSuccess, maxMapping
	case ctrlSetMappingSize:
		if arg[0] > maxMapping {
			return ctrlInvalid, 0
		}
		h.mapping = make([]uint8, arg[0])
	case ctrlSetMapping:
		size, off, have := arg[1], arg[2], uint32(len(h.mapping))
		switch {
		case size > mm.PageSize/4:
			return ctrlOverflow, 0
		case off > have || size > have-off:
			return ctrlInvalid, 0
		}
		var b [4 * maxMapping]byte
		if !q.fetch(arg[0], b[:4*size]) {
			return ctrlInvalid, 0
		}
		h.mapping = slices.Clone(h.mapping)
		for i := range size {
			to := le.Uint32(b[4*i:])
			if to >= uint32(len(q.c.rx)) {
				return ctrlInvalid, 0
			}
			h.mapping[off+i] = uint8(to)
		}
	default:
		return ctrlNotSupported, 0
	}
	q.c.hash.Store(&h)
	return ctrlSuccess, 0
}

// fetch copies the beginning of the page that a grant gives; false: it gives none.
func (q *controlQueue) fetch(ref uint32, b []byte) bool {
	if len(b) == 0 {
		return true
	}
	x, err := q.c.cfg.Guest.Acquire(ref, false)
	if err != nil {
		return false
	}
	q.c.page(x).Read(0, b)
	q.c.cfg.Guest.Release(x)
	return true
}
