package backend

import (
	"context"
	"errors"
	"fmt"
	"math/rand"
	"runtime"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"nidus/kernel/domain/domaintest"
	"nidus/kernel/xenstore"
)

// driver counts its connections, of which there is never more than one.
type driver struct {
	t    *testing.T
	open atomic.Int32
	made atomic.Int32
	fail atomic.Pointer[func(error)]
	// midway, if not nil, is called in Connect.
	midway func()
}

func (d *driver) Offer() []Node { return []Node{{"feature-x", "1"}} }

func (d *driver) Connect(f Frontend, fail func(error)) (Conn, []Node, error) {
	if n, err := f.Num("n", 1, 1, 9); err != nil || n == 0 {
		return nil, nil, err
	}
	if d.open.Add(1) != 1 {
		d.t.Error("two connections")
	}
	d.made.Add(1)
	d.fail.Store(&fail)
	if d.midway != nil {
		d.midway()
	}
	return d, []Node{{"y", "2"}}, nil
}

func (d *driver) Close() { d.open.Add(-1) }

// TestRandomOrder: whatever states and text a frontend writes, in any order, there is at
// most one connection, none where the backend says that there is none, and none is left.
func TestRandomOrder(t *testing.T) {
	for seed := range int64(40) {
		rnd := rand.New(rand.NewSource(seed))
		m := domaintest.New(t, 1024)
		dom := m.Domain(t, domaintest.Options{})
		drv := &driver{t: t}
		lines := 0
		dev, err := New(Config{Guest: &Guest{ID: 1, Grants: dom.Grants, Space: dom.Space, Local: m.Host.Dom0}, Store: m.Host.Store,
			Kind: "vbd", ID: 7, Driver: drv, Log: func(f string, a ...any) { lines++ }})
		if err != nil {
			t.Fatal(err)
		}
		guest := m.Host.Store.Open(1)
		texts := []string{"1", "2", "3", "4", "5", "6", "1", "3", "4", "6", "1", "3"}
		for range 60 {
			switch s := texts[rnd.Intn(len(texts))]; rnd.Intn(60) {
			case 0:
				s = []string{"", "x", "-1", "99999999999999999999", "8", "0"}[rnd.Intn(6)]
				fallthrough
			default:
				_ = guest.Write("device/vbd/7/state", s)
			case 1:
				_ = guest.Write("device/vbd/7/n", strconv.Itoa(rnd.Intn(20)))
			case 2:
				if f := drv.fail.Load(); f != nil {
					(*f)(errors.New("breach"))
					(*f)(errors.New("breach"))
				}
			}
			if rnd.Intn(2) == 0 {
				time.Sleep(time.Duration(rnd.Intn(50)) * time.Microsecond) // other orders of events
			}
		}
		dev.Close()
		if n := drv.open.Load(); n != 0 || lines > 1 {
			t.Errorf("seed %d: %d connections are left; %d lines", seed, n, lines)
		}
		if s := dev.State(); s != Unknown {
			t.Errorf("seed %d: state %d after the end", seed, s)
		}
		guest.Close()
	}
}

// TestDetachMidway: a frontend that connects while the device is asked for is told to close,
// and Detach ends when it has.
func TestDetachMidway(t *testing.T) {
	m := domaintest.New(t, 1024)
	dom := m.Domain(t, domaintest.Options{})
	drv := &driver{t: t}
	dev, err := New(Config{Guest: &Guest{ID: 1, Grants: dom.Grants, Space: dom.Space, Local: m.Host.Dom0}, Store: m.Host.Store,
		Kind: "vbd", ID: 7, Driver: drv, Log: t.Logf})
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	detached := make(chan error, 1)
	drv.midway = func() {
		go func() { detached <- dev.Detach(t.Context()) }()
		for dev.State() != Closing {
			runtime.Gosched()
		}
	}
	guest := m.Host.Store.Open(1)
	defer guest.Close()
	w, err := guest.Watch(dev.back + "/state")
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := guest.Write("device/vbd/7/state", "3"); err != nil {
		t.Fatal(err)
	}
	// with Connect's nodes comes the state that the frontend is told
	for _, err := guest.Read(dev.back + "/y"); err != nil; _, err = guest.Read(dev.back + "/y") {
		if _, err := w.Next(ctx); err != nil {
			t.Fatalf("state %d, %d connections made: %v", dev.State(), drv.made.Load(), err)
		}
	}
	if s := dev.State(); s != Closing {
		t.Errorf("the frontend is told state %d, want %d", s, Closing)
	}
	for _, s := range []string{"5", "6"} {
		if err := guest.Write("device/vbd/7/state", s); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case err := <-detached:
		if err != nil || drv.open.Load() != 0 {
			t.Errorf("Detach: %v; %d connections", err, drv.open.Load())
		}
	case <-ctx.Done():
		t.Errorf("Detach waits; state %d", dev.State())
	}
}

// TestTwice: a device that is there is not made again, nor hurt.
func TestTwice(t *testing.T) {
	m := domaintest.New(t, 1024)
	dom := m.Domain(t, domaintest.Options{})
	c := Config{Guest: &Guest{ID: 1, Grants: dom.Grants, Space: dom.Space, Local: m.Host.Dom0}, Store: m.Host.Store, Kind: "vbd", ID: 7, Driver: &driver{t: t}}
	dev, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	if _, err := New(c); !errors.Is(err, xenstore.EEXIST) || dev.State() != InitWait {
		t.Errorf("%v; state %d", err, dev.State())
	}
}

// TestFrontend: what nodes may say.
func TestFrontend(t *testing.T) {
	m := domaintest.New(t, 64)
	conn := m.Host.Store.Open(0)
	defer conn.Close()
	f := Frontend{conn, "/f"}
	for text, want := range map[string]string{"5": "5 <nil>", " 7\n": "7 <nil>", "2": "bad", "9": "bad", "-5": "bad", "x": "bad", "0x5": "bad",
		"": "4 <nil>", "4294967301": "bad", "5\x00": "bad"} {
		if err := conn.Write("/f/n", text); err != nil {
			t.Fatal(err)
		}
		n, err := f.Num("n", 4, 3, 8)
		if got := fmt.Sprint(n, " ", err); got != want && (want != "bad" || err == nil) {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
	if n, err := f.Num("none", 4, 3, 8); n != 4 || err != nil {
		t.Errorf("missing: %d, %v", n, err)
	}
	if _, err := f.Must("none"); err == nil {
		t.Error("missing is no error")
	}
}
