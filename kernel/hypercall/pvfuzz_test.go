package hypercall

import (
	"testing"

	"nidus/kernel/virt"
	"nidus/kernel/xenabi"
)

// FuzzPVHypercall makes the hypercalls of PV guests about their processor and their memory
// with any registers and any memory, as FuzzHypercall does. Those of package pvmmu have
// fuzzers of their own.
func FuzzPVHypercall(f *testing.F) {
	const callSize = 1 + 6*2 + 16
	for nr := range byte(56) {
		for _, cmd := range []byte{0, 1, 5, 6, 9, 11} {
			one := []byte{nr, 0, cmd, 1, 0, 1, 0}
			f.Add(append([]byte{nr & 1}, append(one, make([]byte, 2*callSize-len(one))...)...))
		}
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		if len(in) < 1 || len(in) > 1+32*callSize {
			return
		}
		bits := 64
		if in[0]&1 != 0 {
			bits = 32
		}
		g := newPV(t, bits)
		frames := g.memory(t)
		r := g.v.HV.Regs()
		for in = in[1:]; len(in) >= callSize; in = in[callSize:] {
			nr := uint64(in[0])
			if nr < uint64(len(pvMMU)) && pvMMU[nr] != nil || nr == xenabi.HypercallMulticall {
				continue // a multicall reaches them
			}
			var a [6]uint64
			for i := range a {
				a[i] = fuzzArg(in[1+2*i], in[2+2*i])
			}
			_ = g.v.CopyOut(argAt, in[13:callSize])
			r.RSP = argAt
			g.once(nr, a[:]...)
			for n := 0; g.last.Kind == Repeat && n < 50; n++ {
				g.last = g.handle()
			}
			g.last.End(g.v)
			frames.quiet()
			if g.v.PV.IOPL > 3 || g.v.HV.Get(virt.DR7)&(1<<13) != 0 {
				t.Fatalf("call %d: %+v", nr, g.v.PV.State)
			}
		}
	})
}
