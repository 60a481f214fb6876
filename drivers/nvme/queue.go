package nvme

import (
	"errors"
	"fmt"

	"nidus/drivers/device"
	"nidus/mm"
)

// ErrBroken says that a device has put into a queue what can't be there.
var ErrBroken = errors.New("the device does not keep to the protocol")

// maxDepth is the largest queue: its commands fit into a frame.
const maxDepth = mm.PageSize / commandSize

// command is a submission queue entry (section 4.2), without what every one has.
type command struct {
	op    uint32 // and flags: all of the first word but the identifier
	nsid  uint32
	data  [2]uint64 // DPTR
	words [3]uint32 // 10 to 12
}

// rings are a pair of queues. The driver's own state is outside of the memory that the
// device writes. Methods need the caller's lock.
//
// There is never more in flight than the submission queue holds, so that it has room
// without looking at the head that the device reports. An identifier is a slot and how
// often that was used: a completion that comes twice, or of before, is found out.
type rings struct {
	mem      device.Memory
	regs     device.Registers
	doorbell uint64 // of the submission queue; the other's follows by stride
	stride   uint64
	frames   [2]mm.MFN // 0: none
	sq, cq   mm.Page
	depth    uint16 // of both

	tail, head uint16
	phase      uint32
	free       []uint16
	busy       []bool
	uses       []uint8
	bad        error
}

// allocate takes the memory.
func (r *rings) allocate(mem device.Memory, depth uint16) error {
	r.mem, r.depth = mem, depth
	for i := range r.frames {
		m, err := mem.Alloc(0, mm.ZoneAny)
		if err != nil {
			return fmt.Errorf("a queue's memory: %w", err)
		}
		r.frames[i] = m
	}
	r.sq, r.cq = mem.Page(r.frames[0]), mem.Page(r.frames[1])
	r.busy, r.uses = make([]bool, depth-1), make([]uint8, depth-1)
	return nil
}

// place finds the doorbells of queues number index.
func (r *rings) place(regs device.Registers, stride uint64, index uint16) {
	r.regs, r.stride, r.doorbell = regs, stride, doorbells+2*uint64(index)*stride
}

// release gives the memory back. Preconditions: the device does not reach it.
func (r *rings) release() {
	for i, m := range r.frames {
		if m != 0 {
			r.mem.Free(m, 0)
		}
		r.frames[i] = 0
	}
}

// reset makes both queues empty. Preconditions: the device does not use them.
func (r *rings) reset() {
	if !r.cq.IsZero() {
		r.cq.Clear()
	}
	r.tail, r.head, r.phase, r.bad = 0, 0, phase, nil
	r.free = r.free[:0]
	for i := range uint16(len(r.busy)) {
		r.busy[i] = false
		r.free = append(r.free, i)
	}
}

// take returns a free slot. Preconditions: there is one.
func (r *rings) take() (slot uint16) {
	slot = r.free[len(r.free)-1]
	r.free = r.free[:len(r.free)-1]
	return slot
}

// put gives the device a command in a slot that was taken.
func (r *rings) put(slot uint16, c *command) {
	r.busy[slot] = true
	r.uses[slot]++
	at := int(r.tail) * commandSize
	r.sq.Store64(at, uint64(c.op)|uint64(r.identifier(slot))<<16|uint64(c.nsid)<<32)
	r.sq.Store64(at+8, 0)
	r.sq.Store64(at+16, 0) // metadata
	r.sq.Store64(at+24, c.data[0])
	r.sq.Store64(at+32, c.data[1])
	r.sq.Store64(at+40, uint64(c.words[0])|uint64(c.words[1])<<32)
	r.sq.Store64(at+48, uint64(c.words[2]))
	r.sq.Store64(at+56, 0)
	if r.tail++; r.tail == r.depth {
		r.tail = 0
	}
	r.regs.Store32(r.doorbell, uint32(r.tail))
}

// identifier is what the device calls the command in a slot. It is never 0xffff, which
// the specification keeps for something else: slots are below maxDepth.
func (r *rings) identifier(slot uint16) uint16 { return slot | uint16(r.uses[slot])<<8 }

// next takes a completion: its slot, which is the caller's then (put, or give), its first
// word and its last. ok is false if there is none. The error wraps ErrBroken: the queue is
// of no use from then on.
func (r *rings) next() (slot uint16, result, status uint32, ok bool, err error) {
	if r.bad != nil {
		return 0, 0, 0, false, r.bad
	}
	at := int(r.head) * completionSize
	status = r.cq.Load32(at + 12)
	if status&phase != r.phase {
		return 0, 0, 0, false, nil
	}
	id := uint16(status)
	if slot = id & 0xff; int(slot) >= len(r.busy) || !r.busy[slot] || r.identifier(slot) != id {
		r.bad = fmt.Errorf("command %#x is done, which is not in flight: %w", id, ErrBroken)
		return 0, 0, 0, false, r.bad
	}
	result = r.cq.Load32(at)
	r.busy[slot] = false
	if r.head++; r.head == r.depth {
		r.head, r.phase = 0, r.phase^phase
	}
	return slot, result, status, true, nil
}

// give makes a slot free again.
func (r *rings) give(slot uint16) { r.free = append(r.free, slot) }

// taken tells the device how far its completions were taken.
func (r *rings) taken() { r.regs.Store32(r.doorbell+r.stride, uint32(r.head)) }
