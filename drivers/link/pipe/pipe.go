// Package pipe joins two users of network ports in memory: what one end is sent, the
// other receives, at once and by the sender's goroutine. The host's TCP/IP stack is at one
// end, a bridge has the other.
package pipe

import (
	"sync"
	"sync/atomic"

	"nidus/drivers/link"
)

// End is one end of a pipe; it implements link.Port. There is always a link, until one of
// the ends is closed.
type End struct {
	info     link.Info
	peer     *End
	receiver atomic.Pointer[link.Receiver]

	sentFrames, sentBytes, sentDropped atomic.Uint64

	both *both
	busy sync.WaitGroup // calls of the receiver; both.mu guards Add
}

// both is what the two ends share.
type both struct {
	mu     sync.Mutex
	gone   bool
	goneCh chan struct{}
}

// New makes a pipe. What an end takes (Info.Take) is what the user of the other one can
// receive.
func New(a, b link.Info) (*End, *End) {
	s := &both{goneCh: make(chan struct{})}
	x, y := &End{info: a, both: s}, &End{info: b, both: s}
	x.peer, y.peer = y, x
	return x, y
}

// Info implements link.Port.
func (e *End) Info() link.Info { return e.info }

// Receive implements link.Port.
func (e *End) Receive(r link.Receiver) {
	if r == nil {
		e.receiver.Store(nil)
		return
	}
	e.receiver.Store(&r)
}

// Send implements link.Port.
func (e *End) Send(frames []*link.Frame) {
	n := 0
	for _, f := range frames {
		n += f.Len()
	}
	r := e.peer.enter()
	if r == nil {
		e.sentDropped.Add(uint64(len(frames)))
		for _, f := range frames {
			f.Done(f)
		}
		return
	}
	defer e.peer.busy.Done()
	e.sentFrames.Add(uint64(len(frames)))
	e.sentBytes.Add(uint64(n))
	r(frames)
}

// enter begins a call of the receiver, which is nil if there is none.
func (e *End) enter() link.Receiver {
	r := e.receiver.Load()
	if r == nil {
		return nil
	}
	e.both.mu.Lock()
	defer e.both.mu.Unlock()
	if e.both.gone {
		return nil
	}
	e.busy.Add(1)
	return *r
}

// Up implements link.Port.
func (e *End) Up() (bool, <-chan struct{}) {
	e.both.mu.Lock()
	defer e.both.mu.Unlock()
	return !e.both.gone, e.both.goneCh
}

// Stats implements link.Port.
func (e *End) Stats() link.Stats {
	return link.Stats{
		SentFrames: e.sentFrames.Load(), SentBytes: e.sentBytes.Load(), SentDropped: e.sentDropped.Load(),
		ReceivedFrames: e.peer.sentFrames.Load(), ReceivedBytes: e.peer.sentBytes.Load(), ReceivedDropped: e.peer.sentDropped.Load(),
	}
}

// Close implements link.Port: it ends the pipe for both. Frames that a receiver has are
// still its own until they are Done.
func (e *End) Close() error {
	e.both.mu.Lock()
	if !e.both.gone {
		e.both.gone = true
		close(e.both.goneCh)
	}
	e.both.mu.Unlock()
	e.busy.Wait()
	e.peer.busy.Wait()
	return nil
}
