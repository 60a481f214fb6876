package pv

import "testing"

func TestLDTDescriptor(t *testing.T) {
	lo, hi := ldtDescriptor(0xffff8200_12345678, 0xffff)
	if lo != 0x12008234_5678ffff || hi != 0xffff8200 {
		t.Errorf("%#x %#x", lo, hi)
	}
	if lo, _ := ldtDescriptor(0, 7); lo != 0x0000820000000007 {
		t.Errorf("%#x", lo)
	}
}
