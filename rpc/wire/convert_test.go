package wire

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"nidus/rpc/api"
	"nidus/rpc/control"
)

// Messages that no client of ours sends.
func TestDecodeHostile(t *testing.T) {
	config := func(m *api.DomainConfig) error { _, err := Decode[control.DomainConfig](m); return err }
	for name, err := range map[string]error{
		"type":      config(&api.DomainConfig{Type: 256}),
		"less":      config(&api.DomainConfig{OnCrash: -1}),
		"uuid":      config(&api.DomainConfig{Uuid: []byte("short")}),
		"long uuid": config(&api.DomainConfig{Uuid: make([]byte, 17)}),
	} {
		if !errors.Is(err, control.ErrBadArgument) || !strings.Contains(err.Error(), ": ") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, id := range []uint32{0x10000, 1<<32 - 1} {
		if _, err := DomID(id); !errors.Is(err, control.ErrBadArgument) {
			t.Errorf("domain %d: %v", id, err)
		}
	}
	if _, err := Decode[control.HostInfo](&api.HostInfo{HwCaps: make([]uint32, 9)}); !errors.Is(err, control.ErrBadArgument) {
		t.Error(err)
	}
	if _, err := Decode[control.Event](&api.Event{Id: 1 << 16}); !errors.Is(err, control.ErrBadArgument) {
		t.Error(err)
	}
}

// What is missing is zero; a set that is there but empty is not missing.
func TestDecodeMissing(t *testing.T) {
	if c, err := Decode[control.DomainConfig]((*api.DomainConfig)(nil)); err != nil || !reflect.DeepEqual(c, control.DomainConfig{}) {
		t.Error(c, err)
	}
	if c, err := Decode[control.DomainConfig](&api.DomainConfig{HardAffinity: []*api.CPUList{nil, {}}}); err != nil || len(c.HardAffinity) != 2 {
		t.Error(c, err)
	}
	if s, err := Decode[control.CPUSet]((*api.CPUSet)(nil)); err != nil || s != nil {
		t.Error(s, err)
	}
	if s, err := Decode[control.CPUSet](&api.CPUSet{}); err != nil || s == nil {
		t.Error(s, err)
	}
	v := control.VCPUInfo{Soft: control.CPUSet{}}
	b, err := proto.Marshal(Encode[api.VCPUInfo](v))
	if err != nil {
		t.Fatal(err)
	}
	var m api.VCPUInfo
	if err := proto.Unmarshal(b, &m); err != nil || m.Hard != nil || m.Soft == nil {
		t.Error(&m, err)
	}
}

// The schema's codes are package control's.
func TestCodes(t *testing.T) {
	for n, name := range api.ErrorCode_name {
		if n == 0 || n >= 100 {
			continue
		}
		if text := control.Code(n).Error(); strings.HasPrefix(text, "error ") {
			t.Errorf("%s is %d, which package control does not have", name, n)
		}
	}
	for c := control.ErrNoDomain; !strings.HasPrefix(c.Error(), "error "); c++ {
		if api.ErrorCode_name[int32(c)] == "" {
			t.Errorf("%v, %d, is not in the schema", c, uint16(c))
		}
	}
}
