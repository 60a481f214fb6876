package client_test

import (
	"context"
	"syscall"
	"testing"
	"time"

	"nidus/rpc/control"
)

// A small call: one after the other, and many in flight.
func BenchmarkCall(b *testing.B) {
	for name, listen := range transports {
		b.Run(name, func(b *testing.B) {
			c := over(b, listen, nothing{})
			b.Run("one", func(b *testing.B) {
				for b.Loop() {
					if err := c.Pause(b.Context(), 1); err != nil {
						b.Fatal(err)
					}
				}
			})
			b.Run("many", func(b *testing.B) {
				b.SetParallelism(8)
				begin := used(b)
				b.RunParallel(func(p *testing.PB) {
					for p.Next() {
						if err := c.Pause(b.Context(), 1); err != nil {
							b.Error(err)
						}
					}
				})
				b.ReportMetric(float64((used(b)-begin).Nanoseconds())/1e3/float64(b.N), "cpu-us/op")
			})
		})
	}
}

// used is the CPUs' time that this program has used, client and server: unlike the time
// of a call, it hardly depends on what else the machine does.
func used(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// nothing does nothing.
type nothing struct{ control.Plane }

func (nothing) Pause(context.Context, control.DomID) error { return nil }
