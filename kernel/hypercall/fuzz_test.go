package hypercall

import (
	"encoding/binary"
	"testing"

	"nidus/kernel/domain"
	"nidus/kernel/domain/domaintest"
	"nidus/kernel/xenabi"
	"nidus/mm"
)

// FuzzHypercall makes hypercalls with any registers and any memory: nothing may
// panic, each call ends with a result or makes progress, and the domain leaves
// nothing behind.
//
// The input is a flag byte, then calls: a number, six arguments (a kind byte and
// a value byte each), and 16 bytes that go to the argument page.
func FuzzHypercall(f *testing.F) {
	const callSize = 1 + 6*2 + 16
	seed := func(flags byte, calls ...[]byte) {
		b := []byte{flags}
		for _, c := range calls {
			b = append(b, append(c, make([]byte, callSize-len(c))...)...)
		}
		f.Add(b)
	}
	one := func(nr, cmd byte, rest ...byte) []byte { return append([]byte{nr, 0, cmd}, rest...) }
	for nr := range byte(56) {
		for _, cmd := range []byte{0, 1, 5, 7, 10} {
			seed(nr&1, one(nr, cmd, 1, 0, 1, 0), one(nr, cmd, 0, 1, 1, 0))
		}
	}
	seed(0, one(xenabi.HypercallMemoryOp, xenabi.XenMemAddToPhysmap, 1, 0), one(xenabi.HypercallMemoryOp, xenabi.XenMemDecreaseReservation, 1, 0),
		one(xenabi.HypercallVCPUOp, xenabi.VCPUOpInitialise, 0, 1, 1, 0), one(xenabi.HypercallMulticall, 0, 1, 0, 0, 3))
	f.Fuzz(func(t *testing.T, in []byte) {
		if len(in) < 1 || len(in) > 1+64*callSize {
			return
		}
		m := domaintest.New(t, 512)
		d := m.Domain(t, domaintest.Options{VCPUs: 2, Pages: 128, Spare: 16})
		d.MemoryMap = [][20]byte{{}, {}}
		v := d.VCPUs[0]
		v.SetUp(true)
		long := in[0]&1 == 0
		if long {
			domaintest.Long(t, v)
		} else {
			domaintest.Protected(v)
		}
		LatchWidth(v)
		for in = in[1:]; len(in) >= callSize; in = in[callSize:] {
			var a [6]uint64
			for i := range a {
				a[i] = fuzzArg(in[1+2*i], in[2+2*i])
			}
			// Fails if the guest has given the page away.
			_ = d.Space.WritePhys(argAt+mm.GuestPhys(in[0]), in[13:callSize])
			fuzzCall(t, v, long, uint64(in[0]), a)
			m.Clock.Advance(1000)
			v.Timers()
		}
		if err := d.Destroy(); err != nil {
			t.Error(err)
		}
		m.CheckFree(t)
	})
}

// fuzzArg makes an argument: a small number, an address, or something extreme.
func fuzzArg(kind, v byte) uint64 {
	switch kind % 8 {
	case 1:
		return argAt + uint64(v)
	case 2:
		return argAt + 0x1000 - uint64(v)
	case 3:
		return uint64(v) << 12
	case 4:
		return ^uint64(v)
	case 5:
		return badCanon - uint64(v)
	case 6:
		return uint64(v) << 6 & 0xffff
	case 7:
		return 1 << (v & 63)
	}
	return uint64(v)
}

func fuzzCall(t *testing.T, v *domain.VCPU, long bool, nr uint64, a [6]uint64) {
	r := v.HV.Regs()
	r.RAX = nr
	if long {
		r.RDI, r.RSI, r.RDX, r.R10, r.R8, r.R9 = a[0], a[1], a[2], a[3], a[4], a[5]
	} else {
		r.RAX |= 0x5a5a5a5a << 32 // the upper half doesn't count, and is gone afterwards
		r.RBX, r.RCX, r.RDX, r.RSI, r.RDI, r.RBP = a[0], a[1], a[2], a[3], a[4], a[5]
	}
	for range 50 { // a long call goes on as long as the guest wants
		rax := r.RAX
		before := *r
		o := Handle(v)
		o.End(v)
		if o.Kind == Repeat {
			if r.RAX != rax {
				t.Fatalf("call %d: RAX %#x of a call to be repeated", nr, r.RAX)
			}
			if *r == before && nr != xenabi.HypercallMulticall { // whose progress may be in memory
				t.Fatalf("call %d %#x repeats without progress", nr, a)
			}
			continue
		}
		if !long && r.RAX>>32 != 0 {
			t.Fatalf("call %d: RAX %#x in 32-bit mode", nr, r.RAX)
		}
		if nr >= uint64(len(hvm)) && int32(r.RAX) != -int32(xenabi.ENOSYS) {
			t.Fatalf("call %d: RAX %#x", nr, r.RAX)
		}
		if o.Kind > Yield {
			t.Fatalf("call %d: outcome %+v", nr, o)
		}
		return
	}
}

// benchmark makes one call again and again.
func benchmark(b *testing.B, prepare func(g *guest) []uint64, nr uint64) {
	g := newGuest(b, 64)
	a := prepare(g)
	g.once(nr, a...)
	if g.rax() < 0 {
		b.Fatalf("%d", g.rax())
	}
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		g.once(nr, a...)
	}
}

type hotCall struct {
	name    string
	nr      uint64
	prepare func(g *guest) []uint64
}

func hotCalls() []hotCall {
	return []hotCall{
		{"version", xenabi.HypercallXenVersion, func(*guest) []uint64 { return []uint64{0} }},
		{"send", xenabi.HypercallEventChannelOp, func(g *guest) []uint64 {
			ipi := xenabi.EvtchnBindIPI{}
			g.want(0, xenabi.HypercallEventChannelOp, xenabi.EvtchnOpBindIPI, g.arg(&ipi))
			g.result(&ipi)
			return []uint64{xenabi.EvtchnOpSend, g.arg(&xenabi.EvtchnPort{Port: ipi.Port})}
		}},
		{"yield", schedNr, func(*guest) []uint64 { return []uint64{xenabi.SchedOpYield} }},
		{"block", schedNr, func(*guest) []uint64 { return []uint64{xenabi.SchedOpBlock} }},
		{"singleshot", vcpuNr, func(g *guest) []uint64 {
			a := make([]byte, 16)
			binary.LittleEndian.PutUint64(a, 1<<40)
			g.put(argAt, a)
			return []uint64{xenabi.VCPUOpSetSingleshotTimer, 0, argAt}
		}},
		{"set_timer", xenabi.HypercallSetTimerOp, func(*guest) []uint64 { return []uint64{1 << 40} }},
		{"poll", schedNr, func(g *guest) []uint64 {
			return []uint64{xenabi.SchedOpPoll, g.arg(&xenabi.SchedPoll{Timeout: 1})}
		}},
	}
}

func TestHotCallsDoNotAllocate(t *testing.T) {
	for _, h := range hotCalls() {
		g := newGuest(t, 64)
		a := h.prepare(g)
		g.once(h.nr, a...)
		if g.rax() < 0 {
			t.Errorf("%s: %d", h.name, g.rax())
		}
		if n := testing.AllocsPerRun(100, func() { g.once(h.nr, a...) }); n != 0 {
			t.Errorf("%s: %v allocations", h.name, n)
		}
	}
}

func BenchmarkHypercall(b *testing.B) {
	for _, h := range hotCalls() {
		b.Run(h.name, func(b *testing.B) { benchmark(b, h.prepare, h.nr) })
	}
}
