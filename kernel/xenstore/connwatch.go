package xenstore

import (
	"context"
	"fmt"
	"slices"
)

// Watch is a watch of a Conn, with the events that nobody took yet. An event
// that is pending is not queued twice; when too many pend, they become one
// event with the watch's own path. So an event says "look again", no more.
type Watch struct {
	w     watch
	path  string
	queue []string
	limit int
	wake  chan struct{} // holds a token while queue may have something
}

// Watch begins to watch path (or a special path such as ReleaseDomain) and what
// is below it. The first event comes at once, with the path itself.
func (k *Conn) Watch(path string) (*Watch, error) {
	w := &Watch{path: path, limit: 1024, wake: make(chan struct{}, 1)}
	w.w.path = path
	if !special(path) {
		abs, relative, err := resolve(k.c.dom, path)
		if err != 0 {
			return nil, fmt.Errorf("xenstore: watch: bad path %q: %w", path, err)
		}
		w.w.path = abs
		if relative {
			w.w.strip = len(abs) - len(path)
		}
	}
	w.w.deliver = func(_ *watch, p string) { w.push(p) }
	k.c.s.lock()
	defer k.c.s.unlock()
	// The token only tells this connection's watches apart.
	w.w.token = fmt.Sprint(k.c.s.watchSeq + 1)
	if err := k.c.addWatch(&w.w); err != 0 {
		return nil, fmt.Errorf("xenstore: watch %s: %w", path, err)
	}
	w.push(path)
	return w, nil
}

func (w *Watch) push(p string) {
	switch {
	case slices.Contains(w.queue, p):
	case len(w.queue) >= w.limit:
		w.queue = append(w.queue[:0], w.path)
	default:
		w.queue = append(w.queue, p)
	}
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// Next waits for an event and returns the path that changed, relative if the
// watched path was. Only one goroutine waits on a Watch at a time.
func (w *Watch) Next(ctx context.Context) (string, error) {
	for {
		s := w.w.c.s
		s.lock()
		if len(w.queue) > 0 {
			p := w.queue[0]
			w.queue = slices.Delete(w.queue, 0, 1)
			s.unlock()
			return p, nil
		}
		s.unlock()
		select {
		case <-w.wake:
		case <-ctx.Done():
			return "", fmt.Errorf("xenstore: watch %s: %w", w.path, ctx.Err())
		}
	}
}

// Close ends the watch.
func (w *Watch) Close() {
	c := w.w.c
	c.s.lock()
	defer c.s.unlock()
	_ = c.delWatch(w.w.path, w.w.token, w.w.strip)
}

// WatchFunc calls fn for each event of path on a goroutine of its own, until
// ctx ends.
func (k *Conn) WatchFunc(ctx context.Context, path string, fn func(path string)) error {
	w, err := k.Watch(path)
	if err != nil {
		return err
	}
	go func() {
		defer w.Close()
		for {
			p, err := w.Next(ctx)
			if err != nil {
				return
			}
			fn(p)
		}
	}()
	return nil
}
