package console

import (
	"context"
	"fmt"
	"io"
	"sync"
)

// History is the last output of one console. Writers never wait: a reader that
// falls behind by more than the history holds loses the oldest bytes and finds
// a marker in their place.
type History struct {
	mu    sync.Mutex
	buf   []byte // ring; the byte of position p is at p % len(buf)
	end   uint64 // position behind the newest byte
	start uint64 // nothing before it is shown any more (Clear)
	limit func(n int) int
	cut   uint64        // bytes the limit dropped
	more  chan struct{} // closed and replaced when something is written; nil while nobody waits
}

// NewHistory returns a history of size bytes. limit, if not nil, says of each
// write how many of its n bytes are kept; it runs under the history's lock.
func NewHistory(size int, limit func(n int) int) *History {
	return &History{buf: make([]byte, max(size, 1)), limit: limit}
}

// Write keeps p. It never fails, and allocates nothing.
func (h *History) Write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := len(p)
	if h.limit != nil {
		k := min(max(h.limit(n), 0), n)
		h.cut += uint64(n - k)
		p = p[:k]
	}
	if over := len(p) - len(h.buf); over > 0 {
		h.end += uint64(over)
		p = p[over:]
	}
	for len(p) > 0 {
		k := copy(h.buf[h.end%uint64(len(h.buf)):], p)
		h.end += uint64(k)
		p = p[k:]
	}
	if h.more != nil {
		close(h.more)
		h.more = nil
	}
	return n, nil
}

// Written returns how many bytes came so far, kept or not any more, and how
// many the limit dropped.
func (h *History) Written() (kept, dropped uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.end, h.cut
}

// oldest returns the position of the oldest byte there is. h.mu is held.
func (h *History) oldest() uint64 {
	if n := uint64(len(h.buf)); h.end > n {
		return max(h.start, h.end-n)
	}
	return h.start
}

// Take is Bytes, and forgets them, for who comes later; readers that are attached
// find a marker where they have not read yet.
func (h *History) Take() []byte {
	h.mu.Lock()
	defer h.mu.Unlock()
	b := make([]byte, h.end-h.oldest())
	h.copyFrom(h.oldest(), b)
	h.start = h.end
	return b
}

// Bytes returns what the history holds, oldest first.
func (h *History) Bytes() []byte {
	h.mu.Lock()
	defer h.mu.Unlock()
	b := make([]byte, h.end-h.oldest())
	h.copyFrom(h.oldest(), b)
	return b
}

func (h *History) copyFrom(at uint64, dst []byte) int {
	n := 0
	for n < len(dst) && at < h.end {
		i := at % uint64(len(h.buf))
		k := copy(dst[n:], h.buf[i:min(uint64(len(h.buf)), i+h.end-at)])
		n, at = n+k, at+uint64(k)
	}
	return n
}

// Reader is one reader of a History: it gets what is kept, then what comes. A
// Reader that is dropped needs no closing.
type Reader struct {
	h    *History
	at   uint64
	mark []byte // what is left to give of the marker
}

// Attach returns a reader that starts with the history's oldest byte.
func (h *History) Attach() *Reader {
	h.mu.Lock()
	defer h.mu.Unlock()
	return &Reader{h: h, at: h.oldest()}
}

// AttachLive returns a reader that starts with what comes next.
func (h *History) AttachLive() *Reader {
	h.mu.Lock()
	defer h.mu.Unlock()
	return &Reader{h: h, at: h.end}
}

// TryRead fills b with what there is and returns how much; it does not wait.
func (r *Reader) TryRead(b []byte) int {
	r.h.mu.Lock()
	defer r.h.mu.Unlock()
	return r.read(b)
}

func (r *Reader) read(b []byte) int {
	if old := r.h.oldest(); r.at < old {
		r.mark = fmt.Appendf(r.mark[:0], "\r\n[%d bytes lost]\r\n", old-r.at)
		r.at = old
	}
	n := copy(b, r.mark)
	r.mark = r.mark[n:]
	k := r.h.copyFrom(r.at, b[n:])
	r.at += uint64(k)
	return n + k
}

// Read waits until there is something, or ctx ends, and fills b with it.
func (r *Reader) Read(ctx context.Context, b []byte) (int, error) {
	if len(b) == 0 {
		return 0, io.ErrShortBuffer
	}
	for {
		r.h.mu.Lock()
		if n := r.read(b); n > 0 {
			r.h.mu.Unlock()
			return n, nil
		}
		if r.h.more == nil {
			r.h.more = make(chan struct{})
		}
		more := r.h.more
		r.h.mu.Unlock()
		select {
		case <-more:
		case <-ctx.Done():
			return 0, fmt.Errorf("console: reader detached: %w", ctx.Err())
		}
	}
}
