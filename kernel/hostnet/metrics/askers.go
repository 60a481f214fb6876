package metrics

import (
	"net"
	"slices"
	"sync"
)

// askers are the connections that there are, the oldest first. One more than there may be
// takes the place of the oldest one from the address that has most: who connects and says
// nothing keeps nobody else from asking.
type askers struct {
	mu  sync.Mutex
	all []asker
}

type asker struct {
	net.Conn
	from string
}

// add adds a connection, and closes another one if there are too many.
func (a *askers) add(c net.Conn) {
	from, _, _ := net.SplitHostPort(c.RemoteAddr().String())
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.all) == maxConns {
		by := map[string]int{from: 1}
		for _, o := range a.all {
			by[o.from]++
		}
		out, most := 0, 0
		for i, o := range a.all {
			if n := by[o.from]; n > most {
				out, most = i, n
			}
		}
		a.all[out].Close()
		a.all = slices.Delete(a.all, out, out+1)
	}
	a.all = append(a.all, asker{c, from})
}

// remove forgets a connection that has ended.
func (a *askers) remove(c net.Conn) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.all = slices.DeleteFunc(a.all, func(o asker) bool { return o.Conn == c })
}
