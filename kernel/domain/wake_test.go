package domain_test

import (
	"sync/atomic"
	"testing"
	"time"

	"nidus/kernel/domain"
	"nidus/kernel/domain/domaintest"
	"nidus/kernel/virt"
)

// TestNoWakeIsLost has vcpus pass tokens round, each to another vcpu, and in between
// wait, as in HLT, or run their guest until they are told to look. Time stands still:
// a token that its receiver doesn't hear of is never passed on.
func TestNoWakeIsLost(t *testing.T) {
	const vcpus, tokens, passes = 6, 4, 20000
	m := domaintest.New(t, 1024)
	d := m.Domain(t, domaintest.Options{VCPUs: vcpus})
	var inbox [vcpus]atomic.Int64
	var passed atomic.Int64
	run := func(v *domain.VCPU) {
		var e virt.Exit
		rounds := uint64(v.ID)
		for v.Ready() {
			for !v.MustStop() {
				v.Clear()
				if v.MustStop() {
					break
				}
				n := inbox[v.ID].Swap(0)
				for ; n > 0; n-- {
					rounds = rounds*6364136223846793005 + 1442695040888963407
					to := int(rounds >> 33 % vcpus)
					if passed.Add(1) <= passes {
						inbox[to].Add(1)
						d.VCPUs[to].Notify()
					}
				}
				if inbox[v.ID].Load() != 0 {
					continue
				}
				if rounds>>40&1 == 0 {
					v.Block(0)
				} else {
					v.HV.Run(&e)
				}
				rounds = rounds*6364136223846793005 + 1442695040888963407
			}
		}
	}
	for _, v := range d.VCPUs {
		v.SetUp(true)
	}
	d.Start(false, run)
	for i := range tokens {
		inbox[i].Add(1)
		d.VCPUs[i].Notify()
	}
	for last, since := int64(-1), time.Now(); ; time.Sleep(time.Millisecond) {
		n := passed.Load()
		if n >= passes {
			return
		}
		if n != last {
			last, since = n, time.Now()
		}
		if time.Since(since) > 10*time.Second {
			go func() { // so that the domain can be destroyed
				for {
					m.Threads.Wake(nil)
					time.Sleep(time.Millisecond)
				}
			}()
			t.Fatalf("after %d of %d passes nobody hears of the tokens any more: a wake-up is lost", n, passes)
		}
	}
}
