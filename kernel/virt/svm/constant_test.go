//go:build !tamago

package svm

import (
	"testing"

	"nidus/kernel/virt"
)

func TestConstantLearns(t *testing.T) {
	answered := virt.Regs{RIP: 0x1000, RAX: 0x40011}
	for _, c := range []struct {
		name   string
		change func(c *constant, r *virt.Regs, n *uint8, bits *int)
		learns bool
	}{
		{"the constant hypercall", func(*constant, *virt.Regs, *uint8, *int) {}, true},
		{"a prefix", func(_ *constant, _ *virt.Regs, n *uint8, _ *int) { *n = 4 }, false},
		{"32-bit code", func(_ *constant, _ *virt.Regs, _ *uint8, bits *int) { *bits = 32 }, false},
		{"another argument", func(_ *constant, r *virt.Regs, _ *uint8, _ *int) { r.RDI = 1 }, false},
		{"another answer", func(_ *constant, r *virt.Regs, _ *uint8, _ *int) { r.RAX = 0 }, false},
		{"none", func(c *constant, r *virt.Regs, _ *uint8, _ *int) { c.set(virt.Constant{}) }, false},
	} {
		var k constant
		k.set(virt.Constant{Number: 17, Answer: 0x40011})
		r, n, bits := answered, uint8(vmmcallLen), 64
		c.change(&k, &r, &n, &bits)
		k.learn(&r, 0x5000, n, bits)
		if got := k.callRIP == 0x1000 && k.callCR3 == 0x5000; got != c.learns {
			t.Errorf("%s: learnt %v", c.name, got)
		}
	}
}

func TestLengths(t *testing.T) {
	var l lengths
	l.store(exitCPUID, 0x1000, 0x5000, 64, 3)
	if n := l.find(exitCPUID, 0x1000, 0x5000, 64); n != 3 {
		t.Error(n)
	}
	for _, k := range []length{{exitHLT, 0x1000, 0x5000, 64, 0}, {exitCPUID, 0x1001, 0x5000, 64, 0}, {exitCPUID, 0x1000, 0x6000, 64, 0}, {exitCPUID, 0x1000, 0x5000, 32, 0}} {
		if n := l.find(k.code, k.rip, k.cr3, int(k.bits)); n != 0 {
			t.Errorf("%+v has length %d", k, n)
		}
	}
	// any guest can fill it
	for rip := uint64(0); rip < 1000; rip++ {
		l.store(exitCPUID, rip<<52|rip, 0x5000, 64, 2)
		if n := l.find(exitCPUID, rip<<52|rip, 0x5000, 64); n != 2 {
			t.Fatal(rip, n)
		}
	}
}

// An instruction is read once, until another exit, address or mode comes.
func TestSkipReadsOnce(t *testing.T) {
	v, f := setup(t, tcg)
	reads := 0
	v.cfg.Fetch = func(b []byte) int { reads++; return copy(b, []byte{0xf3, 0x0f, 0xa2}) }
	for range 3 {
		v.Regs().RIP = 0x1000
		if err := v.Skip(f.run(t, virt.ReasonCPUID, exits(exitCPUID))); err != nil || v.Regs().RIP != 0x1003 {
			t.Fatal(err, v.Regs().RIP)
		}
	}
	if reads != 1 {
		t.Errorf("%d reads", reads)
	}
}
