package client_test

import (
	"context"
	"testing"

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
				b.RunParallel(func(p *testing.PB) {
					for p.Next() {
						if err := c.Pause(b.Context(), 1); err != nil {
							b.Error(err)
						}
					}
				})
			})
		})
	}
}

// nothing does nothing.
type nothing struct{ control.Plane }

func (nothing) Pause(context.Context, control.DomID) error { return nil }
