package nic

import (
	"sync"

	"nidus/drivers/link"
)

// Started is what became of a frame that a Queue was given.
type Started uint8

// What Queue.Start returns.
const (
	Taken   Started = iota // the device has it
	Full                   // there is no room now
	Refused                // the device can't send it, for a reason that Sendable does not know
)

// Queue is a card's queue of frames that are sent. Its methods are called with the
// Sender's lock.
type Queue interface {
	// Start gives the device a frame that is Sendable.
	Start(f *link.Frame) Started
	// Kick tells the device of what was started.
	Kick()
	// Next returns a frame that the device is done with, or nil. After an error the queue
	// is of no use any more.
	Next() (*link.Frame, error)
	// Rearm asks for an interrupt when the next frame is done. It is false if one is by now.
	Rearm() bool
}

// Sender is the half of a card that sends: it drops what there is no room for, and counts.
// Its fields are set before its methods are called.
type Sender struct {
	Counts *Counts
	Info   *link.Info
	Queue  Queue

	mu   sync.Mutex
	shut bool // nothing more is to be sent
}

// reapMost is how many frames are taken back at once.
const reapMost = 64

// Send gives the device frames, as far as there is room. The error is the Queue's.
func (s *Sender) Send(frames []*link.Frame) (err error) {
	var ended [2 * reapMost]*link.Frame
	for len(frames) > 0 {
		n := min(len(frames), reapMost)
		end, lost, full := ended[:0], 0, false
		s.mu.Lock()
		for _, f := range frames[:n] {
			if s.shut {
				lost++
				end = append(end, f)
				continue
			}
			is := Refused
			if Sendable(s.Info, f) {
				is = s.Queue.Start(f)
			}
			if is == Full && !full && err == nil {
				full = true
				if end, err = s.reap(end); err == nil {
					is = s.Queue.Start(f)
				}
			}
			switch is {
			case Full:
				lost++
				end = append(end, f)
			case Refused:
				s.Counts.SentErrors.Add(1)
				end = append(end, f)
			}
		}
		if !s.shut {
			s.Queue.Kick()
		}
		s.mu.Unlock()
		s.Counts.SentDropped.Add(uint64(lost))
		done(end)
		frames = frames[n:]
	}
	return err
}

func done(frames []*link.Frame) {
	for _, f := range frames {
		f.Done(f)
	}
}

// reap appends frames that the device has done, reapMost at most, to end. Preconditions:
// mu, not shut.
func (s *Sender) reap(end []*link.Frame) ([]*link.Frame, error) {
	n, bytes := 0, 0
	defer func() {
		s.Counts.SentFrames.Add(uint64(n))
		s.Counts.SentBytes.Add(uint64(bytes))
	}()
	for ; n < reapMost; n++ {
		f, err := s.Queue.Next()
		if f == nil {
			return end, err
		}
		end = append(end, f)
		bytes += f.Len()
	}
	return end, nil
}

// Interrupt takes the frames that the device has done. more tells that there are further
// ones by now. The error is the Queue's.
func (s *Sender) Interrupt() (more bool, err error) {
	var ended [reapMost]*link.Frame
	end := ended[:0]
	s.mu.Lock()
	if !s.shut {
		end, err = s.reap(end)
		more = err == nil && (len(end) == reapMost || !s.Queue.Rearm())
	}
	s.mu.Unlock()
	done(end)
	return more, err
}

// Stop has nothing more be sent, and the Queue be left alone.
func (s *Sender) Stop() {
	s.mu.Lock()
	s.shut = true
	s.mu.Unlock()
}

// Resume lifts Stop.
func (s *Sender) Resume() {
	s.mu.Lock()
	s.shut = false
	s.mu.Unlock()
}

// Abandon ends frames that the device had when Stop was called, and does not reach any more.
func (s *Sender) Abandon(frames []*link.Frame) {
	s.Counts.SentDropped.Add(uint64(len(frames)))
	done(frames)
}
