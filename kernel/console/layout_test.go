package console

import (
	"reflect"
	"testing"
)

// console.h, struct xencons_interface, written in Go.
type consInterface struct {
	In                               [1024]byte
	Out                              [2048]byte
	InCons, InProd, OutCons, OutProd uint32
}

func TestLayout(t *testing.T) {
	typ := reflect.TypeFor[consInterface]()
	for name, off := range map[string]uintptr{
		"In": offIn, "Out": offOut, "InCons": offInCons, "InProd": offInProd, "OutCons": offOutCons, "OutProd": offOutProd,
	} {
		if f, _ := typ.FieldByName(name); f.Offset != off {
			t.Errorf("%s is at %d, want %d", name, off, f.Offset)
		}
	}
}
