package image

import (
	"container/list"
	"crypto/sha256"
	"fmt"
	"sync"
)

// Cache keeps decoded kernels by the hash of their packed file, so that the
// second domain of a kernel starts without unpacking it again. It is safe for
// concurrent use. The least recently used kernels go when the unpacked copies
// exceed the limit.
type Cache struct {
	limit int64

	mu     sync.Mutex
	held   int64
	recent *list.List // of *entry, most recently used first
	byHash map[[sha256.Size]byte]*list.Element
	byID   map[string]*list.Element
	busy   map[[sha256.Size]byte]*flight
}

// entry is a kernel in the cache, and the identities known to be it.
type entry struct {
	kernel *Kernel
	ids    []string
}

// flight is a kernel being decoded; others who want it wait for done.
type flight struct {
	done   chan struct{}
	kernel *Kernel
	err    error
}

// entryCost is what a kernel costs beside its unpacked copy, generously.
const entryCost = 16 << 10

// maxIDs bounds the identities remembered for one kernel.
const maxIDs = 16

// NewCache returns a cache that holds at most limit bytes of unpacked kernels.
// With a limit of 0 it holds none, and decodes every time.
func NewCache(limit int64) *Cache {
	return &Cache{
		limit: limit, recent: list.New(),
		byHash: make(map[[sha256.Size]byte]*list.Element),
		byID:   make(map[string]*list.Element),
		busy:   make(map[[sha256.Size]byte]*flight),
	}
}

// Decode is Decode with the cache in between; warm tells whether the kernel
// was there, or nothing had to be unpacked: segments of a plain ELF file alias it,
// and the Cache neither hashes nor keeps it. identity, if not empty, names contents that never change, such
// as a boot module by its number: it spares hashing the file again. An
// identity must never be used for other contents, unless Forget comes between.
//
// Callers that want the same kernel at once wait for the first one, whose
// limits hold for all.
func (c *Cache) Decode(identity, name string, data []byte, limits Limits) (k *Kernel, warm bool, err error) {
	if k := c.lookupID(identity); k != nil {
		return k.named(name), true, nil
	}
	if isELF(data) {
		k, err = Decode(name, data, limits)
		return k, true, err
	}
	hash := sha256.Sum256(data)
	c.mu.Lock()
	if e := c.byHash[hash]; e != nil {
		c.touch(e, identity)
		k := e.Value.(*entry).kernel
		c.mu.Unlock()
		return k.named(name), true, nil
	}
	if f := c.busy[hash]; f != nil {
		c.mu.Unlock()
		<-f.done
		if f.err != nil {
			return nil, false, fmt.Errorf("kernel %s: %w", name, f.err)
		}
		return f.kernel.named(name), true, nil
	}
	f := &flight{done: make(chan struct{})}
	c.busy[hash] = f
	c.mu.Unlock()

	f.kernel, f.err = decode(data, limits.withDefaults())
	if f.err == nil {
		f.kernel.Name, f.kernel.hash = name, hash
	}
	c.mu.Lock()
	delete(c.busy, hash)
	if f.err == nil {
		c.insert(f.kernel, identity)
	}
	c.mu.Unlock()
	close(f.done)
	if f.err != nil {
		return nil, false, fmt.Errorf("kernel %s: %w", name, f.err)
	}
	return f.kernel, false, nil
}

// Forget drops what identity stands for, because its contents changed or its
// memory goes away.
func (c *Cache) Forget(identity string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.byID[identity]; e != nil {
		c.drop(e)
	}
}

// Held returns the bytes that the cache accounts for, and the number of
// kernels in it.
func (c *Cache) Held() (bytes int64, kernels int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.held, c.recent.Len()
}

// Shrink drops the least recently used kernels until at most limit bytes are
// held: for when memory is short.
func (c *Cache) Shrink(limit int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.shrink(limit)
}

func (c *Cache) lookupID(identity string) *Kernel {
	if identity == "" {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.byID[identity]
	if e == nil {
		return nil
	}
	c.recent.MoveToFront(e)
	return e.Value.(*entry).kernel
}

// touch marks e as just used, under one more identity. c.mu is held.
func (c *Cache) touch(e *list.Element, identity string) {
	c.recent.MoveToFront(e)
	v := e.Value.(*entry)
	if identity != "" && c.byID[identity] == nil && len(v.ids) < maxIDs {
		c.byID[identity] = e
		v.ids = append(v.ids, identity)
	}
}

// insert adds k and makes room for it. c.mu is held.
func (c *Cache) insert(k *Kernel, identity string) {
	if k.cost() > c.limit {
		return
	}
	c.shrink(c.limit - k.cost())
	e := c.recent.PushFront(&entry{kernel: k})
	c.byHash[k.hash] = e
	c.held += k.cost()
	c.touch(e, identity)
}

// shrink drops from the old end. c.mu is held.
func (c *Cache) shrink(limit int64) {
	for c.held > limit && c.recent.Len() > 0 {
		c.drop(c.recent.Back())
	}
}

// drop removes e. c.mu is held.
func (c *Cache) drop(e *list.Element) {
	v := c.recent.Remove(e).(*entry)
	delete(c.byHash, v.kernel.hash)
	for _, id := range v.ids {
		delete(c.byID, id)
	}
	c.held -= v.kernel.cost()
}

func (k *Kernel) cost() int64 { return int64(k.Held) + entryCost }

// named returns k under another name, for messages.
func (k *Kernel) named(name string) *Kernel {
	if k.Name == name {
		return k
	}
	c := *k
	c.Name = name
	return &c
}
