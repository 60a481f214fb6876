package virtionet

import (
	"sync"

	"nidus/drivers/link"
	"nidus/drivers/nic"
	"nidus/drivers/virtio"
	"nidus/mm"
)

// slotSize is the room of a header in the frame that all of a queue's share.
const slotSize = mm.PageSize / depth

// transmitter is a queue of frames that are sent.
type transmitter struct {
	c    *Card
	mu   sync.Mutex
	q    *virtio.Queue
	shut bool // nothing more is to be sent

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
	var ended [2 * reapMost]*link.Frame
	for len(frames) > 0 {
		n := min(len(frames), reapMost)
		end, lost, full := ended[:0], 0, false
		var bad error
		t.mu.Lock()
		for _, f := range frames[:n] {
			if !t.shut && !nic.Sendable(&t.c.info, f) {
				t.c.SentErrors.Add(1)
				end = append(end, f)
				continue
			}
			ok := t.start(f)
			if !ok && !full {
				full = true
				end, bad = t.reap(end)
				ok = t.start(f)
			}
			if !ok {
				lost++
				end = append(end, f)
			}
		}
		if !t.shut {
			t.q.Kick()
		}
		t.mu.Unlock()
		t.c.SentDropped.Add(uint64(lost))
		done(end)
		if bad != nil {
			t.c.lose(bad)
		}
		frames = frames[n:]
	}
}

func done(frames []*link.Frame) {
	for _, f := range frames {
		f.Done(f)
	}
}

// start gives the device a frame. It is false if there is no room. Preconditions: mu.
func (t *transmitter) start(f *link.Frame) bool {
	n := len(t.free)
	if t.shut || n == 0 {
		return false
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
		return false
	}
	t.free = t.free[:n-1]
	t.flying[id] = sent{f, slot}
	return true
}

// reapMost is how many frames are taken back at once.
const reapMost = 64

// reap appends frames that the device has done, reapMost at most, to end. Preconditions: mu.
func (t *transmitter) reap(end []*link.Frame) ([]*link.Frame, error) {
	n, bytes := 0, 0
	defer func() {
		t.c.SentFrames.Add(uint64(n))
		t.c.SentBytes.Add(uint64(bytes))
	}()
	for ; !t.shut && n < reapMost; n++ {
		id, _, ok, err := t.q.Next()
		if !ok {
			return end, err
		}
		s := t.flying[id]
		t.flying[id] = sent{}
		t.free = append(t.free, s.slot)
		end = append(end, s.f)
		bytes += s.f.Len()
	}
	return end, nil
}

// interrupt takes the frames that the device has done. more tells that there are further
// ones by now.
func (t *transmitter) interrupt() (more bool, err error) {
	var ended [reapMost]*link.Frame
	t.mu.Lock()
	end, err := t.reap(ended[:0])
	more = err == nil && !t.shut && (len(end) == reapMost || !t.q.Rearm())
	t.mu.Unlock()
	done(end)
	return more, err
}

// stop has nothing more be sent.
func (t *transmitter) stop() {
	t.mu.Lock()
	t.shut = true
	t.mu.Unlock()
}

// abandon ends what is in flight. Preconditions: stop, and the device does not reach
// memory; free tells whether that is for ever.
func (t *transmitter) abandon(free bool) {
	t.mu.Lock()
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
	t.mu.Unlock()
	t.c.SentDropped.Add(uint64(len(left)))
	done(left)
}
