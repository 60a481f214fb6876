package hostnet

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// wrong is a clock that is off by as much.
type wrong struct{ off time.Duration }

func (w *wrong) Now() time.Time        { return time.Now().Add(w.off) }
func (w *wrong) Step(by time.Duration) { w.off += by }

// timeServer answers as RFC 4330 has it, with a clock that is off, after a time.
func timeServer(off, slow time.Duration) net.Conn {
	a, b := net.Pipe()
	go func() {
		defer b.Close()
		q := make([]byte, 48)
		if _, err := b.Read(q); err != nil {
			return
		}
		time.Sleep(slow)
		r := make([]byte, 48)
		r[0], r[1] = 4<<3|4, 3
		copy(r[24:32], q[40:48])
		now := time.Now().Add(off)
		for _, at := range []int{32, 40} {
			binary.BigEndian.PutUint32(r[at:], uint32(now.Unix()+2208988800))
			binary.BigEndian.PutUint32(r[at+4:], uint32(uint64(now.Nanosecond())<<32/1e9))
		}
		b.Write(r)
	}()
	return a
}

func TestKeeper(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))) // the bubble begins before the era that servers mean
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		clock := &wrong{-24 * time.Hour}
		var said []string
		asked := map[string]int{}
		servers := []string{}
		changed := make(chan struct{})
		off := time.Duration(0)
		k := &keeper{
			clock:   clock,
			servers: func() ([]string, <-chan struct{}) { return servers, changed },
			dial: func(_ context.Context, _, address string) (net.Conn, error) {
				asked[address]++
				switch address {
				case "dead:123":
					return nil, errors.New("nobody is there")
				case "slow:123":
					return timeServer(time.Hour, 500*time.Millisecond), nil
				}
				return timeServer(off, time.Millisecond), nil
			},
			log: func(format string, args ...any) { said = append(said, fmt.Sprintf(format, args...)) },
		}
		go k.run(ctx)
		step := func(d time.Duration, want time.Duration, log string) {
			t.Helper()
			time.Sleep(d)
			synctest.Wait()
			if e := clock.off - want; e.Abs() > 5*time.Millisecond {
				t.Errorf("the clock is off by %v, want %v", clock.off, want)
			}
			if got := strings.Join(said, "\n"); (got == "") != (log == "") || !strings.Contains(got, log) {
				t.Errorf("the log has %q, want %q", got, log)
			}
			said = nil
		}
		step(time.Hour, -24*time.Hour, "") // there are no servers
		servers = []string{"dead"}
		old := changed
		changed = make(chan struct{})
		close(old)
		step(time.Minute, -24*time.Hour, "no server says it: dead: nobody is there")
		step(time.Hour, -24*time.Hour, "") // said once
		if n := asked["dead:123"]; n < 8 || n > 14 {
			t.Errorf("asked %d times in an hour", n)
		}
		servers = []string{"dead", "slow", "good"}
		step(longest, 0, "moved by 24h0m0s, as good says (stratum 3, within 500µs)")
		off = 2 * time.Second
		step(2*longest, 2*time.Second, "moved by 2s")
		off = 2*time.Second + 100*time.Millisecond
		step(2*longest, off, "")
		off = 48 * time.Hour
		step(longest, 2*time.Second+100*time.Millisecond, "it stays as it is")
	})
}
