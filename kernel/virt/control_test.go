package virt

import "testing"

func TestCheckCR0(t *testing.T) {
	const pe, pg, wp, et = CR0PE, CR0PG, 1 << 16, 1 << 4
	start := Control{CR0: pe | et}
	toLong := Control{CR0: pe | et, CR4: CR4PAE, EFER: EFERLME}
	long := Control{CR0: pg | pe | et, CR4: CR4PAE, EFER: EFERLME | EFERLMA, Long: true}
	compat := long
	compat.Long = false
	pcid := compat
	pcid.CR4 |= CR4PCIDE
	noPAE, long16 := toLong, toLong
	noPAE.CR4, long16.Long = 0, true
	for _, c := range []struct {
		name      string
		c         Control
		x         uint64
		cr0, efer uint64
		ok        bool
	}{
		{"real mode", start, 0, et, 0, true},
		{"paging without long mode", start, pg | pe, pg | pe | et, 0, true},
		{"into long mode", toLong, pg | pe, pg | pe | et, EFERLME | EFERLMA, true},
		{"out of it, from compatibility mode", compat, pe, pe | et, EFERLME, true},
		{"write protection", long, pg | pe | wp, pg | pe | wp | et, EFERLME | EFERLMA, true},
		{"CD with NW", long, pg | pe | 3<<29, pg | pe | 3<<29 | et, EFERLME | EFERLMA, true},
		{"low reserved bits are ignored", long, pg | pe | 0x1ffaffc0, pg | pe | et, EFERLME | EFERLMA, true},
		{"high reserved bit", long, 1<<32 | pg | pe, 0, 0, false},
		{"highest reserved bit", long, 1<<63 | pg | pe, 0, 0, false},
		{"NW without CD", long, pg | pe | 1<<29, 0, 0, false},
		{"paging without protection", start, pg, 0, 0, false},
		{"long mode without PAE", noPAE, pg | pe, 0, 0, false},
		{"long mode with CS.L", long16, pg | pe, 0, 0, false},
		{"paging off in 64-bit code", long, pe, 0, 0, false},
		{"paging off with PCIDs", pcid, pe, 0, 0, false},
	} {
		if cr0, efer, ok := c.c.CheckCR0(c.x); ok != c.ok || cr0 != c.cr0 || efer != c.efer {
			t.Errorf("%s: %#x -> %#x %#x %v", c.name, c.x, cr0, efer, ok)
		}
	}
}

func TestCheckCR3(t *testing.T) {
	long := Control{CR4: CR4PAE, EFER: EFERLME | EFERLMA}
	pcid := long
	pcid.CR4 |= CR4PCIDE
	for _, c := range []struct {
		c  Control
		x  uint64
		ok bool
	}{
		{Control{}, 0xffffffff, true}, {Control{}, 1 << 32, false},
		{long, 1<<40 - 1, true}, {long, 1 << 40, false}, {long, 1 << 51, false}, {long, 1 << 62, false}, {long, 1 << 63, false},
		{pcid, 1<<63 | 0x1fff, true}, {pcid, 1<<63 | 1<<40, false}, {pcid, 1 << 62, false},
	} {
		if ok := c.c.CheckCR3(c.x, 40); ok != c.ok {
			t.Errorf("%+v: %#x: %v", c.c, c.x, ok)
		}
	}
}

func TestCheckCR4(t *testing.T) {
	const offered = CR4Basic | CR4PCIDE | CR4SMEP
	long := Control{CR4: CR4PAE, EFER: EFERLME | EFERLMA, CR3: 0x5000}
	tagged := long
	tagged.CR3 |= 1
	on := tagged
	on.CR4 |= CR4PCIDE
	for _, c := range []struct {
		name string
		c    Control
		x    uint64
		ok   bool
	}{
		{"all that is offered", long, offered, true},
		{"not offered", long, CR4PAE | CR4SMAP, false},
		{"reserved", long, CR4PAE | 1<<15, false},
		{"reserved, high", long, CR4PAE | 1<<63, false},
		{"VMXE", long, CR4PAE | 1<<13, false},
		{"no PAE in long mode", long, CR4PCIDE, false},
		{"no PAE outside of it", Control{}, 0, true},
		{"PCIDs outside of long mode", Control{}, CR4PAE | CR4PCIDE, false},
		{"PCIDs with one in CR3", tagged, CR4PAE | CR4PCIDE, false},
		{"PCIDs stay", on, CR4PAE | CR4PCIDE, true},
	} {
		if ok := c.c.CheckCR4(c.x, offered); ok != c.ok {
			t.Errorf("%s: %#x: %v", c.name, c.x, ok)
		}
	}
}
