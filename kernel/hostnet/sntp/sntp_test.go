package sntp

import (
	"context"
	"encoding/binary"
	"net"
	"testing"
	"time"
)

func put(b []byte, t time.Time) {
	binary.BigEndian.PutUint32(b, uint32(t.Unix()+eraUnixSeconds))
	binary.BigEndian.PutUint32(b[4:], uint32(uint64(t.Nanosecond())<<32/1e9))
}

// Servers that are behind, ahead, in the next era, or no good.
func TestAsk(t *testing.T) {
	own := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		name  string
		clock time.Time // the server's
		own   time.Time
		spoil func(a []byte)
		ok    bool
	}{
		{"ahead", own.Add(90 * time.Second), own, nil, true},
		{"behind", own.Add(-time.Hour), own, nil, true},
		{"no battery", own, time.Date(1970, 1, 1, 0, 1, 0, 0, time.UTC), nil, true},
		{"the next era", time.Date(2036, 3, 1, 0, 0, 0, 0, time.UTC), time.Date(2036, 2, 1, 0, 0, 0, 0, time.UTC), nil, true},
		{"no server", own, own, func(a []byte) { a[0] = version<<3 | modeClient }, false},
		{"does not know", own, own, func(a []byte) { a[0] |= leapUnknown << 6 }, false},
		{"refuses", own, own, func(a []byte) { a[1] = 0 }, false},
		{"far away", own, own, func(a []byte) { a[1] = 16 }, false},
		{"no time", own, own, func(a []byte) { clear(a[transmitAt:]) }, false},
		{"backwards", own, own, func(a []byte) { put(a[transmitAt:], own.Add(-time.Minute)) }, false},
		{"another's", own, own, func(a []byte) { a[originateAt]++ }, false},
		{"short", own, own, nil, false},
	} {
		dial := func(context.Context, string, string) (net.Conn, error) {
			a, b := net.Pipe()
			go func() {
				defer b.Close()
				q := make([]byte, size)
				if _, err := b.Read(q); err != nil {
					return
				}
				r := make([]byte, size)
				r[0], r[1] = version<<3|modeServer, 2
				copy(r[originateAt:], q[transmitAt:])
				put(r[receiveAt:], c.clock)
				put(r[transmitAt:], c.clock)
				if c.spoil != nil {
					c.spoil(r)
				}
				if c.name == "short" {
					r = r[:size-1]
				}
				b.Write(r)
			}()
			return a, nil
		}
		a, err := Ask(context.Background(), dial, "time.example", func() time.Time { return c.own })
		if off := a.Offset - c.clock.Sub(c.own); (err == nil) != c.ok || c.ok && (off > time.Millisecond || off < -time.Millisecond || a.Stratum != 2) {
			t.Errorf("%s: %+v, %v", c.name, a, err)
		}
	}
}
