package pipe

import (
	"sync"
	"sync/atomic"
	"testing"

	"nidus/drivers/link"
)

func TestPipe(t *testing.T) {
	a, b := New(link.Info{Name: "a"}, link.Info{Name: "b"})
	done := 0
	frame := func() *link.Frame {
		return &link.Frame{Head: make([]byte, 60), Done: func(*link.Frame) { done++ }}
	}
	a.Send([]*link.Frame{frame()})
	if s := a.Stats(); done != 1 || s.SentDropped != 1 || s.SentFrames != 0 {
		t.Errorf("without a receiver: %d done, %+v", done, s)
	}
	got := 0
	b.Receive(func(fs []*link.Frame) {
		for _, f := range fs {
			got += f.Len()
			f.Done(f)
		}
	})
	a.Send([]*link.Frame{frame(), frame()})
	if s, r := a.Stats(), b.Stats(); got != 120 || done != 3 || s.SentFrames != 2 || s.SentBytes != 120 || r.ReceivedFrames != 2 || r.ReceivedBytes != 120 || r.ReceivedDropped != 1 {
		t.Errorf("%d bytes, %d done, %+v, %+v", got, done, s, r)
	}
	up, changed := a.Up()
	b.Close()
	<-changed
	if now, _ := a.Up(); !up || now {
		t.Errorf("up %v, after the other end's Close %v", up, now)
	}
	a.Send([]*link.Frame{frame()})
	if done != 4 || got != 120 {
		t.Errorf("after Close: %d bytes, %d done", got, done)
	}
}

// Close returns when no receiver runs, whatever is sent meanwhile.
func TestCloseRaces(t *testing.T) {
	for range 200 {
		a, b := New(link.Info{}, link.Info{})
		var closed atomic.Bool
		b.Receive(func(fs []*link.Frame) {
			if closed.Load() {
				t.Error("a receiver runs after Close")
			}
			fs[0].Done(fs[0])
		})
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for range 50 {
					a.Send([]*link.Frame{{Head: make([]byte, 14), Done: func(*link.Frame) {}}})
				}
			})
		}
		b.Close()
		closed.Store(true)
		wg.Wait()
	}
}
