package ring

import (
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strconv"
	"testing"
)

// TestLayoutIsDocumented compares the tables of docs/ring.md with the constants.
func TestLayoutIsDocumented(t *testing.T) {
	doc, err := os.ReadFile("../../docs/ring.md")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range regexp.MustCompile("(?m)^\\| 0x([0-9a-f]{3}) \\| `(\\w+)` \\|").FindAllSubmatch(doc, -1) {
		off, _ := strconv.ParseUint(string(m[1]), 16, 64)
		got = append(got, fmt.Sprintf("%s %#x", m[2], off))
	}
	want := []struct {
		name string
		off  int
	}{
		{"magic", offMagic}, {"version", offVersion}, {"generation", offGeneration},
		{"features", offFeatures}, {"slots", offSlots}, {"slot_size", offSlotSize},
		{"ring_size", offRingSize}, {"host_beat", offHostBeat},
		{"offer", offOffer}, {"last", offLast}, {"host_tail", offHostTail},
		{"host_head", offHostHead}, {"host_rd_wait", offHostRdWait}, {"host_wr_wait", offHostWrWait},
		{"claim", offClaim}, {"hello", offHello}, {"dead", offDead}, {"client_tail", offClientTail},
		{"client_head", offClientHead}, {"client_rd_wait", offClientRdWait},
		{"client_wr_wait", offClientWrWait}, {"client_beat", offClientBeat},
	}
	var names []string
	for _, w := range want {
		names = append(names, fmt.Sprintf("%s %#x", w.name, w.off))
	}
	if !slices.Equal(got, names) {
		t.Errorf("docs/ring.md has\n%v\nthe code\n%v", got, names)
	}
}

// TestLayout asserts the bytes of a region that was just laid out: what a client in
// another language would see.
func TestLayout(t *testing.T) {
	const slots, ring = 2, 8192
	_, c := plain(Size(slots, ring) + 4096)
	for i := range c {
		c[i] = 0xee
	}
	if err := Format(c, Options{Slots: slots, RingSize: ring}); err != nil {
		t.Fatal(err)
	}
	if string(c[:8]) != "NIDURING" {
		t.Errorf("starts with %q", c[:8])
	}
	m := memory(c)
	for off, want := range map[int]uint64{
		0x08: 1<<32 | 1, 0x18: 0, 0x20: 2, 0x28: 4096 + 2*8192, 0x30: 8192, 0x40: 0, 0x48: 0, 0xff8: 0,
	} {
		if got := m.word(off).Load(); got != want {
			t.Errorf("header %#x: %#x, want %#x", off, got, want)
		}
	}
	for i := range slots {
		at := 4096 + i*(4096+2*8192)
		epoch := m.word(at).Load() >> 32
		for off := 8; off < 4096; off += 8 {
			want := uint64(0)
			if off == 0x40 || off == 0x80 {
				want = epoch << 32
			}
			if got := m.word(at + off).Load(); got != want {
				t.Errorf("slot %d, %#x: %#x, want %#x", i, off, got, want)
			}
		}
		if offer := m.word(at).Load(); epoch == 0 || uint32(offer) != 1 {
			t.Errorf("slot %d: offer %#x", i, offer)
		}
	}
	if c[Size(slots, ring)] != 0xee {
		t.Error("wrote past the layout")
	}
}

// TestPlacement sends one byte each way and looks where it lies.
func TestPlacement(t *testing.T) {
	const ring = 8192
	h, c := mapped(t, Size(2, ring))
	l := listen(t, h, Options{Slots: 2, RingSize: ring})
	dial(t, c, Options{})
	accept(t, l)
	client := dial(t, c, Options{}) // slot 1
	host := accept(t, l)
	client.Write([]byte("c"))
	host.Write([]byte("h"))
	slot1 := 4096 + 4096 + 2*ring
	if got := c[slot1+4096]; got != 'c' {
		t.Errorf("client to host: %q", got)
	}
	if got := c[slot1+4096+ring]; got != 'h' {
		t.Errorf("host to client: %q", got)
	}
	for _, off := range []int{0x40, 0x240} {
		if w := memory(c).word(slot1 + off).Load(); uint32(w) != 1 || w>>32 != uint64(host.epoch) {
			t.Errorf("word %#x: %#x", off, w)
		}
	}
}

// TestSizes: the default ring is the largest that fits.
func TestSizes(t *testing.T) {
	for _, tc := range []struct{ slots, size, ring int }{
		{8, 4 << 20, 128 << 10}, {8, 16 << 20, 512 << 10}, {8, 64 << 20, 1 << 20}, {1, Size(1, 4096), 4096},
	} {
		g, err := Options{Slots: tc.slots}.geometry(tc.size)
		if err != nil || g.ringSize != tc.ring {
			t.Errorf("%d slots in %d bytes: rings of %d, %v; want %d", tc.slots, tc.size, g.ringSize, err, tc.ring)
		}
	}
	if got := Size(0, 0); got != 4096+8*(4096+2<<20) {
		t.Errorf("default size %d", got)
	}
}

// TestMinorVersions: a client and hosts of other minors.
func TestMinorVersions(t *testing.T) {
	for _, minor := range []uint32{0, VersionMinor, VersionMinor + 7} {
		name, region := regionFile(t, Size(1, minRingSize))
		l := listen(t, region, Options{Slots: 1, RingSize: minRingSize})
		memory(region).word(offVersion).Store(tagged(VersionMajor, minor))
		for i := 0x800; i < headerSize; i += 8 { // words that this version knows nothing of
			memory(region).word(i).Store(uint64(minor))
		}
		c := dialFile(t, name)
		host := accept(t, l)
		go c.Write([]byte("hello"))
		if _, err := io.ReadFull(host, make([]byte, 5)); err != nil {
			t.Errorf("1.%d: %v", minor, err)
		}
		c.Close()
		host.Close()
		l.Close()
	}
}
