package netback

import (
	"encoding/binary"

	"nidus/mm"
)

// Flags of requests and responses (io/netif.h, NETTXF_*, NETRXF_*).
const (
	txCsumBlank = 1 << 0
	txValidated = 1 << 1
	txMore      = 1 << 2
	txExtra     = 1 << 3

	rxValidated = 1 << 0
	rxCsumBlank = 1 << 1
	rxMore      = 1 << 2
	rxExtra     = 1 << 3
)

// Statuses of responses (NETIF_RSP_*).
const (
	rspOkay  = 0
	rspError = -1
	rspNull  = 1
)

// Extra infos (XEN_NETIF_EXTRA_*, XEN_NETIF_GSO_TYPE_*).
const (
	extraGSO      = 1
	extraMcastAdd = 2
	extraMcastDel = 3
	extraHash     = 4
	extraMax      = 5

	extraMore = 1

	gsoTCPv4 = 1
	gsoTCPv6 = 2
)

// maxSlots is how many requests with data a frame may have (XEN_NETIF_NR_SLOTS_MIN).
const maxSlots = 18

// Sizes of the slots, in bytes, and how many a ring's page has.
const (
	txSlot, txSlots     = 12, 256
	rxSlot, rxSlots     = 8, 256
	ctrlSlot, ctrlSlots = 16, 128
)

// Places of a shared ring's indexes (io/ring.h, struct NAME_sring); the slots begin at
// ringHeader.
const (
	ringReqProd  = 0
	ringReqEvent = 4
	ringRspProd  = 8
	ringRspEvent = 12
	ringHeader   = 64
)

var le = binary.LittleEndian

// ring is a shared ring of one page. The guest may write it at any moment.
type ring struct {
	page mm.Page
	slot int
	size uint32 // a power of two
}

func (r *ring) load(index int) uint32     { return r.page.Load32(index) }
func (r *ring) store(index int, v uint32) { r.page.Store32(index, v) }

func (r *ring) place(i uint32) int { return ringHeader + int(i&(r.size-1))*r.slot }

// read copies slot i.
func (r *ring) read(i uint32, b []byte) { r.page.Read(r.place(i), b) }

// write fills the beginning of slot i.
func (r *ring) write(i uint32, b []byte) { r.page.Write(r.place(i), b) }

// show makes the responses from old to prod visible, and tells whether the guest wants an
// event for one of them (io/ring.h, RING_PUSH_RESPONSES_AND_CHECK_NOTIFY).
func (r *ring) show(old, prod uint32) (notify bool) {
	r.store(ringRspProd, prod)
	return prod-r.load(ringRspEvent) < prod-old
}

// txRequest is struct netif_tx_request.
type txRequest struct {
	ref                  uint32
	off, flags, id, size uint16
}

func parseTx(b *[txSlot]byte) txRequest {
	return txRequest{le.Uint32(b[:]), le.Uint16(b[4:]), le.Uint16(b[6:]), le.Uint16(b[8:]), le.Uint16(b[10:])}
}

// end tells where the bytes of a request end in its page.
func (r txRequest) end() int { return int(r.off) + int(r.size) }
