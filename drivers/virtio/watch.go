package virtio

import (
	"sync"
	"time"
)

// watchEvery is how soon it is noticed that a device was pulled out, which no interrupt
// tells of.
const watchEvery = time.Second

// watcher looks whether a device is there from Start to Close.
type watcher struct {
	mu    sync.Mutex
	alive bool
	stop  chan struct{}
}

// begin calls gone once if dead becomes true.
func (w *watcher) begin(dead func() bool, gone func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.alive, w.stop = true, make(chan struct{})
	go func() {
		t := time.NewTicker(watchEvery)
		defer t.Stop()
		for {
			select {
			case <-w.stop:
				return
			case <-t.C:
			}
			w.mu.Lock()
			bad := w.alive && dead()
			w.mu.Unlock()
			if bad {
				gone()
				return
			}
		}
	}()
}

// end returns when nobody looks any more; gone may be under way.
func (w *watcher) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.alive {
		w.alive = false
		close(w.stop)
	}
}

// works tells whether begin was called, and end was not.
func (w *watcher) works() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.alive
}
