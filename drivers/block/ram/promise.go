package ram

import (
	"fmt"
	"sync"

	"nidus/mm"
)

// Promises counts the memory that disks which are written may yet take, so that it is not
// given to others meanwhile. The zero value promises nothing and never refuses.
type Promises struct {
	// Free tells how many bytes of memory there are, those that are promised among them;
	// nil: enough.
	Free func() uint64

	mu    sync.Mutex
	bytes uint64
}

// Bytes is how much is promised.
func (p *Promises) Bytes() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.bytes
}

// promise promises n bytes. The error wraps mm.ErrNoMemory.
func (p *Promises) promise(n uint64) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.Free != nil {
		if free := p.Free(); p.bytes > free || n > free-p.bytes {
			return fmt.Errorf("what is written to it may take %d MiB, and %d are free that nobody was promised; it can be had read-only: %w",
				(n+1<<20-1)>>20, (max(free, p.bytes)-p.bytes)>>20, mm.ErrNoMemory)
		}
	}
	p.bytes += n
	return nil
}

// kept says that n bytes of what was promised were given, or are wanted no more.
func (p *Promises) kept(n uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.bytes -= n
}

// again says that n bytes which were given came back, and may be asked for once more.
func (p *Promises) again(n uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.bytes += n
}
