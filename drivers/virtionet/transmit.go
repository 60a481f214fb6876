package virtionet

import (
	"nidus/drivers/link"
	"nidus/drivers/nic"
	"nidus/drivers/virtio"
	"nidus/mm"
)

// slotSize is the room of a header in the frame that all of a queue's share.
const slotSize = mm.PageSize / depth

// transmitter is a queue of frames that are sent, a nic.Queue.
type transmitter struct {
	nic.Sender
	c *Card
	q *virtio.Queue

	frame  mm.MFN
	at     uint64 // of the frame, for the device
	slots  mm.Page
	free   []uint8
	flying [virtio.MaxQueue]sent // by the chain's id
	bufs   [link.MaxSegments + 2]virtio.Buffer
	header [headerSize]byte
}

// sent is a frame that the device has.
type sent struct {
	f    *link.Frame
	slot uint8
}

func (t *transmitter) setup(index, vector int) error {
	var err error
	if t.frame, err = t.c.host.Alloc(0, mm.ZoneAny); err != nil {
		return err
	}
	t.slots, t.at = t.c.host.Page(t.frame), t.c.host.DMA(t.frame)
	for i := range depth {
		t.free = append(t.free, uint8(i))
	}
	t.q, err = t.c.dev.QueueOn(virtio.QueueOptions{Index: index, Size: depth, Vector: vector})
	return err
}

// send gives the device frames, as far as there is room.
func (t *transmitter) send(frames []*link.Frame) {
	if err := t.Send(frames); err != nil {
		t.c.Lose(err)
	}
}

// Start implements nic.Queue.
func (t *transmitter) Start(f *link.Frame) nic.Started {
	n := len(t.free)
	if n == 0 {
		return nic.Full
	}
	slot := t.free[n-1]
	off := int(slot) * slotSize
	describe(&t.header, f, t.c.features&featHostECN != 0)
	t.slots.Write(off, t.header[:t.c.header])
	mem := t.c.host
	bufs := append(t.bufs[:0], virtio.Buffer{Addr: t.at + uint64(off), Len: uint32(t.c.header)},
		virtio.Buffer{Addr: mem.DMA(f.HeadAt.Frame) + uint64(f.HeadAt.Off), Len: uint32(len(f.Head))})
	for _, s := range f.Segments {
		bufs = append(bufs, virtio.Buffer{Addr: mem.DMA(s.Frame) + uint64(s.Off), Len: uint32(s.Len)})
	}
	id, ok := t.q.Add(bufs)
	if !ok {
		return nic.Full
	}
	t.free = t.free[:n-1]
	t.flying[id] = sent{f, slot}
	return nic.Taken
}

// Kick implements nic.Queue.
func (t *transmitter) Kick() { t.q.Kick() }

// Rearm implements nic.Queue.
func (t *transmitter) Rearm() bool { return t.q.Rearm() }

// Next implements nic.Queue.
func (t *transmitter) Next() (*link.Frame, error) {
	id, _, ok, err := t.q.Next()
	if !ok {
		return nil, err
	}
	s := t.flying[id]
	t.flying[id] = sent{}
	t.free = append(t.free, s.slot)
	return s.f, nil
}

// abandon ends what is in flight. Preconditions: Stop, and the device does not reach
// memory; free tells whether that is for ever.
func (t *transmitter) abandon(free bool) {
	var left []*link.Frame
	for i := range t.flying {
		if f := t.flying[i].f; f != nil {
			left = append(left, f)
			t.flying[i] = sent{}
		}
	}
	if free && !t.slots.IsZero() {
		t.c.host.Free(t.frame, 0)
		t.slots = mm.Page{}
	}
	t.Abandon(left)
}
