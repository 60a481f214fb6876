// Package backend is what all backends in the image have in common: the life of a
// device in xenstore (io/xenbus.h, and the diagrams of io/blkif.h and io/netif.h), and
// how the guest's pages and event channels are reached.
//
// A guest's nodes are text of somebody hostile, its grants and ports may be taken back
// at any moment, and it may go through the states in any order. A device whose guest
// breaks the protocol is closed, says so once in the log, and stays closed.
package backend

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"nidus/kernel/xenstore"
)

// Driver is one kind of backend, for one device.
type Driver interface {
	// Offer returns the nodes that a frontend may want to see before it connects.
	Offer() []Node
	// Connect connects to what f says, and returns the nodes that tell of the device.
	// The connection calls fail, once or more, from any goroutine, if the guest breaks
	// the protocol, and does nothing more for it.
	Connect(f Frontend, fail func(error)) (Conn, []Node, error)
}

// Conn is a connection to a frontend.
type Conn interface {
	// Close ends it: nothing of the guest is used any more when it returns.
	Close()
}

// Config is what a Device is made of.
type Config struct {
	Guest  *Guest
	Store  *xenstore.Store
	Kind   string // vbd, vif
	ID     uint32
	Driver Driver
	// Front and Back are nodes that are there from the beginning.
	Front, Back []Node
	// Log gets a line that a person is to see.
	Log func(format string, args ...any)
}

// Device is a backend of one device of one guest.
type Device struct {
	cfg         Config
	conn        *xenstore.Conn
	front, back string
	cancel      context.CancelFunc
	worker      sync.WaitGroup
	closed      chan struct{} // closed when the guest has let go of a device that is offline
	failed      chan error

	// stepping is held by the worker while it follows the frontend, and by Tell.
	stepping sync.Mutex
	// Of the worker.
	state State
	link  Conn
}

// New makes the device's nodes and begins to serve it.
func New(c Config) (*Device, error) {
	d := &Device{cfg: c, conn: c.Store.Open(0), closed: make(chan struct{}), failed: make(chan error, 1)}
	d.front, d.back = Path(c.Guest.ID, c.Kind, c.ID)
	ctx, cancel := context.WithCancel(context.Background())
	d.cancel = cancel
	w, err := d.begin(ctx)
	if err != nil {
		cancel()
		d.conn.Close()
		return nil, fmt.Errorf("%s %d of domain %d: %w", c.Kind, c.ID, c.Guest.ID, err)
	}
	d.worker.Go(func() { d.serve(ctx, w) })
	return d, nil
}

// begin makes the nodes and watches the frontend's.
func (d *Device) begin(ctx context.Context) (*xenstore.Watch, error) {
	c := &d.cfg
	err := d.conn.Transact(ctx, func(t *xenstore.Tx) error {
		if _, err := t.Read(d.back + "/state"); err == nil {
			return fmt.Errorf("it is there already: %w", xenstore.EEXIST)
		}
		both := []struct {
			dir   string
			perms []xenstore.Perm
			nodes []Node
		}{
			{d.back, []xenstore.Perm{{Dom: 0, Access: xenstore.AccessNone}, {Dom: c.Guest.ID, Access: xenstore.AccessRead}}, append([]Node{
				{"frontend", d.front}, Num("frontend-id", uint32(c.Guest.ID)), {"online", "1"}}, append(c.Back, append(c.Driver.Offer(), Num("state", InitWait))...)...)},
			{d.front, []xenstore.Perm{{Dom: c.Guest.ID, Access: xenstore.AccessNone}, {Dom: 0, Access: xenstore.AccessRead}}, append([]Node{
				{"backend", d.back}, {"backend-id", "0"}}, append(c.Front, Num("state", Initialising))...)},
		}
		for _, b := range both {
			if err := t.Mkdir(b.dir); err != nil {
				return err
			}
			if err := t.SetPerms(b.dir, b.perms...); err != nil {
				return err
			}
			for _, n := range b.nodes {
				if err := t.Write(b.dir+"/"+n.Name, n.Value); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	d.state = InitWait
	w, err := d.conn.Watch(d.front + "/state")
	if err != nil {
		d.removeNodes()
	}
	return w, err
}

// serve follows the frontend's state until ctx ends.
func (d *Device) serve(ctx context.Context, w *xenstore.Watch) {
	defer d.disconnect()
	events := make(chan struct{})
	var watcher sync.WaitGroup
	defer watcher.Wait()
	watcher.Go(func() {
		for {
			if _, err := w.Next(ctx); err != nil {
				return
			}
			select {
			case events <- struct{}{}:
			case <-ctx.Done():
				return
			}
		}
	})
	defer w.Close()
	for {
		select {
		case <-ctx.Done():
			return
		case err := <-d.failed:
			d.fail(err)
			<-ctx.Done()
			return
		case <-events:
			if !d.step() {
				<-ctx.Done()
				return
			}
		}
	}
}

// step looks at the frontend's state and does what follows. It returns false if the
// device is closed for good.
func (d *Device) step() bool {
	d.stepping.Lock()
	defer d.stepping.Unlock()
	s, err := d.conn.Read(d.front + "/state")
	if err != nil {
		s = ""
	}
	switch f := ParseState(s); f {
	case Initialising: // one that has just started, or starts again
		if d.state != InitWait {
			d.disconnect()
			d.set(InitWait)
		}
	case Initialised, Connected:
		if d.state != InitWait {
			return true
		}
		link, nodes, err := d.cfg.Driver.Connect(Frontend{d.conn, d.front}, d.report)
		if err != nil {
			d.fail(err)
			return false
		}
		d.link = link
		d.set(Connected, append(nodes, Node{"hotplug-status", "connected"})...)
	case Closing:
		if d.state != Closed {
			d.disconnect()
			d.set(Closing)
		}
	case Closed, Unknown:
		d.disconnect()
		if d.state != Closed {
			d.set(Closed)
		}
		if on, err := d.conn.Read(d.back + "/online"); err != nil || on == "0" || f == Unknown {
			close(d.closed)
			return false
		}
	}
	return true
}

// set tells the frontend of our state, and nodes before it. Once Detach has asked for the
// device, a frontend that just connected or came back is told so again.
func (d *Device) set(s State, nodes ...Node) {
	err := d.conn.Transact(context.Background(), func(t *xenstore.Tx) error {
		// Whoever removed the directory doesn't want it back.
		if _, err := t.Read(d.back + "/state"); err != nil {
			return err
		}
		told := s
		if on, err := t.Read(d.back + "/online"); err == nil && on == "0" && s < Closing {
			told = Closing
		}
		for _, n := range append(nodes, Num("state", told)) {
			if err := t.Write(d.back+"/"+n.Name, n.Value); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil && !errors.Is(err, xenstore.ENOENT) {
		d.cfg.Log("%s %d of d%d: state %d: %v", d.cfg.Kind, d.cfg.ID, d.cfg.Guest.ID, s, err)
	}
	d.state = s
}

// Tell writes nodes of the backend's, and the state again: a frontend that is connected
// takes that for a hint to look at them. What Connect's nodes are from, the caller has
// changed before.
func (d *Device) Tell(nodes ...Node) error {
	d.stepping.Lock()
	defer d.stepping.Unlock()
	return d.conn.Transact(context.Background(), func(t *xenstore.Tx) error {
		s, err := t.Read(d.back + "/state")
		if err != nil {
			return err
		}
		for _, n := range append(nodes, Node{"state", s}) {
			if err := t.Write(d.back+"/"+n.Name, n.Value); err != nil {
				return err
			}
		}
		return nil
	})
}

// report keeps the first error for the worker.
func (d *Device) report(err error) {
	select {
	case d.failed <- err:
	default:
	}
}

// fail closes the device because of what its guest did.
func (d *Device) fail(err error) {
	d.disconnect()
	d.cfg.Log("%s %d of d%d closed: %v; it stays closed while the domain lives", d.cfg.Kind, d.cfg.ID, d.cfg.Guest.ID, err)
	d.set(Closed, Node{"error", err.Error()})
	close(d.closed)
}

func (d *Device) disconnect() {
	if d.link != nil {
		d.link.Close()
		d.link = nil
	}
}

// Detach asks the guest to let go of the device, and waits until it has, or ctx ends.
// Close follows in any case.
func (d *Device) Detach(ctx context.Context) error {
	err := d.conn.Transact(ctx, func(t *xenstore.Tx) error {
		if err := t.Write(d.back+"/online", "0"); err != nil {
			return err
		}
		if s, err := t.Read(d.back + "/state"); err != nil || ParseState(s) == Closed {
			return err
		}
		return t.Write(d.back+"/state", strconv.Itoa(int(Closing)))
	})
	if err != nil {
		return err
	}
	select {
	case <-d.closed:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close ends the device without asking the guest, and removes its nodes.
func (d *Device) Close() {
	d.cancel()
	d.worker.Wait()
	d.removeNodes()
	d.conn.Close()
}

func (d *Device) removeNodes() {
	// Half of it is worse than none, so it is not to be cancelled.
	_ = d.conn.Transact(context.Background(), func(t *xenstore.Tx) error {
		for _, p := range []string{d.back, d.front} {
			if err := t.Rm(p); err != nil && !errors.Is(err, xenstore.ENOENT) {
				return err
			}
		}
		dir := d.back[:strings.LastIndexByte(d.back, '/')] // of all this domain's
		if l, err := t.List(dir); err == nil && len(l) == 0 {
			return t.Rm(dir)
		}
		return nil
	})
}

// State returns the state that the guest sees; Unknown once the nodes are gone.
func (d *Device) State() State {
	s, err := d.conn.Read(d.back + "/state")
	if err != nil {
		return Unknown
	}
	return ParseState(s)
}
