package block

import "sync"

// Gate counts what is under way in a device, for its Close. The zero Gate is open.
type Gate struct {
	mu     sync.Mutex
	idle   sync.Cond
	flying int
	shut   bool
}

// Enter counts one more, unless the gate is shut.
func (g *Gate) Enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.shut {
		g.flying++
	}
	return !g.shut
}

// Shutting tells whether Shut was called: what takes long under way can end.
func (g *Gate) Shutting() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.shut
}

// Admit is how a device's Submit begins: it counts r in and returns the bytes of its segments.
// If i forbids r, or the gate is shut, it ends r, and ok is false.
func (g *Gate) Admit(i *Info, r *Request) (bytes uint64, ok bool) {
	bytes, err := i.Check(r)
	if err == nil && !g.Enter() {
		err = ErrGone
	}
	if err != nil {
		r.Done(r, err)
	}
	return bytes, err == nil
}

// Leave counts one less.
func (g *Gate) Leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.flying--; g.flying == 0 && g.idle.L != nil {
		g.idle.Broadcast()
	}
}

// Shut lets nobody in any more, and waits until all have left.
func (g *Gate) Shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut, g.idle.L = true, &g.mu
	for g.flying > 0 {
		g.idle.Wait()
	}
}
