package client_test

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"reflect"
	"slices"
	"sync"
	"testing"

	"nidus/rpc/client"
	"nidus/rpc/control"
	"nidus/rpc/server"
)

// connect serves a plane to a client in this process, over a pipe.
func connect(t testing.TB, p control.Plane) *client.Client {
	t.Helper()
	c, err := client.New(t.Context(), serve(t, server.New(p, server.Options{Log: t.Logf})))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// serve returns the client's end of a new connection.
func serve(t testing.TB, s *server.Server) net.Conn {
	ours, theirs := net.Pipe()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { s.ServeConn(ctx, theirs) })
	t.Cleanup(func() {
		cancel()
		wg.Wait() // all calls return
	})
	return ours
}

// streams are the methods that another test is about.
var streams = []string{"ReadModule", "Upload", "FindUploaded", "Log", "ConsoleAttach", "Events", "XenstoreWatch", "PowerOff", "HostReboot"}

// Every method of control.Plane asks and answers over the wire what it does without.
func TestConformance(t *testing.T) {
	for name, listen := range transports {
		t.Run(name, func(t *testing.T) {
			m := &mirror{}
			testConformance(t, m, over(t, listen, m))
		})
	}
}

func testConformance(t *testing.T, m *mirror, c *client.Client) {
	plane := reflect.TypeFor[control.Plane]()
	for i := range plane.NumMethod() {
		method := plane.Method(i)
		if slices.Contains(streams, method.Name) {
			continue
		}
		t.Run(method.Name, func(t *testing.T) {
			for seed := range 100 {
				r := rand.New(rand.NewPCG(uint64(seed), 0))
				conform(t, c, m, method, r)
			}
		})
	}
}

func conform(t *testing.T, c *client.Client, m *mirror, method reflect.Method, r *rand.Rand) {
	t.Helper()
	in := []reflect.Value{reflect.ValueOf(t.Context())}
	var asked []any
	for i := 1; i < method.Type.NumIn(); i++ {
		v := arbitrary(method.Type.In(i), r)
		in = append(in, v)
		asked = append(asked, v.Interface())
	}
	var want []any
	for i := range method.Type.NumOut() - 1 {
		want = append(want, arbitrary(method.Type.Out(i), r).Interface())
	}
	fault := faults[r.IntN(len(faults))]
	if method.Name == "Discard" {
		discard(t, c, m, in[1].String(), fault)
		return
	}
	if m.answers = append(want, fault); fault == nil {
		m.answers = append(slices.Clone(want), nil)
	}
	out := reflect.ValueOf(c).MethodByName(method.Name).Call(in)
	if m.method != method.Name || len(asked)+len(m.asked) > 0 && !reflect.DeepEqual(m.asked, asked) {
		t.Fatalf("asked for %s %+v,\nof the plane it was %s %+v", method.Name, asked, m.method, m.asked)
	}
	err, _ := out[len(out)-1].Interface().(error)
	same(t, err, fault)
	if fault != nil {
		return
	}
	for i := range want {
		if got := out[i].Interface(); !reflect.DeepEqual(got, want[i]) {
			t.Fatalf("%s: got %+v,\nwant %+v", method.Name, got, want[i])
		}
	}
}

// discard is for what was uploaded only.
func discard(t *testing.T, c *client.Client, m *mirror, file string, fault error) {
	m.answers = []any{file, nil}
	if _, err := c.Upload(t.Context(), "x", control.FileSum{Size: 3}, bytes.NewReader([]byte("abc"))); err != nil {
		t.Fatal(err)
	}
	m.answers = []any{fault}
	same(t, c.Discard(t.Context(), file), fault)
	if m.method != "Discard" || m.asked[0] != file {
		t.Fatalf("asked for Discard %q, it was %s %v", file, m.method, m.asked)
	}
	if err := c.Discard(t.Context(), file); !errors.Is(err, control.ErrNoFile) {
		t.Fatalf("a file of nobody's: %v", err)
	}
}

var faults = func() []error {
	all := []error{nil, nil, nil, errPlain, context.Canceled, context.DeadlineExceeded,
		&control.Error{Code: control.ErrBadConfig, Msg: "a.cfg:7: what", File: "a.cfg", Line: 7},
		control.Errorf(control.ErrNoFile, "not UTF-8: \xff\xfe, and\ntwo lines")}
	for k := control.ErrNoDomain; k <= control.ErrDisconnected; k++ {
		all = append(all, k, control.Errorf(k, "what happened in %q", k))
	}
	return all
}()

// same compares errors: kind, message, place.
func same(t *testing.T, got, want error) {
	t.Helper()
	if want == nil || got == nil {
		if got != want {
			t.Fatalf("error %v, want %v", got, want)
		}
		return
	}
	if errors.Is(want, context.Canceled) || errors.Is(want, context.DeadlineExceeded) {
		if !errors.Is(got, want) {
			t.Fatalf("error %v, want %v", got, want)
		}
		return
	}
	var g, w *control.Error
	if !errors.As(got, &g) || g.Code != control.CodeOf(want) || got.Error() != want.Error() {
		t.Fatalf("error %v of kind %v, want %v of kind %v", got, control.CodeOf(got), want, control.CodeOf(want))
	}
	if errors.As(want, &w) && (g.File != w.File || g.Line != w.Line) {
		t.Fatalf("the place of %v is %s %d", got, g.File, g.Line)
	}
}

// arbitrary makes a value that a caller could give or get. Lists are never empty: for
// them, none and empty are the same, but for sets of CPUs.
func arbitrary(t reflect.Type, r *rand.Rand) reflect.Value {
	v := reflect.New(t).Elem()
	switch t {
	case reflect.TypeFor[control.CPUSet]():
		if n := r.IntN(4); n > 0 {
			s := make(control.CPUSet, n-1)
			for i := range s {
				s[i] = r.Uint64()
			}
			v.Set(reflect.ValueOf(s))
		}
		return v
	case reflect.TypeFor[control.CPUTerm]():
		return reflect.ValueOf(control.CPUTerm{First: r.IntN(4096), Last: r.IntN(4096), Node: r.IntN(2) == 0, Exclude: r.IntN(2) == 0})
	case reflect.TypeFor[control.DeviceKind]():
		return reflect.ValueOf(control.DeviceKind(1 + r.IntN(3)))
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			v.Field(i).Set(arbitrary(t.Field(i).Type, r))
		}
	case reflect.Slice:
		n := 1 + r.IntN(5)
		v.Set(reflect.MakeSlice(t, n, n))
		fallthrough
	case reflect.Array:
		for i := range v.Len() {
			v.Index(i).Set(arbitrary(t.Elem(), r))
		}
	case reflect.String:
		b := make([]byte, r.IntN(20)) // any bytes, as people write them
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		v.SetString(string(b))
	case reflect.Bool:
		v.SetBool(r.IntN(2) == 0)
	case reflect.Int: // counts: some methods bound them more than others
		v.SetInt(1 + r.Int64N(control.MaxVCPUs))
	case reflect.Int64:
		v.SetInt(r.Int64() - r.Int64())
	case reflect.Uint8:
		v.SetUint(uint64(r.Uint32N(256)))
	default:
		v.SetUint(r.Uint64() >> (64 - t.Bits()))
	}
	return v
}

// Numbers with a meaning of their own arrive, and senseless ones get no further.
func TestNumbers(t *testing.T) {
	m := &mirror{answers: []any{[]control.VCPUInfo{{CPU: -1}}, nil}}
	c := connect(t, m)
	if all, err := c.VCPUList(t.Context(), 1); err != nil || all[0].CPU != -1 {
		t.Error(all, err)
	}
	m.answers = []any{nil}
	if err := c.VCPUPin(t.Context(), 1, control.AllVCPUs, nil, control.CPUSet{}); err != nil || m.asked[1] != control.AllVCPUs {
		t.Error(err, m.asked)
	}
	m.method = ""
	for name, err := range map[string]error{
		"pin":       c.VCPUPin(t.Context(), 1, -2, nil, nil),
		"wide pin":  c.VCPUPin(t.Context(), 1, 0, make(control.CPUSet, 65), nil),
		"vcpus":     c.SetVCPUs(t.Context(), 1, -1),
		"trigger":   c.Trigger(t.Context(), 1, 0, 1<<40),
		"weight":    c.SetSchedCredit2(t.Context(), 1, control.SchedParams{Weight: 1<<32 + 256}),
		"device":    second(c.DeviceList(t.Context(), 1, 0)),
		"console":   second(c.ConsoleAttach(t.Context(), 1, control.ConsoleOptions{Num: 1 << 32})),
		"vcpus cfg": second(c.Create(t.Context(), control.DomainConfig{VCPUs: -1}, control.CreateOptions{})),
		"cpus cfg":  second(c.Create(t.Context(), control.DomainConfig{HardAffinity: []control.CPUList{{{First: 1 << 40}}}}, control.CreateOptions{})),
	} {
		if !errors.Is(err, control.ErrBadArgument) && !errors.Is(err, control.ErrBadConfig) || m.method != "" {
			t.Errorf("%s: %v, and %q of the plane", name, err, m.method)
		}
	}
}

func second[T any](_ T, err error) error { return err }
