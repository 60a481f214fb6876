package nat

import (
	"slices"
	"testing"

	"nidus/drivers/link"
)

func TestRoster(t *testing.T) {
	var r Roster
	name := "web"
	left := r.Join(mac(1), func() string { return name })
	twin := r.Join(mac(1), func() string { return "twin" })
	r.Join(mac(2), func() string { return name })
	if got, ok := r.Guest(mac(1)); !ok || got != "web" {
		t.Errorf("%q, %v", got, ok)
	}
	name = "www" // renamed
	if got := r.Interfaces("www"); !slices.Equal(got, []link.MAC{mac(1), mac(2)}) || r.Interfaces("web") != nil {
		t.Errorf("%v", got)
	}
	if left() {
		t.Error("the last one, while another has the address")
	}
	if got, ok := r.Guest(mac(1)); !ok || got != "twin" {
		t.Errorf("%q, %v", got, ok)
	}
	if !twin() {
		t.Error("not the last one")
	}
	if _, ok := r.Guest(mac(1)); ok {
		t.Error("an interface that left is still there")
	}
}

func TestLimitsFor(t *testing.T) {
	for heap, want := range map[uint64]Limits{0: {16, 8}, 64 << 20: {32, 8}, 512 << 20: {256, 64}, 1 << 40: {1024, 256}} {
		if got := LimitsFor(heap); got != want {
			t.Errorf("%d: %+v, want %+v", heap, got, want)
		}
	}
}
