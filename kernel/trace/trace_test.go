package trace

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
)

func clear() {
	for i := range rings {
		rings[i].next.Store(0)
	}
}

// The last events of all CPUs come in the order of their times.
func TestLast(t *testing.T) {
	clear()
	for i := range uint64(3 * Size) {
		Add(i%3, Wake, uint32(i), i)
		if got := Last(5); len(got) != int(min(i+1, 5)) || got[len(got)-1].Arg != i {
			t.Fatalf("%d: %v", i, got)
		}
	}
	all := Last(10 * Size)
	if want := 3 * (Size - 1); len(all) != want { // the oldest may be being overwritten
		t.Fatalf("%d events, want %d", len(all), want)
	}
	for i, e := range all {
		if n := uint64(i + 3); e.Arg != n || e.Who != uint32(n) || e.CPU != int(n%3) || e.Kind != Wake {
			t.Fatalf("%d: %+v", i, e)
		}
	}
}

// A reader beside the writers sees whole events only, in order.
func TestReaderBesideWriters(t *testing.T) {
	clear()
	var stop atomic.Bool
	var writers sync.WaitGroup
	for cpu := range uint64(2) {
		writers.Go(func() {
			for i := uint64(0); !stop.Load(); i++ {
				Add(cpu, Kind(1+i%9), uint32(i), i<<1|cpu)
				if i%64 == 0 {
					runtime.Gosched()
				}
			}
		})
	}
	for range 300 {
		var last [2]uint64
		for _, e := range Last(2 * Size) {
			i := e.Arg >> 1
			if e.Who != uint32(i) || e.Kind != Kind(1+i%9) || e.Arg&1 != uint64(e.CPU) {
				t.Errorf("half an event: %+v", e)
			}
			if last[e.CPU] != 0 && i != last[e.CPU]+1 {
				t.Errorf("CPU %d: %d behind %d", e.CPU, i, last[e.CPU])
			}
			last[e.CPU] = i
		}
	}
	stop.Store(true)
	writers.Wait()
}

func TestString(t *testing.T) {
	for want, e := range map[string]Event{
		"run 7":              {Kind: Run, Who: 7},
		"run idle":           {Kind: Run},
		"block 7 for ever":   {Kind: Block, Who: 7},
		"block 7 for 20 us":  {Kind: Block, Who: 7, Arg: 20_500},
		"wake 7":             {Kind: Wake, Who: 7},
		"leave 7":            {Kind: Leave, Who: 7},
		"kick CPU 3":         {Kind: Kick, Arg: 3},
		"timer late by 3 us": {Kind: Timer, Arg: 3000},
		"irq 0xfe":           {Kind: IRQ, Arg: 0xfe},
		"enter 0xf3":         {Kind: Enter, Arg: 0xf3},
		"exit 0x78":          {Kind: Exit, Arg: 0x78},
		"kind 99":            {Kind: 99},
	} {
		if got := e.String(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestAddDoesNotAllocate(t *testing.T) {
	if n := testing.AllocsPerRun(100, func() { Add(0, Run, 1, 2) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkAdd(b *testing.B) {
	for b.Loop() {
		Add(0, Run, 1, 2)
	}
}
