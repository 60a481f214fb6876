package sntp

import (
	"testing"
	"time"
)

// FuzzParse has a server answer anything that is long enough: what is believed makes sense.
func FuzzParse(f *testing.F) {
	end := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	a := make([]byte, size)
	a[0], a[1] = version<<3|modeServer, 2
	put(a[receiveAt:], end)
	put(a[transmitAt:], end)
	f.Add(a)
	f.Fuzz(func(t *testing.T, a []byte) {
		if len(a) < size {
			return
		}
		begin := end.Add(-time.Second)
		got, err := parse(a, begin, end)
		if err == nil && (got.Stratum < 1 || got.Stratum > maxStratum || got.Delay < 0 || got.Delay > time.Second || end.Add(got.Offset).Year() < 2019) {
			t.Errorf("%+v", got)
		}
	})
}
