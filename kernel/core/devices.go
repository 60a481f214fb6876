package core

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"nidus/drivers/backend"
	"nidus/rpc/control"
)

// device is a disk or an interface that a domain has.
type device interface {
	comparable
	info() control.DeviceInfo
	backend() *backend.Device
	close()
	// held says, for people, that the guest has not let go of it.
	held() string
}

// devices are those of a kind that a domain has.
type devices[D device] struct {
	mu   sync.Mutex
	all  []D
	gone bool // the domain is being destroyed
}

// room tells whether the domain may get one more of most; which and kind are what a person
// calls it and them. mu is held.
func (l *devices[D]) room(e *Entry, most int, which, kind string) error {
	if l.gone {
		return control.Errorf(control.ErrNoDomain, "domain %d is being destroyed", e.ID)
	}
	if len(l.all) >= most {
		return control.Errorf(control.ErrBadConfig, "%s: %d %s are the most that a domain can have", which, most, kind)
	}
	return nil
}

// infos describes them.
func (l *devices[D]) infos() []control.DeviceInfo {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []control.DeviceInfo
	for _, d := range l.all {
		out = append(out, d.info())
	}
	return out
}

// end ends all of them, and no other comes.
func (l *devices[D]) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, d := range l.all {
		d.close()
	}
	l.all, l.gone = nil, true
}

// detach takes the one that find returns, with mu held, from its domain: once the guest has
// let go of it, which it need not, or at once if force is set.
func (l *devices[D]) detach(ctx context.Context, find func() (D, error), force bool) error {
	l.mu.Lock()
	d, err := find()
	l.mu.Unlock()
	if err != nil {
		return err
	}
	if !force {
		if err := d.backend().Detach(ctx); err != nil {
			return fmt.Errorf("%s: %w", d.held(), err)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if i := slices.Index(l.all, d); i >= 0 { // nobody else was faster
		l.all = slices.Delete(l.all, i, i+1)
		d.close()
	}
	return nil
}
