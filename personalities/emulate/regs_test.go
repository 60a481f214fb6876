package emulate

import (
	"testing"

	"nidus/kernel/virt"
)

func TestRegsOfVCPU(t *testing.T) {
	r := virt.Regs{RIP: 100, RFLAGS: 101}
	for i := range uint8(16) {
		*r.GPR(i) = uint64(i) + 1
	}
	var c CPU
	c.LoadRegs(&r)
	for i, v := range c.Regs {
		if v != uint64(i)+1 {
			t.Errorf("register %d is %d", i, v)
		}
	}
	var back virt.Regs
	c.StoreRegs(&back)
	if back != r {
		t.Errorf("%+v came back as %+v", r, back)
	}
}
