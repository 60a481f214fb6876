package client_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"nidus/rpc/client"
	"nidus/rpc/control"
	"nidus/rpc/server"
)

func TestReadModule(t *testing.T) {
	m := &mirror{}
	c := connect(t, m)
	whole := make([]byte, 5<<20+17)
	for i := range whole {
		whole[i] = byte(i * 7 >> 8)
	}
	m.answers = []any{whole, nil}
	for _, off := range []int{0, 1, 1 << 20, 5 << 20, len(whole)} {
		b := make([]byte, len(whole)-off)
		if n, err := c.ReadModule(t.Context(), "m", b, int64(off)); n != len(b) || err != nil && err != io.EOF || !bytes.Equal(b, whole[off:]) {
			t.Errorf("from %d: %d %v", off, n, err)
		}
	}
	if n, err := c.ReadModule(t.Context(), "m", make([]byte, 100), int64(len(whole)-17)); n != 17 || err != io.EOF {
		t.Error(n, err)
	}
	if _, err := c.ReadModule(t.Context(), "m", make([]byte, 1), -1); !errors.Is(err, control.ErrBadArgument) {
		t.Error(err)
	}
}

func TestUpload(t *testing.T) {
	m := &mirror{answers: []any{"up:1", nil}}
	c := connect(t, m)
	for _, size := range []int{0, 1, 32 << 10, 1<<20 + 1} {
		b := bytes.Repeat([]byte("x"), size)
		name, err := c.Upload(t.Context(), "local", control.FileSum{Size: int64(size)}, bytes.NewReader(b))
		if err != nil || name != "up:1" || m.asked[0] != "local" || !bytes.Equal(m.asked[1].([]byte), b) {
			t.Errorf("%d bytes: %q %v", size, name, err)
		}
	}
	if _, err := c.Upload(t.Context(), "short", control.FileSum{Size: 10}, bytes.NewReader([]byte("abc"))); err != io.ErrUnexpectedEOF {
		t.Error(err)
	}
	if _, err := c.Upload(t.Context(), "bad", control.FileSum{Size: -1}, nil); !errors.Is(err, control.ErrBadArgument) {
		t.Error(err)
	}
	m.answers = []any{"", control.Errorf(control.ErrNoMemory, "none")}
	if _, err := c.Upload(t.Context(), "big", control.FileSum{Size: 1 << 20}, bytes.NewReader(make([]byte, 1<<20))); !errors.Is(err, control.ErrNoMemory) {
		t.Error(err)
	}
}

// What is said of a file arrives; it is ours to discard as often as we found it.
func TestFindUploaded(t *testing.T) {
	m := &mirror{answers: []any{"up:1", nil}}
	c := connect(t, m)
	sum := control.FileSum{Size: 3, SHA256: [32]byte{1, 2, 31: 3}}
	if _, err := c.Upload(t.Context(), "x", sum, bytes.NewReader([]byte("abc"))); err != nil || m.asked[2] != sum {
		t.Error(err, m.asked)
	}
	if name, err := c.FindUploaded(t.Context(), sum); err != nil || name != "up:1" || m.asked[0] != sum {
		t.Error(name, err, m.asked)
	}
	m.answers = []any{nil}
	for i := range 3 {
		if err := c.Discard(t.Context(), "up:1"); errors.Is(err, control.ErrNoFile) != (i == 2) {
			t.Errorf("%d: %v", i, err)
		}
	}
	m.answers = []any{"", control.Errorf(control.ErrNoFile, "none")}
	if _, err := c.FindUploaded(t.Context(), sum); !errors.Is(err, control.ErrNoFile) {
		t.Error(err)
	}
	if _, err := c.FindUploaded(t.Context(), control.FileSum{Size: -1}); !errors.Is(err, control.ErrBadArgument) {
		t.Error(err)
	}
}

// A client that wants to know how far Create is hears of each step, and gets what it
// would get anyway.
func TestCreateProgress(t *testing.T) {
	m := &mirror{answers: []any{control.DomID(7), nil}}
	c := connect(t, m)
	var all []control.Progress
	ctx := control.WithProgress(t.Context(), func(p control.Progress) { all = append(all, p) })
	m.progress = []control.Progress{{Step: "memory", Done: 1 << 40, Total: 1 << 41}}
	cfg := control.DomainConfig{Name: "a", PCIs: []string{"00:06.0"}}
	id, err := c.Create(ctx, cfg, control.CreateOptions{Paused: true})
	if err != nil || id != 7 || !reflect.DeepEqual(all, m.progress) || !reflect.DeepEqual(m.asked, []any{cfg, control.CreateOptions{Paused: true}}) {
		t.Errorf("domain %d, %v; told %v, asked %v", id, err, all, m.asked)
	}
	m.answers = []any{control.DomID(0), control.Errorf(control.ErrNoMemory, "none")}
	if _, err := c.Create(ctx, cfg, control.CreateOptions{}); !errors.Is(err, control.ErrNoMemory) {
		t.Error(err)
	}
	cfg.Cmdline = string(make([]byte, 1<<20))
	if _, err := c.Create(ctx, cfg, control.CreateOptions{}); !errors.Is(err, control.ErrTooBig) {
		t.Error(err)
	}
}

// A file that was uploaded goes with the connection.
func TestUploadGoes(t *testing.T) {
	m := &mirror{answers: []any{"up:7", nil}}
	conn := serve(t, server.New(m, server.Options{}))
	c, err := client.New(t.Context(), conn)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Upload(t.Context(), "f", control.FileSum{Size: 1}, bytes.NewReader([]byte("x"))); err != nil {
		t.Fatal(err)
	}
	conn.Close()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		m.mu.Lock()
		done := m.method == "Discard" && m.asked[0] == "up:7"
		m.mu.Unlock()
		if done {
			return
		}
		if time.Now().After(end) {
			t.Fatal("the file stays")
		}
	}
}

func TestStreams(t *testing.T) {
	m := &mirror{}
	c := connect(t, m)
	r := rand.New(rand.NewPCG(1, 2))
	events := arbitrary(reflect.TypeFor[[]control.Event](), r).Interface().([]control.Event)
	m.answers = []any{events, nil}
	var got []control.Event
	for e, err := range c.AllEvents(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if got = append(got, e); len(got) == len(events) {
			break
		}
	}
	if !reflect.DeepEqual(got, events) {
		t.Errorf("%v, want %v", got, events)
	}
	<-m.asked[0].(chan struct{}) // leaving the loop closed the plane's

	m.answers = []any{[]string{"/a", "/a/b"}, nil}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var paths []string
	var last error
	for p, err := range c.AllChanges(ctx, "/a") {
		if last = err; err != nil {
			break
		}
		if paths = append(paths, p); len(paths) == 2 {
			cancel()
		}
	}
	if !slices.Equal(paths, []string{"/a", "/a/b"}) || last != context.Canceled || m.asked[0] != "/a" {
		t.Error(paths, last, m.asked)
	}

	for name, do := range map[string]func(context.Context, control.HostEndOptions) (control.HostEndStream, error){"PowerOff": c.PowerOff, "HostReboot": c.HostReboot} {
		want := []control.HostEndStep{{Kind: control.HostEndBegun, Text: "a"}, {Kind: control.HostEndStopped, ID: 7, Name: "n", Text: "b"}, {Kind: control.HostEndNow, Text: "c"}}
		m.answers = []any{want, nil}
		opt := control.HostEndOptions{Limit: time.Second, Force: true}
		s, err := do(t.Context(), opt)
		if err != nil || m.method != name || m.asked[0] != opt {
			t.Fatal(name, err, m.method, m.asked)
		}
		var steps []control.HostEndStep
		for {
			step, err := s.Next(t.Context())
			if err == io.EOF { // the last step is the stream's end, too
				break
			}
			if err != nil {
				t.Fatal(name, err)
			}
			steps = append(steps, step)
		}
		if !slices.Equal(steps, want) {
			t.Errorf("%s: %+v, want %+v", name, steps, want)
		}
		m.answers = []any{nil, control.Errorf(control.ErrBadArgument, "no")}
		if _, err := do(t.Context(), opt); !errors.Is(err, control.ErrBadArgument) {
			t.Error(name, err)
		}
	}

	m.answers = []any{bytes.Repeat([]byte("log\n"), 50000), nil}
	l, err := c.Log(t.Context(), true)
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 200000)
	if _, err := io.ReadFull(l, b); err != nil || !bytes.HasSuffix(b, []byte("\nlog\n")) {
		t.Error(err)
	}
	l.Close()
	if _, err := l.Read(b); err != io.EOF {
		t.Error(err)
	}

	m.answers = []any{nil, control.Errorf(control.ErrNoNode, "no")}
	if _, err := c.XenstoreWatch(t.Context(), "/"); !errors.Is(err, control.ErrNoNode) {
		t.Error(err)
	}
	if _, err := c.Events(t.Context()); !errors.Is(err, control.ErrNoNode) {
		t.Error(err)
	}
	if _, err := c.ConsoleAttach(t.Context(), 1, control.ConsoleOptions{}); !errors.Is(err, control.ErrNoNode) {
		t.Error(err)
	}
	if _, err := c.Log(t.Context(), false); !errors.Is(err, control.ErrNoNode) {
		t.Error(err)
	}
}

func TestConsole(t *testing.T) {
	m := &mirror{}
	c := connect(t, m)
	out := bytes.Repeat([]byte("0123456789abcdef"), 20000)
	m.answers = []any{out, nil}
	opt := control.ConsoleOptions{Num: 3, History: true}
	con, err := c.ConsoleAttach(t.Context(), 9, opt)
	if err != nil {
		t.Fatal(err)
	}
	if m.asked[0] != control.DomID(9) || m.asked[1] != opt {
		t.Error(m.asked)
	}
	far := m.asked[2].(*mirrorConsole)
	// Typing goes on although nobody reads what the guest writes.
	big := bytes.Repeat([]byte("y"), 100<<10)
	if n, err := con.Write(big); n != len(big) || err != nil {
		t.Fatal(n, err)
	}
	for left := len(big); left > 0; {
		left -= len(<-far.typed)
	}
	b := make([]byte, len(out))
	if _, err := io.ReadFull(con, b); err != nil || !bytes.Equal(b, out) {
		t.Error("output differs", err)
	}
	// The guest reads no more: Close ends what waits for it, on both sides.
	done := make(chan struct{})
	go func() {
		defer close(done)
		if n, err := con.Write([]byte("stuck")); n != 0 || err != io.ErrClosedPipe {
			t.Error(n, err)
		}
	}()
	time.Sleep(5 * time.Millisecond) // either way the result is the same
	con.Close()
	<-done
	if n, err := con.Read(b); n != 0 || err != io.EOF {
		t.Error(n, err)
	}
	if n, err := con.Write(b); n != 0 || err != io.ErrClosedPipe {
		t.Error(n, err)
	}
	<-far.ctx.Done()

	m.answers = []any{[]byte("bye"), nil}
	if con, err = c.ConsoleAttach(t.Context(), 9, opt); err != nil {
		t.Fatal(err)
	}
	if n, err := con.Write([]byte("q")); n != 1 && err != io.ErrClosedPipe { // the end may come first
		t.Error(n, err)
	}
	if all, err := io.ReadAll(con); string(all) != "bye" || err != nil {
		t.Errorf("%q %v", all, err)
	}
	if n, err := con.Write(b); n != 0 || err != io.ErrClosedPipe {
		t.Error(n, err)
	}
}
