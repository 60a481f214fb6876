package wire

import (
	"fmt"
	"reflect"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"nidus/rpc/control"
)

// Encode copies a value of package control into a message, field by field of the same
// name. It panics if the schema has no place for a field: the tests of rpc/client
// would have found it.
func Encode[M any](from any) *M {
	to := new(M)
	if err := assign(reflect.ValueOf(to).Elem(), reflect.ValueOf(from)); err != nil {
		panic(err)
	}
	return to
}

// Decode copies a message into a value of package control. ErrBadArgument if a number
// is out of range there. A message that is missing, a nil pointer, is all zeros.
func Decode[T any](from proto.Message) (T, error) {
	var to T
	err := assign(reflect.ValueOf(&to).Elem(), reflect.ValueOf(from))
	return to, err
}

// List copies a list of either kind into one of the other.
func List[T, F any](from []F) ([]T, error) {
	var to []T
	err := assign(reflect.ValueOf(&to).Elem(), reflect.ValueOf(from))
	return to, err
}

// DomID is Decode for a domain's number.
func DomID(id uint32) (control.DomID, error) {
	if id > 0xffff {
		return 0, control.Errorf(control.ErrBadArgument, "%d is no domain's number; they go to %d", id, control.MaxDomID)
	}
	return control.DomID(id), nil
}

// pair is a field in both structures, by index: a is the destination's.
type pair struct {
	a, b int
	name string
}

var (
	pairs    sync.Map // of [2]reflect.Type to []pair
	duration = reflect.TypeFor[time.Duration]()
)

// fields matches the fields of two structures of which one is a message.
func fields(to, from reflect.Type) []pair {
	key := [2]reflect.Type{to, from}
	if p, ok := pairs.Load(key); ok {
		return p.([]pair)
	}
	plain, message := to, from
	if isMessage(to) {
		plain, message = from, to
	}
	var all []pair
	for i := range plain.NumField() {
		name := plain.Field(i).Name
		if plain.Field(i).Type == duration {
			name += "Ns"
		}
		p := pair{i, place(message, name), name}
		if p.b < 0 {
			panic(fmt.Sprintf("wire: the schema's %v has no field for %v.%s", message, plain, name))
		}
		if isMessage(to) {
			p.a, p.b = p.b, p.a
		}
		all = append(all, p)
	}
	pairs.Store(key, all)
	return all
}

// place finds a message's field by its name in package control: protobuf writes Id
// and Vcpus for ID and VCPUs.
func place(message reflect.Type, name string) int {
	for i := range message.NumField() {
		if f := message.Field(i); f.IsExported() && strings.EqualFold(f.Name, name) {
			return i
		}
	}
	return -1
}

var protoMessage = reflect.TypeFor[proto.Message]()

// isMessage tells a message's type from that of a plain structure.
func isMessage(t reflect.Type) bool { return reflect.PointerTo(t).Implements(protoMessage) }

// assign makes to what from is. One of them is, or is in, a message.
func assign(to, from reflect.Value) error {
	switch {
	case to.Kind() == reflect.Pointer:
		return assignToMessage(to, from)
	case from.Kind() == reflect.Pointer:
		if from.IsNil() {
			to.SetZero()
			return nil
		}
		return assignFromMessage(to, from.Elem())
	}
	switch to.Kind() {
	case reflect.Struct:
		for _, p := range fields(to.Type(), from.Type()) {
			if err := assign(to.Field(p.a), from.Field(p.b)); err != nil {
				return fmt.Errorf("%s: %w", p.name, err)
			}
		}
		return nil
	case reflect.Slice, reflect.Array:
		return assignList(to, from)
	case reflect.Bool:
		to.SetBool(from.Bool())
		return nil
	case reflect.String:
		to.SetString(from.String())
		return nil
	}
	return assignNumber(to, from)
}

// wraps tells whether a message is one list and no more: what package control has as
// a list (CPUSet, CPUList), so that it can be in a list, or missing. It returns the
// field.
func wraps(plain reflect.Type, message reflect.Value) (reflect.Value, bool) {
	if plain.Kind() != reflect.Slice {
		return reflect.Value{}, false
	}
	for i := range message.NumField() {
		if message.Type().Field(i).IsExported() {
			return message.Field(i), true
		}
	}
	return reflect.Value{}, false
}

// assignToMessage makes the message that to is to point to. A list that is nil is a
// message that is missing.
func assignToMessage(to, from reflect.Value) error {
	if from.Kind() == reflect.Slice && from.IsNil() {
		to.SetZero()
		return nil
	}
	to.Set(reflect.New(to.Type().Elem()))
	if list, ok := wraps(from.Type(), to.Elem()); ok {
		return assignList(list, from)
	}
	return assign(to.Elem(), from)
}

func assignFromMessage(to, from reflect.Value) error {
	list, ok := wraps(to.Type(), from)
	if !ok {
		return assign(to, from)
	}
	if list.Len() == 0 { // there, but empty: not nil
		to.Set(reflect.MakeSlice(to.Type(), 0, 0))
		return nil
	}
	return assignList(to, list)
}

func assignList(to, from reflect.Value) error {
	n := from.Len()
	if to.Kind() == reflect.Array {
		to.SetZero()
		if n != 0 && n != to.Len() {
			return control.Errorf(control.ErrBadArgument, "%d elements, not %d", n, to.Len())
		}
	} else {
		if n == 0 {
			to.SetZero()
			return nil
		}
		to.Set(reflect.MakeSlice(to.Type(), n, n))
	}
	for i := range n {
		if err := assign(to.Index(i), from.Index(i)); err != nil {
			return err
		}
	}
	return nil
}

// assignNumber refuses a number that the other type does not have.
func assignNumber(to, from reflect.Value) error {
	var u uint64
	var i int64
	negative := false
	if from.CanInt() {
		i, negative = from.Int(), from.Int() < 0
		u = uint64(i)
	} else {
		u = from.Uint()
		i = int64(u)
	}
	if to.CanInt() {
		if !negative && i < 0 || to.OverflowInt(i) {
			return control.Errorf(control.ErrBadArgument, "%v is out of range", from)
		}
		to.SetInt(i)
		return nil
	}
	if negative || to.OverflowUint(u) {
		return control.Errorf(control.ErrBadArgument, "%v is out of range", from)
	}
	to.SetUint(u)
	return nil
}
