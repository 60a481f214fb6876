package svm

import "nidus/kernel/virt"

// constant is the hypercall that enter answers between two VMRUNs, with nothing
// of the host restored (virt.Config.Constant): all that it takes is here. The
// instruction is not read there: it has to be one that Skip has found to be a
// VMMCALL without prefixes before.
type constant struct {
	number, arg, answer uint64
	callRIP, callCR3    uint64 // of that instruction
}

// What enter tests.
const (
	longMode   = virt.EFERLMA
	longCode   = virt.AttrLong
	notByEntry = virt.FlagTF | virt.FlagRF // a trap, or a flag to clear
	vmmcallLen = 3
)

func (c *constant) set(x virt.Constant) {
	*c = constant{number: x.Number, arg: x.Arg, answer: x.Answer}
}

// learn keeps where a hypercall of n bytes in code of bits bits was, if it was the
// constant one, which has its answer by now.
func (c *constant) learn(r *virt.Regs, cr3 uint64, n uint8, bits int) {
	if n == vmmcallLen && bits == 64 && c.number != 0 && r.RAX == c.answer && r.RDI == c.arg {
		c.callRIP, c.callCR3 = r.RIP, cr3
	}
}
