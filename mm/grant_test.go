package mm

import (
	"errors"
	"testing"
)

// neighbours are two domains on one machine; g has 1024 frames from 0 on.
func neighbours(t *testing.T) (k *machine, g, m *Space) {
	k = newMachine(t, 512, 4096)
	g = k.space(t, NPT, 1024)
	m, err := NewSpace(SpaceConfig{Owner: 8, Memory: k, Flusher: k, Format: NPT, MaxOrder: 18, MaxTables: 64, MaxPages: 64})
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Populate(0, 1024, nil); err != nil {
		t.Fatal(err)
	}
	if err := m.Populate(0, 16, nil); err != nil {
		t.Fatal(err)
	}
	return k, g, m
}

func TestGrant(t *testing.T) {
	k, g, m := neighbours(t)
	f, err := g.Hold(700, true)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		at    GFN
		frame MFN
		owner DomID
		want  error
	}{
		{100, f, 7, nil}, {100, f, 7, ErrBusy}, // where there is one
		{3, f, 7, nil},       // over memory
		{101, f, 8, ErrBusy}, // not its frame
		{maxGFN, f, 7, ErrBadRange}, {1 << 60, f, 7, ErrBadRange},
		{102, 0, 7, ErrBusy}, {102, InvalidMFN, 7, ErrBusy},
	} {
		if err := m.AddGrant(c.at, c.frame, c.owner, false); !errors.Is(err, c.want) {
			t.Errorf("grant of %#x at %#x: %v, want %v", c.frame, c.at, err, c.want)
		}
	}
	g.Drop(f, true)
	if m.TotPages() != 15 {
		t.Errorf("%d frames after a grant took the place of one", m.TotPages())
	}
	if e := m.P2M().Lookup(100); e.MFN != f || e.Type != TypeGrantRW {
		t.Errorf("the grant is %v", e)
	}
	// Nobody moves either end.
	for what, op := range map[string]func() error{
		"decrease": func() error { _, err := g.DecreaseReservation([]GFN{700}, 0); return err },
		"move":     func() error { return g.Move(700, 5000) },
		"remove":   func() error { return m.RemoveFromPhysmap(100) },
		"replace":  func() error { return m.Move(5, 100) },
	} {
		if err := op(); !errors.Is(err, ErrBusy) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if done, err := m.Release(1000); done || !errors.Is(err, ErrBusy) {
		t.Errorf("memory with grants released: %v, %v", done, err)
	}
	flushed := false
	k.onFlush = func() { flushed = true }
	for _, at := range []GFN{100, 3} {
		if err := m.RemoveGrant(at); err != nil {
			t.Error(err)
		}
	}
	if flushed || k.Frames().Info(f).Refs != 3 {
		t.Errorf("before the flush the frame has %d references", k.Frames().Info(f).Refs)
	}
	m.Settle()
	if !flushed || k.Frames().Info(f).Refs != 1 {
		t.Errorf("flushed %v, %d references", flushed, k.Frames().Info(f).Refs)
	}
	for _, at := range []GFN{100, 5, 1 << 50} {
		if err := m.RemoveGrant(at); !errors.Is(err, ErrBadAddress) {
			t.Errorf("no grant at %#x: %v", at, err)
		}
	}
	release(t, k, m)
	release(t, k, g)
	k.allFree(t)
}

// TestGrantOutlivesOwner: the frame that another domain has is free only when that has
// given it back, its neighbours in the large page at once.
func TestGrantOutlivesOwner(t *testing.T) {
	k, g, m := neighbours(t)
	f, err := g.Hold(700, true)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.AddGrant(100, f, 7, true); err != nil {
		t.Fatal(err)
	}
	free := k.Stats().Free
	for done := false; !done; {
		if done, err = g.Release(16); err != nil {
			t.Fatal(err)
		}
	}
	if in := k.Frames().Info(f); in != (Frame{FrameGuest, DomIDInvalid, 2}) || g.TotPages() != 0 {
		t.Errorf("the frame without an owner: %+v; its domain has %d", in, g.TotPages())
	}
	if n := k.Stats().Free - free; n < 1023 {
		t.Errorf("%d frames were freed", n)
	}
	if err := m.AddGrant(101, f, 7, true); !errors.Is(err, ErrBusy) {
		t.Errorf("a frame that is nobody's was mapped: %v", err)
	}
	g.Drop(f, true)
	if err := m.RemoveGrant(100); err != nil {
		t.Error(err)
	}
	m.Settle()
	if in := k.Frames().Info(f); in != (Frame{}) {
		t.Errorf("after the last reference: %+v", in)
	}
	release(t, k, m)
	k.allFree(t)
}

func TestDropWithoutHold(t *testing.T) {
	k, g, m := neighbours(t)
	defer func() {
		if recover() == nil {
			t.Error("a domain lost its own reference")
		}
		_, _ = k, m
	}()
	g.Drop(g.P2M().Lookup(5).MFN, true)
}
