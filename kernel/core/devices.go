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
	// changing is held by who changes all, gone or a device, which may take as long as a
	// medium takes; mu while that is written, and by who reads it without changing.
	changing sync.Mutex
	mu       sync.Mutex
	all      []D
	gone     bool // the domain is being destroyed
}

// room tells whether the domain may get one more of most; which and kind are what a person
// calls it and them. changing is held.
func (l *devices[D]) room(e *Entry, most int, which, kind string) error {
	if l.gone {
		return control.Errorf(control.ErrNoDomain, "domain %d is being destroyed", e.ID)
	}
	if len(l.all) >= most {
		return control.Errorf(control.ErrBadConfig, "%s: %d %s are the most that a domain can have", which, most, kind)
	}
	return nil
}

// add appends one. changing is held.
func (l *devices[D]) add(d D) {
	l.mu.Lock()
	l.all = append(l.all, d)
	l.mu.Unlock()
}

// infos describes them, those that are being closed as well.
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
	l.changing.Lock()
	defer l.changing.Unlock()
	for _, d := range l.all {
		d.close()
	}
	l.mu.Lock()
	l.all, l.gone = nil, true
	l.mu.Unlock()
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
	l.changing.Lock()
	defer l.changing.Unlock()
	if slices.Contains(l.all, d) { // nobody else was faster
		d.close()
		l.mu.Lock()
		l.all = slices.DeleteFunc(l.all, func(o D) bool { return o == d })
		l.mu.Unlock()
	}
	return nil
}
