package server_test

import (
	"context"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/xtaci/smux"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
	"storj.io/drpc"
	"storj.io/drpc/drpcconn"

	"nidus/kernel/core"
	"nidus/kernel/domain/domaintest"
	"nidus/kernel/plane"
	"nidus/rpc/api"
	"nidus/rpc/control"
	"nidus/rpc/server"
	"nidus/rpc/wire"
)

// machine is a host that does nothing.
type machine struct{}

func (machine) Info() control.HostInfo     { return control.HostInfo{} }
func (machine) CPUList() []control.CPUInfo { return nil }
func (machine) PowerOff() error            { return nil }
func (machine) Reboot() error              { return nil }
func (machine) Used() uint64               { return 0 }
func (machine) BusyTimes() []time.Duration { return nil }
func (machine) DebugKey(byte) bool         { return false }

// newServer serves the real control plane, over a host without domains.
func newServer(f *testing.F) *server.Server {
	m := domaintest.New(f, 1024)
	ctx, cancel := context.WithCancel(context.Background())
	f.Cleanup(cancel)
	p := plane.New(ctx, core.New(m.Host, []core.Module{{Name: "k", Data: []byte("kernel")}}, 4), machine{})
	return server.New(p, server.Options{MaxConns: 1000, Log: func(format string, args ...any) {
		if strings.HasPrefix(format, "a defect") {
			panic(args) // a defect, which the server would live through
		}
	}})
}

// recorder keeps what a client writes.
type recorder struct {
	net.Conn
	mu  sync.Mutex
	all []byte
}

func (r *recorder) Write(b []byte) (int, error) {
	r.mu.Lock()
	r.all = append(r.all, b...)
	r.mu.Unlock()
	return r.Conn.Write(b)
}

// dial makes a client whose calls are bytes, and which has said Hello. hangUp ends it,
// and waits until the server has done so too.
func dial(tb testing.TB, s *server.Server) (mux *smux.Session, rec *recorder, hangUp func()) {
	ours, theirs := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.ServeConn(context.Background(), theirs)
	}()
	rec = &recorder{Conn: ours}
	mux, err := smux.Client(rec, wire.Mux())
	if err != nil {
		tb.Fatal(err)
	}
	hello, err := proto.Marshal(&api.HelloRequest{Major: api.Major})
	if err != nil {
		tb.Fatal(err)
	}
	if answers := ask(tb, mux, "/nidus.Session/Hello", hello, 1); answers != 1 {
		tb.Fatalf("%d answers to Hello", answers)
	}
	return mux, rec, func() {
		mux.Close()
		<-done
	}
}

// ask makes a call, with the same message twice whether it streams or not, and returns how many
// answers came, of at most so many.
func ask(tb testing.TB, mux *smux.Session, rpc string, payload []byte, most int) (answers int) {
	stream, err := mux.OpenStream()
	if err != nil {
		tb.Fatal(err)
	}
	conn := drpcconn.New(stream)
	defer conn.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	call, err := conn.NewStream(ctx, rpc, rawBytes{})
	if err != nil {
		tb.Fatal(err)
	}
	for range 2 {
		if call.MsgSend(&payload, rawBytes{}) != nil {
			break
		}
	}
	_ = call.CloseSend()
	for answers < most {
		var b []byte
		if err := call.MsgRecv(&b, rawBytes{}); err != nil {
			if ctx.Err() != nil {
				tb.Errorf("%s of %x: no answer", rpc, payload)
			}
			break
		}
		answers++
	}
	return answers
}

// rawBytes sends and receives *[]byte as they are.
type rawBytes struct{}

func (rawBytes) Marshal(m drpc.Message) ([]byte, error) { return *m.(*[]byte), nil }
func (rawBytes) Unmarshal(b []byte, m drpc.Message) error {
	*m.(*[]byte) = b
	return nil
}

// FuzzConn sends any bytes to the server from a connection's first on. The server may
// end the connection, and no more.
func FuzzConn(f *testing.F) {
	s := newServer(f)
	mux, rec, hangUp := dial(f, s)
	ask(f, mux, "/nidus.Domains/List", nil, 1)
	hangUp()
	rec.mu.Lock()
	f.Add(rec.all)
	rec.mu.Unlock()
	f.Add([]byte{2, 0, 0, 0, 3, 0, 0, 0}) // SYN of stream 3
	f.Add([]byte{1, 0, 0, 0, 3, 0, 0, 0}) // smux 1
	f.Fuzz(func(t *testing.T, b []byte) {
		ours, theirs := net.Pipe()
		done := make(chan struct{})
		go func() {
			defer close(done)
			s.ServeConn(context.Background(), theirs)
		}()
		go io.Copy(io.Discard, ours)
		_, _ = ours.Write(b)
		ours.Close()
		<-done
	})
}

// FuzzCall sends any message to any call.
func FuzzCall(f *testing.F) {
	s := newServer(f)
	var names []string
	services := api.File_nidus_proto.Services()
	for i := range services.Len() {
		methods := services.Get(i).Methods()
		for j := range methods.Len() {
			m := methods.Get(j)
			names = append(names, "/"+string(services.Get(i).FullName())+"/"+string(m.Name()))
			f.Add(uint8(len(names)-1), sample(f, m.Input()))
			f.Add(uint8(len(names)-1), []byte{})
		}
	}
	f.Fuzz(func(t *testing.T, i uint8, payload []byte) {
		if len(payload) > wire.MaxRequest/2 {
			return
		}
		mux, _, hangUp := dial(t, s)
		defer hangUp()
		ask(t, mux, names[int(i)%len(names)], payload, 1)
	})
}

// sample is a message with all fields set.
func sample(f *testing.F, d protoreflect.MessageDescriptor) []byte {
	m := fill(api.File_nidus_proto.Messages().ByName(d.Name()), 0)
	b, err := proto.Marshal(m)
	if err != nil {
		f.Fatal(err)
	}
	return b
}

func fill(d protoreflect.MessageDescriptor, deep int) proto.Message {
	m := dynamicpb.NewMessage(d)
	for i := range d.Fields().Len() {
		fd := d.Fields().Get(i)
		var v protoreflect.Value
		switch fd.Kind() {
		case protoreflect.MessageKind:
			if deep > 3 {
				continue
			}
			v = protoreflect.ValueOfMessage(fill(fd.Message(), deep+1).ProtoReflect())
		case protoreflect.StringKind:
			v = protoreflect.ValueOfString("k")
		case protoreflect.BytesKind:
			v = protoreflect.ValueOfBytes([]byte("0123456789abcdef"))
		case protoreflect.BoolKind:
			v = protoreflect.ValueOfBool(true)
		case protoreflect.EnumKind:
			v = protoreflect.ValueOfEnum(1)
		case protoreflect.Int32Kind:
			v = protoreflect.ValueOfInt32(1)
		case protoreflect.Int64Kind:
			v = protoreflect.ValueOfInt64(1)
		case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
			v = protoreflect.ValueOfUint32(1)
		case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
			v = protoreflect.ValueOfUint64(1 << 20)
		}
		if fd.IsList() {
			m.Mutable(fd).List().Append(v)
		} else {
			m.Set(fd, v)
		}
	}
	return m
}
