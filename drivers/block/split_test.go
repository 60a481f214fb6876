package block

import (
	"errors"
	"testing"

	"nidus/mm"
)

// silent is a device that fails what it is asked, later.
type silent struct{ asked []*Request }

func (d *silent) Info() Info        { return Info{} }
func (d *silent) Submit(r *Request) { d.asked = append(d.asked, r) }
func (d *silent) Close() error      { return nil }

// TestSplitErrors: the first error of a piece, or of who made the pieces, is the
// request's, which is done once, after the last piece.
func TestSplitErrors(t *testing.T) {
	bad, worse := errors.New("bad"), errors.New("worse")
	for _, c := range []struct {
		pieces []error
		end    error
		want   error
	}{
		{nil, nil, nil}, {nil, bad, bad}, {[]error{nil, nil}, nil, nil}, {[]error{nil, bad}, nil, bad}, {[]error{bad, worse}, nil, bad},
		{[]error{nil, nil}, worse, worse}, {[]error{bad}, worse, worse},
	} {
		var told, done []error
		r := &Request{Segments: []Segment{{Frame: 1, Len: mm.PageSize}}, Done: func(_ *Request, err error) { done = append(done, err) }}
		s := NewSplit(r, func(_ *Request, err error) { told = append(told, err) })
		d := &silent{}
		for i := range c.pieces {
			s.Send(d, Read, uint64(i), 2)
		}
		s.End(c.end)
		for i, err := range c.pieces {
			if len(done) > 0 {
				t.Errorf("%v: done before piece %d", c, i)
			}
			if g := d.asked[i].Segments; len(g) != 1 || g[0] != (Segment{1, uint16(i * 1024), 1024}) {
				t.Errorf("piece %d has %v", i, g)
			}
			d.asked[i].Done(d.asked[i], err)
		}
		if len(done) != 1 || done[0] != c.want || len(told) != 1 || told[0] != c.want {
			t.Errorf("%v: %v, %v", c, done, told)
		}
	}
}

func TestGate(t *testing.T) {
	var g Gate
	if !g.Enter() {
		t.Fatal("shut")
	}
	left := false
	go func() {
		left = true
		g.Leave()
	}()
	if g.Shut(); !left {
		t.Error("nobody was waited for")
	}
	if g.Enter() {
		t.Error("open")
	}
}
