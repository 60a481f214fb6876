//go:build !race

// The vcpus' guest memory is shared on purpose, also with the areas that the
// hypervisor writes, so the race detector has much to say here.

package hypercall

import (
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"nidus/kernel/domain"
	"nidus/kernel/domain/domaintest"
	"nidus/kernel/xenabi"
)

// All vcpus of a domain make random hypercalls at once, while somebody pauses it
// and in the end destroys it.
func TestConcurrent(t *testing.T) {
	m := domaintest.New(t, 2048)
	d := m.Domain(t, domaintest.Options{VCPUs: 4, Spare: 16})
	for _, v := range d.VCPUs {
		v.SetUp(true)
		domaintest.Protected(v)
	}
	numbers := []uint64{xenabi.HypercallMemoryOp, xenabi.HypercallMulticall, xenabi.HypercallSetTimerOp, xenabi.HypercallXenVersion,
		xenabi.HypercallConsoleIO, xenabi.HypercallGrantTableOp, xenabi.HypercallVCPUOp, xenabi.HypercallVCPUOp,
		xenabi.HypercallEventChannelOp, xenabi.HypercallHVMOp}
	var calls atomic.Int64
	d.Start(false, func(v *domain.VCPU) {
		rnd := rand.New(rand.NewPCG(1, uint64(v.ID)))
		r := v.HV.Regs()
		for v.Ready() {
			for !v.MustStop() {
				v.Clear()
				v.Timers()
				v.UpdateTime(false)
				r.RAX = numbers[rnd.IntN(len(numbers))]
				r.RBX, r.RCX, r.RDX = rnd.Uint64N(16), rnd.Uint64N(4), argAt+rnd.Uint64N(64)&^3
				switch r.RAX {
				case xenabi.HypercallVCPUOp:
					if r.RBX == xenabi.VCPUOpDown {
						r.RBX = xenabi.VCPUOpUp
					}
				case xenabi.HypercallMulticall:
					r.RBX, r.RCX = r.RDX, 3
				case xenabi.HypercallConsoleIO:
					r.RCX = rnd.Uint64N(8192)
				default:
					r.RCX = r.RDX
				}
				r.RDX = max(r.RDX, 1)
				var b [16]byte
				for i := range b {
					b[i] = byte(rnd.Uint64N(6)) << (rnd.Uint64N(2) * 4)
				}
				_ = d.Space.WritePhys(argAt, b[:])
				for o := Handle(v); o.Kind == Repeat && !v.MustStop(); o = Handle(v) {
					o.End(v)
				}
				calls.Add(1)
			}
		}
	})
	for range 20 {
		time.Sleep(10 * time.Millisecond)
		m.Clock.Advance(1_000_000)
		d.Pause()
		d.Unpause()
	}
	if err := d.Destroy(); err != nil {
		t.Fatal(err)
	}
	m.CheckFree(t)
	if calls.Load() < 1000 {
		t.Errorf("only %d calls", calls.Load())
	}
}
