package ring

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"
)

// A host that ends tells its clients so, after all that it had to say; one that only
// closes does not.
func TestHostEnds(t *testing.T) {
	for _, m := range modes {
		for _, ends := range []bool{true, false} {
			ho, co := m.opts()
			ho.Slots, ho.RingSize = 2, minRingSize
			h, c := plain(Size(2, minRingSize))
			l := listen(t, h, ho)
			conn, idle := dial(t, c, co), dial(t, c, co)
			far, farIdle := accept(t, l), accept(t, l)
			if _, err := far.Write([]byte("last words")); err != nil {
				t.Fatal(err)
			}
			waits := waiting(idle)
			if ends {
				l.HostEnds()
			} else {
				far.Close()
				farIdle.Close()
			}
			l.Close()
			begin := time.Now()
			said, err := io.ReadAll(conn)
			if string(said) != "last words" {
				t.Errorf("%s: read %q", m.name, said)
			}
			errs := waits()
			if !ends {
				if err != nil || errs != [2]error{io.EOF, errs[1]} || !errors.Is(errs[1], io.ErrClosedPipe) {
					t.Errorf("%s: closed in order: %v, %v", m.name, err, errs)
				}
				continue
			}
			wantReset(t, [2]error{err, errs[0]}, "the host has ended")
			wantReset(t, [2]error{errs[1], errs[1]}, "the host has ended")
			if took := time.Since(begin); took > 5*time.Second {
				t.Errorf("%s: it took %v", m.name, took)
			}
		}
	}
}

// A region whose host died is told from one that is busy.
func TestDialStale(t *testing.T) {
	h, c := plain(Size(1, minRingSize))
	if err := Format(h, Options{Slots: 1, RingSize: minRingSize}); err != nil {
		t.Fatal(err)
	}
	try := func(opts Options, time time.Duration) error {
		ctx, cancel := context.WithTimeout(t.Context(), time)
		defer cancel()
		_, err := Dial(ctx, c, opts)
		return err
	}
	// The first takes the slot, the second finds none.
	for range 2 {
		if err := try(quick(Options{}), 200*time.Millisecond); !errors.Is(err, ErrNoHost) || !strings.Contains(err.Error(), "heart") {
			t.Error(err)
		}
	}
	l := listen(t, h, quick(Options{Slots: 1, RingSize: minRingSize}))
	dial(t, c, quick(Options{}))
	accept(t, l)
	if err := try(quick(Options{}), 200*time.Millisecond); !errors.Is(err, ErrBusy) {
		t.Errorf("a host whose slots are taken: %v", err)
	}
}
