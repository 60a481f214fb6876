package link

import "testing"

func TestLen(t *testing.T) {
	f := Frame{Head: make([]byte, 54), Segments: []Segment{{Frame: 1, Len: 100}, {Frame: 2, Off: 4000, Len: 96}}}
	if f.Len() != 250 {
		t.Errorf("%d bytes, want 250", f.Len())
	}
}
