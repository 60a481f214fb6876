package partition

import (
	"errors"
	"testing"

	"nidus/drivers/block"
)

func TestShare(t *testing.T) {
	d := NewDisk(&fakeDisk{})
	one, two := Entry{Number: 1, First: 100, Sectors: 50}, Entry{Number: 2, First: 150, Sectors: 50}
	open := func(e Entry, readOnly, good bool) block.Device {
		t.Helper()
		u, err := d.Open(e, "x", readOnly)
		if (err == nil) != good || err != nil && !errors.Is(err, ErrInUse) {
			t.Errorf("%+v, read-only %v: %v", e, readOnly, err)
		}
		return u
	}
	a, b := open(one, false, true), open(two, true, true)
	open(one, true, false)
	open(one, false, false)
	open(d.Whole(), true, false)
	c := open(two, true, true)
	open(two, false, false)
	a.Close()
	a.Close()
	w := open(d.Whole(), true, true)
	open(one, false, false)
	if err := block.Do(w, &block.Request{Op: block.Write, Segments: []block.Segment{{Len: 512}}}); !errors.Is(err, block.ErrReadOnly) {
		t.Error(err)
	}
	for _, u := range []block.Device{b, c, w} {
		u.Close()
	}
	w = open(d.Whole(), false, true)
	open(two, true, false)
	w.Close()
	if len(d.users) != 0 {
		t.Error(len(d.users))
	}
}
